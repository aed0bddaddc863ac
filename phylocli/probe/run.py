"""The evaluation: inputs joined by id, every probe on every embedding, intervals, differences, the report's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence as SequenceOf
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from phylocli import console, registry
from phylocli.errors import BadInputError, UsageError
from phylocli.formats import read_families, read_sequences
from phylocli.formats.fasta import shorten
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import PathLike, atomic_directory
from phylocli.formats.tables import metrics_schema, write_table
from phylocli.probe.baselines import baseline, window_baseline
from phylocli.probe.dataset import Dataset, make_dataset, read_labels
from phylocli.probe.embeddings import Embedding, read_embeddings
from phylocli.probe.leaks import Leak, find_leak
from phylocli.probe.scoring import CHANCE, Scorer, concerns, number
from phylocli.probe.statistics import holm

if TYPE_CHECKING:
    import polars as pl

TASKS = "probe.tasks"
REPORT, MARKDOWN, JSON, METRICS = "report.html", "report.md", "report.json", "metrics.parquet"
# Retrieval first: it is what most come for. Tasks that are not named here come after, by name.
ORDER = (
    "retrieval",
    "homology",
    "classification",
    "mlp",
    "multilabel",
    "regression",
    "residues",
    "mutation",
    "patristic",
    "topology",
    "clustering",
    "geometry",
)


def task_names() -> list[str]:
    """Return the probes there are, in the order of the report."""
    known = registry.names(TASKS)
    return sorted(known, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _named(embeddings: list[Embedding]) -> None:
    """Give every embedding a name of its own; `chance` is taken."""
    taken = {CHANCE}
    for embedding in embeddings:
        base, number = embedding.name, 2
        while embedding.name in taken:
            embedding.name, number = f"{base}.{number}", number + 1
        taken.add(embedding.name)


def split_name(text: str) -> tuple[str | None, str]:
    """Return (name, path) of `NAME=PATH`; the name is None where the text is a path."""
    name, mark, path = text.partition("=")
    if mark and path and "/" not in name and not Path(text).exists():
        return name, path
    return None, text


def _read_trees(source: PathLike) -> list[Any]:
    families = [f for f in read_families(source) if f.newick]
    if not families:
        raise BadInputError(f"{source} holds no family with a tree", fix="run the families through 'phylocli tree' first")
    return families


def _common_ids(frame: pl.DataFrame, embeddings: list[Embedding], sequences: dict[str, str] | None) -> pl.DataFrame:
    """Return the rows of the labels whose ids every embedding (and the sequences) have, saying what is left out.

    Raises:
        BadInputError: nothing in common; examples from both sides.
    """
    import polars as pl

    for embedding in embeddings:
        known = set(embedding.ids)
        shared = frame["id"].is_in(list(known)).sum()
        if shared == 0:
            raise BadInputError(
                f"no id of {embedding.source} is in the labels",
                why=f"the embeddings have ids like {shorten(embedding.ids[0], 40)!r}, the labels like {frame['id'][0]!r}",
                fix="the ids of both must be the same words",
            )
        if shared < len(known) or shared < frame.height:
            console.info(
                f"{embedding.name}: {shared:,} of {len(known):,} embeddings have labels ({frame.height:,} rows of labels)"
            )
        frame = frame.filter(pl.col("id").is_in(list(known)))
    if sequences is not None:
        missing = frame.height - int(frame["id"].is_in(list(sequences)).sum())
        if missing:
            first = frame.filter(~pl.col("id").is_in(list(sequences)))["id"][0]
            raise BadInputError(
                f"{missing:,} of {frame.height:,} items have no sequence for the baselines, first {shorten(first)!r}",
                fix="give --sequences with all of them, or --baseline none",
            )
    if frame.height < 2:
        raise BadInputError("fewer than two items have an embedding and labels", fix="check the ids of both tables")
    return frame


def _chosen_tasks(tasks: SequenceOf[str] | None, data: Dataset, first: Embedding) -> dict[str, tuple[ModuleType, list[str]]]:
    """Return the probes to run with their levels: those named, or all that the labels allow.

    Raises:
        UsageError: a probe that is named and does not exist or does not apply; or none applies.
    """
    chosen: dict[str, tuple[ModuleType, list[str]]] = {}
    for name in tasks or task_names():
        module = registry.load(TASKS, name)
        if not tasks and getattr(module, "ON_REQUEST", False):
            continue
        levels = module.levels(data) if concerns(module, first) else []
        if levels:
            chosen[name] = (module, levels)
        elif tasks:
            raise UsageError(
                f"the probe {name!r} does not apply to these labels",
                why=f"classes: {', '.join(data.classes) or 'none'}; terms: {', '.join(data.terms) or 'none'}; "
                f"quantities: {', '.join(data.values) or 'none'}; "
                f"labels of residues: {', '.join(data.residue_labels) or 'none'}; {len(data.trees)} trees"
                + ("" if concerns(module, first) else f"; {first.name} has no embeddings of residues"),
                fix="see docs/probe.md for what each probe needs",
            )
    if not chosen:
        raise UsageError(
            "no probe applies to these labels",
            why="there is no column whose classes have several members, no quantity, and no tree",
            fix="check the labels table, or name a column with --label",
        )
    return chosen


def _leak(data: Dataset, letters: dict[str, str] | None) -> Leak | None:
    """Return how near the scored part is to the training part, and warn where it holds near copies; None without either."""
    if letters is None or data.evaluate is None or not len(data.rows_of("train")):
        return None
    scored, training = data.evaluated_rows(), data.rows_of("train")
    leak = find_leak(*([letters[data.ids[r]] for r in rows if data.ids[r] in letters] for rows in (scored, training)))
    if leak.twins:
        console.warning(
            f"{leak.twins:,} of {leak.scored:,} scored sequences are near copies of training sequences "
            "(identity of 0.9 or more)\nfix: split by clades, families or identity clusters, so that what is scored is new"
        )
    return leak


def run_probes(
    embeddings: SequenceOf[PathLike | Embedding],
    labels: PathLike,
    output: PathLike,
    *,
    tasks: SequenceOf[str] | None = None,
    columns: SequenceOf[str] | None = None,
    split_column: str = "split",
    split_by: str | None = None,
    resample_by: str | None = None,
    sequences: PathLike | None = None,
    trees: PathLike | None = None,
    baselines: SequenceOf[str] | None = None,
    replicates: int = 2000,
    projection: str = "tsne",
    title: str | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Evaluate embeddings and write the report's folder: `report.html`, `report.md`, `report.json`, `metrics.parquet`.

    Args:
        embeddings: tables (see `read_embeddings`), `NAME=PATH`, or `Embedding`s; the first is the one that is asked about,
            the others are what it is compared with.
        labels: table with a column of ids and columns of labels, maybe a split, maybe sequences.
        output: folder of the report; an older report is replaced.
        tasks: probes to run; None runs all that the labels allow.
        columns: label columns to use; None takes all that fit.
        split_column: column that says train, valid or test.
        split_by: without a split: column whose classes are kept whole in cross-validation.
        resample_by: column whose classes the bootstrap draws whole.
        sequences: FASTA or Stockholm, for the baselines; None takes a column `sequence` of the labels if there is one.
        trees: Stockholm records with trees, for the distances along them.
        baselines: of `phylocli.probe.baselines.BASELINES`; None takes composition and 2-mers where there are sequences.
        replicates: bootstrap replicates.
        projection: of the map: `tsne`, `pca` or `none`.
        title: of the report.
        seed: of folds, clusterings, subsamples and the bootstrap.

    Returns:
        The metrics, one row a figure, columns of `tables.metrics_schema()`.

    Raises:
        UsageError: options that do not fit the labels.
        BadInputError: inputs that cannot be read or have no id in common.
    """
    import polars as pl

    from phylocli import __version__
    from phylocli.probe.projection import check_projection, project
    from phylocli.probe.report import render, summarise

    if not embeddings:
        raise UsageError("no embeddings are given", fix="name at least one table of embeddings")
    if replicates < 100:
        raise UsageError(f"{replicates} bootstrap replicates are too few for an interval", fix="use at least 100")
    target = Path(output)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / JSON).exists())):
        raise UsageError(f"{output} exists and is no earlier report", fix="name a new folder with -o")
    check_projection(projection)
    for name in tasks or ():
        registry.load(TASKS, name)  # a wrong name is said before anything is read
    tables = []
    for item in embeddings:
        if isinstance(item, Embedding):
            tables.append(item)
        else:
            shown, path = split_name(str(item))
            tables.append(read_embeddings(path, shown))
    _named(tables)
    frame = read_labels(labels)
    letters = None
    if sequences is not None:
        letters = {s.id: s.residues for s in read_sequences(sequences, on_duplicate="keep-first")}
    elif "sequence" in frame.columns and frame.schema["sequence"] == pl.String:
        from phylocli.formats import Sequence

        rows = zip(frame["id"].to_list(), frame["sequence"].to_list(), strict=True)
        letters = {name: Sequence(name, text, where=str(labels)).unaligned() for name, text in rows if text}
    wanted = ["composition", "2-mers"] if baselines is None and letters is not None else list(baselines or ())
    wanted = [] if wanted == ["none"] else wanted
    if wanted and letters is None:
        raise UsageError("baselines need the sequences", fix="give --sequences FASTA, or a column 'sequence' in the labels")
    if not wanted and letters is None and len(tables) == 1:
        console.warning(
            "no baseline: a number that stands alone says little\nfix: give --sequences FASTA, or a second table"
        )
    frame = _common_ids(frame, tables, letters if wanted else None)
    data = make_dataset(
        frame, str(labels), columns=columns, split_column=split_column, split_by=split_by, resample_by=resample_by
    )
    data.sequences = letters or {}
    if trees is not None:
        data.trees = _read_trees(trees)
    tables = [t.aligned_to(data.ids) for t in tables]
    for name in wanted:
        assert letters is not None
        tables.append(baseline(name, data.ids, [letters[i] for i in data.ids]))
    if wanted and data.residue_labels and tables[0].residues is not None:
        assert letters is not None
        tables.append(window_baseline(data.ids, [letters[i] for i in data.ids]))
    _named(tables)
    chosen = _chosen_tasks(tasks, data, tables[0])
    leak = _leak(data, letters)

    scorer = Scorer(data, tables, replicates, seed)
    steps = sum(len(levels) for _, levels in chosen.values()) * len(tables)
    with console.progress_task("probing", steps) as bar:
        for name, (module, levels) in chosen.items():
            for level in levels:
                scorer.score(name, module, level, bar.advance)
    raw = [math.nan if d["p"] is None else d["p"] for d in scorer.differences]
    for row, corrected in zip(scorer.differences, holm(raw), strict=True):
        row["p_holm"] = number(float(corrected))

    parameters = {
        "tasks": list(chosen),
        "columns": list(columns) if columns else None,
        "split_by": split_by,
        "resample_by": resample_by,
        "baselines": wanted,
        "replicates": replicates,
        "projection": projection,
    }
    record = provenance("probe", parameters, seed)
    report = {
        "format": "phylocli-report-1",
        "title": title or "What do these embeddings know?",
        "version": __version__,
        "embeddings": [
            {
                "name": t.name,
                "dimension": int(t.vectors.shape[1]),
                "source": t.source,
                "baseline": t.baseline,
                "metadata": {k: v for k, v in t.metadata.items() if len(v) <= 400},
            }
            for t in tables
        ],
        "items": len(data),
        "evaluated": len(data.evaluated_rows()),
        "split": data.evaluate,
        "replicates": replicates,
        "resample_by": resample_by,
        "seed": seed,
        "tasks": [
            {
                "name": name,
                "title": module.TITLE,
                "summary": registry.summary(TASKS, name),
                "levels": levels,
                "metrics": {m: {"meaning": k.meaning, "better": k.better} for m, k in module.METRICS.items()},
            }
            for name, (module, levels) in chosen.items()
        ],
        "metrics": scorer.metrics,
        "differences": scorer.differences,
        "notes": scorer.notes,
        "leak": asdict(leak) if leak is not None else None,
        "curves": scorer.curves,
        "maps": project(data, tables, projection, seed),
        # The time of day stays out: the same input and seed give the same report.
        "provenance": {k: record[k] for k in ("command", "parameters", "seed", "inputs", "versions", "platform")},
    }
    columns_of = {field.name: [row[field.name] for row in scorer.metrics] for field in metrics_schema()}
    metrics = pl.DataFrame(columns_of).cast({"value": pl.Float64, "low": pl.Float64, "high": pl.Float64})
    with atomic_directory(target) as folder:
        write_table(metrics, folder / METRICS, metrics_schema(), "parquet")
        (folder / JSON).write_text(
            json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        (folder / REPORT).write_text(render(report), encoding="utf-8")
        (folder / MARKDOWN).write_text(summarise(report), encoding="utf-8")
        (folder / "provenance.json").write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    return metrics
