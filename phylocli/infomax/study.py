"""The study: missing runs, tables, figures and a page."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import polars as pl

from phylocli.config.infomax import EXPERIMENTS, WITHOUT_FAMILIES, InfomaxConfig
from phylocli.core.errors import UsageError
from phylocli.core.threads import limit_threads
from phylocli.executors import Work, run_all
from phylocli.formats.pages import page, table
from phylocli.formats.pictures import figure_as_svg
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import STDIO, PathLike, locks, write_text
from phylocli.infomax.experiments import Cell, Experiment, load
from phylocli.infomax.halves import make_halves, read_halves
from phylocli.infomin.replicated import means, remembered, write_tables

logger = logging.getLogger(__name__)


def study(
    output: PathLike,
    families: PathLike | None = None,
    config: InfomaxConfig | None = None,
    *,
    evaluate: PathLike | None = None,
    **options: Any,
) -> dict[str, pl.DataFrame]:
    """Run the experiments, and write a table, a summary and a figure for each, and a page with all of them.

    The folder contains `runs/`, one JSON file per run; `EXPERIMENT-runs.tsv` and `.parquet`, the rows of all runs;
    `EXPERIMENT.tsv` and `.parquet`, means with 95 % intervals over seeds (Student's t); `EXPERIMENT.svg`; `infomax.html`.
    Another call only does the remaining runs.

    Args:
        output: the folder.
        families: aligned families (Stockholm), for the experiments on halves of domains.
        config: options; may also be given as keywords.
        evaluate: families on which quality is measured; None: a third of `families`, which are then not trained on.
        **options: fields of `InfomaxConfig`.

    Returns:
        The summary of each experiment by name.

    Raises:
        UsageError: an option out of range, or an experiment that needs families without any.
        BadInputError: too few families, or one that is not aligned.
        InUseError: another process uses the folder.
    """
    config = InfomaxConfig.of(config, options)
    chosen = list(dict.fromkeys(config.experiments or (EXPERIMENTS if families else WITHOUT_FAMILIES)))
    on_halves = [name for name in chosen if name not in WITHOUT_FAMILIES]
    if on_halves and families is None:
        raise UsageError(f"the experiment {on_halves[0]!r} needs families", fix="name a file of aligned families")
    if STDIO in (str(families), str(evaluate)):
        raise UsageError("the families are read several times", fix="name a file")
    folder = Path(output)
    with locks.exclusive(folder):
        halves = None
        if on_halves and families is not None:
            sizes = {"count": config.training_families, "members": config.members, "scored": config.scored_families}
            halves = make_halves(families, evaluate, folder, **sizes)
        found, parts = {}, []
        for name in chosen:
            experiment = load(name)
            rows, summary = _run(name, experiment, folder, config, None if name in WITHOUT_FAMILIES else halves)
            write_tables(rows, folder / f"{name}-runs")
            write_tables(summary, folder / name)
            svg = figure_as_svg(experiment.draw(rows, summary, config))
            write_text(folder / f"{name}.svg", svg)
            parts.append(_section(experiment, summary, svg))
            found[name] = summary
            logger.info(f"{name}: figure {folder / name}.svg, table {folder / name}.tsv")
        write_text(folder / "infomax.html", page("InfoMax", "<h1>Maximising information</h1>" + "".join(parts), width=70))
        inputs = {"families": families, "evaluate": evaluate}
        parameters = {**config.to_parameters(), **{name: str(path) for name, path in inputs.items() if path is not None}}
        facts = provenance("infomax", parameters, min(config.seeds))
        write_text(folder / "provenance.json", json.dumps(facts, indent=2, default=str) + "\n")
        return found


def _run(
    name: str, experiment: Experiment, folder: Path, config: InfomaxConfig, halves: Path | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of all runs of an experiment, and their means."""
    tasks = [(name, cell, seed, folder, config, halves) for cell in experiment.cells(config) for seed in config.seeds]
    work = Work(_run_one, None if config.in_process else functools.partial(limit_threads, config.threads_each), unit="runs")
    pieces = ((f"{name} {number}", task) for number, task in enumerate(tasks))
    every = run_all(work, pieces, jobs=config.jobs, cluster=config.cluster, title=name, total=len(tasks))
    rows = []
    for (_, _, seed, *_), found in zip(tasks, every, strict=True):
        rows += [{"seed": seed, **row} for row in found]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    by = list(experiment.BY)
    summary = [
        {**dict(zip(by, key, strict=True)), "seeds": part["seed"].n_unique(), **means(part, experiment.VALUES)}
        for key, part in frame.group_by(by, maintain_order=True)
    ]
    return frame, pl.DataFrame(summary, infer_schema_length=None)


Task = tuple[str, Cell, int, Path, InfomaxConfig, Path | None]


def _run_one(task: Task) -> list[dict[str, Any]]:
    """Return the rows of one run, from its file if it is complete."""
    name, cell, seed, folder, config, halves = task
    experiment = load(name)
    own = {option: getattr(config, option) for option in experiment.OPTIONS}
    key: dict[str, Any] = {"experiment": name, "cell": cell, "seed": seed, "options": own}
    data = None
    if halves is not None:
        key["halves"], data = halves.stem, read_halves(halves)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = folder / "runs" / name / f"{digest}.json"
    found = remembered(path, key, lambda: {"rows": experiment.run(cell, seed, config, data)})
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def _section(experiment: Experiment, summary: pl.DataFrame, svg: str) -> str:
    columns = [c for c in summary.columns if not c.endswith(("_low", "_high"))]
    rows = [[_shown(row, column) for column in columns] for row in summary.to_dicts()]
    body = table([c.replace("_", " ") for c in columns], rows)
    text = f"<h2>{experiment.TITLE}</h2><p>{experiment.ABOUT}</p>{svg[svg.index('<svg') :]}"
    return f"{text}<details><summary>Table</summary>{body}</details>"


def _shown(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    return f"{value:.3g}" + ("" if low is None or high is None else f" ({low:.3g} to {high:.3g})")
