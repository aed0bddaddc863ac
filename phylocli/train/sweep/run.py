"""Running a sweep: one folder per run; completed runs are skipped, and a failed run does not stop the others."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phylocli.config.assignments import flat, nested
from phylocli.config.layers import Layer
from phylocli.config.sweep import SweepConfig
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.core.errors import PhylocliError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.executors import Work, run_pieces
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import STDIO, PathLike, locks, write_text
from phylocli.train.checks import check_config
from phylocli.train.data.compiled import Cache, open_compiled
from phylocli.train.data.loading import check_view
from phylocli.train.run_folder import CONFIG, changed
from phylocli.train.sweep import results
from phylocli.train.sweep.plan import Planned, Variation, band_variation, plan, vary

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

RUNS = "runs"


@dataclass(frozen=True)
class Job:
    """A run and its inputs, sent to a worker process."""

    run: Planned
    inputs: list[str]
    folder: Path
    config: TrainConfig
    cache: Cache
    threads: int


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        error: message of the error; empty if there was none.
        stopped: exit code if the run was stopped by a signal; None otherwise.
    """

    error: str = ""
    stopped: int | None = None


def sweep(
    inputs: list[PathLike],
    output: PathLike,
    config: SweepConfig | None = None,
    *,
    variations: Sequence[Variation] = (),
    cache: Cache = True,
    **options: Any,
) -> pl.DataFrame:
    """Train all combinations of recipes, settings and seeds on the same families, which are compiled once.

    The output folder contains `runs/` (one run folder per run), `results.parquet` and `results.tsv` (one row per run),
    `summary.parquet` and `summary.tsv` (means and 95 % confidence intervals over seeds), `sweep.svg` and `sweep.html`.
    Another call with the same output skips completed runs and resumes interrupted ones exactly; it may add seeds and values.

    Args:
        inputs: family records with trees, or pairs tables.
        output: the folder of the sweep.
        config: the configuration; None uses the defaults. With `jobs` other than 1, runs are in separate
            processes; with `cluster`, on a cluster that shares the folder.
        variations: varied settings in addition to the options `vary` and `bands`.
        cache: the cache of compiled families, see `train_model`.
        **options: fields of `SweepConfig` that override the configuration.

    Returns:
        The results, one row per run.

    Raises:
        UsageError: unknown recipe, setting or metric, or one given twice; the folder contains runs with different settings.
        InUseError: another process uses the folder.
        BadInputError: an input cannot be read, or a view cannot sample from any family: there are no trees, for example.
        Stopped: a signal stopped the sweep; completed runs are kept.
        PhylocliError: some runs failed; the others are complete, and the tables are written.
    """
    folder, config = Path(output), SweepConfig.of(config, options)
    if not inputs or any(str(source) == STDIO for source in inputs):
        raise UsageError("a sweep reads its inputs several times", fix="name files with families")
    variations = [*map(vary, config.vary), *variations]
    if config.bands:
        variations.append(band_variation(config.bands, config.train.view.name.split("+")[0]))
    fixed = {key for layer in config.train.layers if not layer.ambient for key in flat(layer.values)}
    runs = plan(config.recipe_names, variations, config.seeds, fixed)
    # Check the configuration of every run before training the first.
    configs = [_config(run, inputs, config.train) for run in runs]
    with locks.exclusive(folder):
        _check_unchanged(runs, configs, folder)
        compiled = open_compiled(inputs, configs[0].alphabet, cache)
        for found in {found.view.name: found for found in configs}.values():
            check_view(compiled, found)
        sources = [str(source) for source in inputs]
        threads = 0 if config.in_process else config.threads_each
        todo = [
            Job(run, sources, folder / RUNS / run.name, found, cache, threads)
            for run, found in zip(runs, configs, strict=True)
        ]
        varied = {variation.name: list(variation.values) for variation in variations}
        facts = provenance("sweep", {**config.to_parameters(), "recipes": config.recipe_names, "vary": varied}, 0)
        write_text(folder / "provenance.json", json.dumps(facts, indent=2, default=str) + "\n")
        outcomes: dict[str, Outcome] = {}
        try:
            for job, outcome in _one_by_one(todo) if config.in_process else _in_parallel(todo, config.jobs, config.cluster):
                outcomes[job.run.name] = outcome
                if outcome.error:
                    logger.warning(f"{job.run.name} failed: {outcome.error}")
        finally:
            frame = results.collect(runs, folder / RUNS, {name: found.error for name, found in outcomes.items()})
            results.write(frame, folder, config.metric, list(varied))
    _report_outcomes(runs, outcomes, folder)
    return frame


