"""The analysis: trains and evaluates missing runs, and writes tables and figure."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from phylocli.config.infomin import InfominConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.executors import Work, run_all
from phylocli.formats import Family, read_families, write_families
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import STDIO, PathLike, locks, write_text
from phylocli.infomin.cells import Cell, as_variation, band_cells, view_cells
from phylocli.infomin.comparing import compare
from phylocli.infomin.figure import draw
from phylocli.infomin.measuring import BOUNDS, QUALITIES, SETTLED, Figures, measure
from phylocli.infomin.replicated import means, write_tables
from phylocli.pairs import Split, split_clades
from phylocli.train.data.compiled import Cache
from phylocli.train.data.loading import split_path
from phylocli.train.sweep import plan, sweep
from phylocli.tree import infer_trees

logger = logging.getLogger(__name__)

SCORED = 3
"""Minimum number of held-out members of a family."""
HELD_OUT = {"train": False, "validation": True}


def analyse(
    families: PathLike,
    output: PathLike,
    config: InfominConfig | None = None,
    *,
    evaluate: PathLike | None = None,
    cache: Cache = True,
    **options: Any,
) -> pl.DataFrame:
    """Train one short run per view and seed, and compare embedding quality with the information shared by the two views.

    The folder contains `sweep/` (one run folder per run, see `phylocli.train.sweep`), `runs.tsv` and `.parquet` (one row per
    run), `infomin.tsv` and `.parquet` (one row per view: means and 95 % intervals over seeds, Student's t),
    `comparisons.tsv` and `.parquet` (bands against other views, paired by seed), `infomin.svg` and `infomin.html`. Another
    call only does the remaining work.

    Args:
        families: Stockholm records; missing trees are inferred.
        output: the folder.
        config: options; may also be given as keywords. Views with a distance parameter are matched to the mean of each band.
        evaluate: family records on which quality is measured; None uses the held-out members of the same families.
        cache: cache of compiled families, as in `train_model`.
        **options: fields of `InfominConfig`.

    Returns:
        The rows of `infomin.tsv`.

    Raises:
        UsageError: an unknown view or recipe, or an option out of range.
        BadInputError: families that cannot be read, or a band without pairs.
        InUseError: another process uses the folder.
        PhylocliError: runs failed; the others are kept.
    """
    config = InfominConfig.of(config, options)
    if str(families) == STDIO:
        raise UsageError("the families are read several times", fix="name a file")
    view_cells(config.other_views, [0.0])  # an unknown view is an error before trees are inferred
    folder, seeds = Path(output), config.seeds
    with locks.exclusive(folder):
        new = locks.is_empty(folder)
        source, records = _with_trees(families, folder)
        try:
            matched = band_cells(config.bands, records)
        except BadInputError:
            if new and source != Path(families):
                source.unlink()
            raise
        elsewhere = None if evaluate is None else _with_trees(evaluate, folder)[1]
        cells = [*matched, *view_cells(config.other_views, [cell.distance or 0.0 for cell in matched])]
        pattern = _save_splits(folder, records, seeds, config.train.validation.fraction)
        train = config.train.updated(device="cpu", validation={"split": pattern})
        variation = as_variation(cells, train.encoder.parameters)
        sweep(
            [source],
            folder / "sweep",
            variations=[variation],
            seeds=seeds,
            jobs=config.jobs,
            cluster=config.cluster,
            train=train,
            cache=cache,
        )
        runs = plan([train.named_recipe], [variation], seeds)
        by_name = {cell.name: cell for cell in cells}
        scored = {
            seed: held_out(records, Split.read(split_path(pattern, seed))) if elsewhere is None else elsewhere
            for seed in seeds
        }
        at = folder / "sweep" / "runs"
        tasks = [(at / run.name, source, scored[run.seed], run.seed, cache) for run in runs]
        rows = []
        for run, found in zip(runs, _measured(tasks, config), strict=True):
            cell = by_name[str(run.varied["view"])]
            figures = {name: value for name, value in found.items() if name not in SETTLED}
            rows.append({"view": cell.name, "kind": cell.kind, "seed": run.seed, **figures, "matched": cell.distance})
        table = pl.DataFrame(rows, infer_schema_length=None)
        summary = summarise(table, cells)
        write_tables(table, folder / "runs")
        write_tables(summary, folder / "infomin")
        differences = compare(table, cells)
        write_tables(differences, folder / "comparisons")
        svg, page = draw(table, summary, differences, config.quality)
        write_text(folder / "infomin.svg", svg)
        write_text(folder / "infomin.html", page)
        parameters = {**config.to_parameters(), "evaluate": None if evaluate is None else str(evaluate)}
        facts = provenance("infomin", parameters, min(seeds))
        write_text(folder / "provenance.json", json.dumps(facts, indent=2, default=str) + "\n")
        logger.info(f"figure: {folder / 'infomin.svg'}, table: {folder / 'infomin.tsv'}")
        return summary


def _save_splits(folder: Path, families: Sequence[Family], seeds: Sequence[int], fraction: float) -> str:
    """Choose the held-out members for each seed, save them, and return the pattern of the file names.

    The choice does not depend on the view: the members used for evaluation were not used for training with any view, so
    differences between views are measured on the same sequences.
    """
    pattern = str(folder / "splits" / "seed-{seed}.parquet")
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        Split.of((family, _parts(family, fraction, seed)) for family in families).write(split_path(pattern, seed))
    return pattern


def _parts(family: Family, fraction: float, seed: int) -> list[tuple[str, list[str]]]:
    # At least three members are needed for ranking and correlation within a family, and two for training.
    out = split_clades(family, fraction, seed) if len(family) >= SCORED + 2 else set()
    if len(out) < SCORED or len(family) - len(out) < 2:
        out = set()
    return [(part, [name for name in family.ids if (name in out) == held]) for part, held in HELD_OUT.items()]


Task = tuple[Path, Path, list[Family], int, Cache]


def _measured(tasks: Sequence[Task], config: InfominConfig) -> Iterator[Figures]:
    """Yield the result of `measure` for each run, in order."""
    prepare = None if config.in_process else functools.partial(limit_threads, config.threads_each)
    work = Work(_measure_run, prepare, unit="runs")
    pieces = ((task[0].name, task) for task in tasks)
    yield from run_all(work, pieces, jobs=config.jobs, cluster=config.cluster, title="measuring", total=len(tasks))


def _measure_run(task: Task) -> Figures:
    run, source, scored, seed, cache = task
    return measure(run, [source], scored, seed, cache=cache)


def held_out(families: Sequence[Family], split: Split) -> list[Family]:
    """Return the held-out members of each family as a family."""
    found = [split.members(family, "validation") for family in families]
    return [family for family in found if family is not None]


def _with_trees(families: PathLike, folder: Path) -> tuple[Path, list[Family]]:
    """Return the file of families with trees, and the families; missing trees are inferred once per content."""
    source = Path(families)
    records = list(read_families(source))
    if all(family.has_tree for family in records):
        return source, records
    with source.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    made = folder / f"trees-{content[:12]}.sto"
    if not made.is_file():
        logger.info(f"{source.name}: inferring trees")
        made.parent.mkdir(parents=True, exist_ok=True)
        write_families(infer_trees(iter(records)), made)
    return made, list(read_families(made))


def summarise(table: pl.DataFrame, cells: Sequence[Cell]) -> pl.DataFrame:
    """Return one row per view: mean, low and high over seeds of nats and of each quality metric; NaN becomes null."""
    columns = [c for c in table.columns if c.startswith("nats_")] + list(QUALITIES)
    rows = []
    for cell in cells:
        part = table.filter(pl.col("view") == cell.name)
        row: dict[str, object] = {"view": cell.name, "kind": cell.kind, "distance": cell.distance, "seeds": part.height}
        row["ceiling_nats"] = float(part["ceiling_nats"].mean())  # type: ignore[arg-type]
        row |= means(part, {column: BOUNDS.get(column, (-math.inf, math.inf)) for column in columns})
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)
