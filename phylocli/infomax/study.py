"""The study: missing runs, tables, figures and a page."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from phylocli.config.infomax import EXPERIMENTS, WITHOUT_FAMILIES, InfomaxConfig
from phylocli.core.errors import UsageError
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.executors import Work, run_all
from phylocli.formats.pages import page, table
from phylocli.formats.pictures import figure_as_svg
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import STDIO, PathLike, locks, write_text
from phylocli.infomax import training
from phylocli.infomax.experiments import Cell, Experiment, load
from phylocli.infomax.homologs import Homologs, make_homologs, read_homologs
from phylocli.infomax.inputs import Pairs, make_pairs, read_pairs
from phylocli.infomin.replicated import finite, means, remembered, write_tables

logger = logging.getLogger(__name__)

BESIDE = ("_low", "_high", "_n")
"""Ends of the names of columns that belong to a mean."""


class Data(NamedTuple):
    """How the data of an experiment are made once, and read by every run."""

    make: Callable[[PathLike, PathLike | None, Path, InfomaxConfig], Path]
    read: Callable[[Path], Pairs | Homologs]


DATA = {"pairs": Data(make_pairs, read_pairs), "homologs": Data(make_homologs, read_homologs)}
"""By an experiment's `DATA`."""


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
    `EXPERIMENT.tsv` and `.parquet`, means with 95 % intervals over seeds (Student's t), each with `NAME_n`, the number of
    seeds with a finite value; `EXPERIMENT.svg`; `infomax.html`, a page, and `provenance.json`, of all experiments in the
    folder. Another call only does the remaining runs.

    Args:
        output: the folder.
        families: aligned families (Stockholm), for the experiments on families.
        config: options; may also be given as keywords.
        evaluate: families on which quality is measured; None: a third of `families`, which are then not trained on.
        **options: fields of `InfomaxConfig`.

    Returns:
        The summary of each experiment by name.

    Raises:
        UsageError: an option out of range, an experiment that needs families without any, or families that none needs.
        BadInputError: too few families, one that is not aligned, or one that is in both files.
        PhylocliError: weights of a run are no longer finite.
        InUseError: another process uses the folder.
    """
    config = InfomaxConfig.of(config, options)
    chosen = list(dict.fromkeys(config.experiments or (EXPERIMENTS if families else WITHOUT_FAMILIES)))
    on_families = [name for name in chosen if name not in WITHOUT_FAMILIES]
    if on_families and families is None:
        raise UsageError(f"the experiment {on_families[0]!r} needs families", fix="name a file of aligned families")
    if evaluate is not None and families is None:
        raise UsageError("families to evaluate on, but none to train on", fix="name a file of aligned families")
    if families is not None and not on_families:
        raise UsageError(f"{' and '.join(chosen)} use no families", fix="leave out the file, or choose other experiments")
    if STDIO in (str(families), str(evaluate)):
        raise UsageError("the families are read several times", fix="name a file")
    folder = Path(output)
    with locks.exclusive(folder):
        data: dict[str, Path] = {}
        if families is not None:
            for kind in dict.fromkeys(load(name).DATA for name in on_families):
                data[kind] = DATA[kind].make(families, evaluate, folder, config)
        found = {}
        for name in chosen:
            experiment = load(name)
            rows, summary = _run(name, experiment, folder, config, data.get(experiment.DATA))
            write_tables(rows, folder / f"{name}-runs")
            write_tables(summary, folder / name)
            write_text(folder / f"{name}.svg", figure_as_svg(experiment.draw(rows, summary, config)))
            found[name] = summary
            logger.info(f"{name}: figure {folder / name}.svg, table {folder / name}.tsv")
        complete = [name for name in EXPERIMENTS if all((folder / f"{name}.{end}").is_file() for end in ("parquet", "svg"))]
        parts = [_section(name, folder) for name in complete]
        write_text(folder / "infomax.html", page("InfoMax", "<h1>Maximising information</h1>" + "".join(parts), width=70))
        inputs = {"families": families, "evaluate": evaluate}
        parameters = {**config.to_parameters(), **{name: str(path) for name, path in inputs.items() if path is not None}}
        _write_provenance(folder / "provenance.json", chosen, parameters, min(config.seeds))
        return found


def _run(
    name: str, experiment: Experiment, folder: Path, config: InfomaxConfig, data: Path | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of all runs of an experiment, and their means."""
    tasks = [(name, cell, seed, folder, config, data) for cell in experiment.cells(config) for seed in config.seeds]
    work = Work(_run_one, None if config.in_process else functools.partial(limit_threads, config.threads_each), unit="runs")
    pieces = ((f"{name} {number}", task) for number, task in enumerate(tasks))
    every = run_all(work, pieces, jobs=config.jobs, cluster=config.cluster, title=name, total=len(tasks))
    rows = []
    for (_, _, seed, *_), found in zip(tasks, every, strict=True):
        rows += [{"seed": seed, **row} for row in found]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    by = list(experiment.BY)
    summary = [
        {
            **dict(zip(by, key, strict=True)),
            "seeds": part["seed"].n_unique(),
            **means(part, experiment.VALUES),
            **{f"{column}_n": len(finite(part[column])) for column in experiment.VALUES},
        }
        for key, part in frame.group_by(by, maintain_order=True)
    ]
    for column in experiment.VALUES:
        if dropped := len(frame[column].drop_nulls()) - len(finite(frame[column])):
            logger.warning(f"{name}: {column} is NaN or infinite in {counted(dropped, 'row')}, which no mean includes")
    return frame, pl.DataFrame(summary, infer_schema_length=None)


Task = tuple[str, Cell, int, Path, InfomaxConfig, Path | None]


def _run_one(task: Task) -> list[dict[str, Any]]:
    """Return the rows of one run, from its file if it is complete."""
    name, cell, seed, folder, config, source = task
    experiment = load(name)
    own = {option: getattr(config, option) for option in experiment.OPTIONS}
    key: dict[str, Any] = {"experiment": name, "cell": cell, "seed": seed, "options": own}
    key["versions"] = [experiment.VERSION, training.VERSION]
    data = None
    if source is not None:
        key["data"], data = source.stem, DATA[experiment.DATA].read(source)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = folder / "runs" / name / f"{digest}.json"
    found = remembered(path, key, lambda: {"rows": experiment.run(cell, seed, config, data)})
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def _write_provenance(path: Path, chosen: list[str], parameters: dict[str, Any], seed: int) -> None:
    """Write the provenance of this call, and under `experiments` the latest parameters, versions and time of each."""
    facts: dict[str, Any] = {**provenance("infomax", parameters, seed)}
    earlier = json.loads(path.read_text(encoding="utf-8")).get("experiments", {}) if path.is_file() else {}
    own = {key: facts[key] for key in ("parameters", "versions", "time")}
    facts["experiments"] = {**earlier, **dict.fromkeys(chosen, own)}
    write_text(path, json.dumps(facts, indent=2, default=str) + "\n")


def _section(name: str, folder: Path) -> str:
    """Return the part of the page about an experiment, from its files in the folder."""
    experiment, summary = load(name), pl.read_parquet(folder / f"{name}.parquet")
    svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
    columns = [c for c in summary.columns if not c.endswith(BESIDE)]
    rows = [[_shown(row, column) for column in columns] for row in summary.to_dicts()]
    body = table([c.replace("_", " ") for c in columns], rows)
    text = f"<h2>{experiment.TITLE}</h2><p>{experiment.ABOUT}</p>{svg[svg.index('<svg') :]}"
    return f"{text}<details><summary>Table</summary>{body}</details>"


def _shown(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    known = row.get(f"{column}_n", row["seeds"])
    text = f"{value:.3g}" + ("" if low is None or high is None else f" ({low:.3g} to {high:.3g})")
    return text if known == row["seeds"] else f"{text}, n = {known}"