def _config(run: Planned, inputs: Sequence[PathLike], train: TrainConfig) -> TrainConfig:
    """Return the checked configuration of a run."""
    own = {"recipe": run.recipe, "seed": run.seed, "inputs": tuple(map(str, inputs))}
    varied = Layer("--vary", nested(run.settings))
    config = TrainConfig.layered([*train.layers, Layer("", own), varied])
    check_config(config)
    return config


def _check_unchanged(runs: list[Planned], configs: list[TrainConfig], folder: Path) -> None:
    """Raise a UsageError if an existing run was started with different settings."""
    for run, config in zip(runs, configs, strict=True):
        there = folder / RUNS / run.name
        different = changed(there, config) if (there / CONFIG).is_file() else []
        if different:
            raise UsageError(
                f"{folder} was made with {', '.join(different[:6])}",
                why=f"its run {run.name} was started with these settings, so its results would not match the new ones",
                fix="give the same settings again, or name another folder with -o",
            )


def _report_outcomes(runs: list[Planned], outcomes: dict[str, Outcome], folder: Path) -> None:
    codes = [outcome.stopped for outcome in outcomes.values() if outcome.stopped is not None]
    failed = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    if codes:
        from phylocli.train.signals import Stopped

        done = sum(outcome == Outcome() for outcome in outcomes.values())
        what = f"stopped after {done} of {len(runs)} runs; unfinished runs have a checkpoint"
        raise Stopped(what, fix="resume with the same command", exit_code=codes[0])
    logger.info(f"results: {shlex.quote(str(folder / 'results.tsv'))}, figure: {shlex.quote(str(folder / 'sweep.html'))}")
    if failed:
        name, error = next(iter(failed.items()))
        raise PhylocliError(
            f"{len(failed)} of {len(runs)} runs failed", why=f"{name}: {error}", fix="run the same command to retry them"
        )


def _one_by_one(jobs: list[Job]) -> Iterator[tuple[Job, Outcome]]:
    for number, job in enumerate(jobs, 1):
        logger.info(f"run {number} of {len(jobs)}: {job.run.name}")
        outcome = perform(job)
        yield job, outcome
        if outcome.stopped is not None:
            return


def _in_parallel(jobs: list[Job], count: int, cluster: str | None) -> Iterator[tuple[Job, Outcome]]:
    # No grace period: workers that are asked to stop save a checkpoint first, which may take long.
    work = Work(perform, grace=None, level=console.QUIET, unit="runs")
    pieces = ((job.run.name, job) for job in jobs)
    results = run_pieces(work, pieces, jobs=count, cluster=cluster, title="runs", total=len(jobs))
    with contextlib.closing(results):
        for number, (job, (_, result)) in enumerate(zip(jobs, results, strict=True), 1):
            outcome = Outcome(_words(result)) if isinstance(result, PhylocliError) else result
            logger.info(f"run {number} of {len(jobs)} ended: {job.run.name}")
            yield job, outcome
            if outcome.stopped is not None:
                return


def perform(job: Job) -> Outcome:
    """Start or resume a run, and return its outcome."""
    from phylocli.train.signals import Stopped
    from phylocli.train.trainer import train_model

    limit_threads(job.threads)
    try:
        started = job.folder.is_dir() and not locks.is_empty(job.folder)
        train_model(job.inputs, job.folder, job.config, resume=started, cache=job.cache)
    except Stopped as stopped:
        return Outcome(stopped=stopped.exit_code)
    except PhylocliError as error:
        return Outcome(_words(error))
    except Exception as error:  # noqa: BLE001  any error: the other runs continue
        return Outcome(f"{type(error).__name__}: {error}".split("\n", 1)[0])
    return Outcome()


def _words(error: PhylocliError) -> str:
    return ": ".join(part for part in (error.what, error.why) if part)
