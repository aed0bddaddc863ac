"""Evaluation data: labels, sequences and trees, from the user's files or a benchmark."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.core.errors import BadInputError
from phylocli.formats import Family, Sequence, read_families, read_sequences
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.columns import ColumnOptions, Taken
from phylocli.formats.tables.values import numbers_of, texts_of
from phylocli.probe.benchmarks import load_benchmark
from phylocli.probe.inputs.labels import labels_name, read_label_table

if TYPE_CHECKING:
    import polars as pl


TITLE = "Evaluation of embeddings"


@dataclass
class EvaluationSpec:
    """Evaluation data, before the embeddings are read.

    Attributes:
        frame: labels, one row per item, with a column `id`.
        ids: the column of ids in the labels.
        source: name of the labels, for messages.
        sequences: unaligned sequences by id; None if there are none.
        trees: families with trees.
        tasks: probes to run; None runs all that apply to the labels.
        columns: label columns to use; None uses all suitable ones.
        resample_by: column whose classes the bootstrap resamples.
        title: title of the report, unless the user gives one.
        published: published results, as a sentence.
    """

    frame: pl.DataFrame
    source: str
    sequences: dict[str, str] | None
    trees: list[Family] = field(default_factory=list)
    tasks: SequenceOf[str] | None = None
    columns: SequenceOf[str] | None = None
    resample_by: str | None = None
    title: str = TITLE
    published: str = ""
    ids: Taken | None = None


def read_spec(
    labels: PathLike | pl.DataFrame | None,
    sequences: PathLike | None = None,
    trees: PathLike | None = None,
    options: ColumnOptions = ColumnOptions(),
) -> EvaluationSpec:
    """Read labels with their sequences and trees.

    Args:
        labels: see `labels.read_labels`; None evaluates on the trees only.
        sequences: FASTA or Stockholm file; None uses the column `sequence` of the labels, if there is one.
        trees: Stockholm records with trees.
        options: the user's options for the interpretation of columns.

    Raises:
        BadInputError: a file cannot be read, or no record has a tree.
    """
    families = _read_trees(trees) if trees is not None else []
    if labels is None:
        frame, ids, name = _members(families), None, str(trees)
    else:
        (frame, ids), name = read_label_table(labels, options), labels_name(labels)
    letters = None
    if sequences is not None:
        letters = {s.id: s.unaligned() for s in read_sequences(sequences, on_duplicate="keep-first")}
    elif "sequence" in frame.columns:
        letters = _letters(frame, name)
    return EvaluationSpec(frame, name, letters, families, ids=ids)


def _members(families: list[Family]) -> pl.DataFrame:
    """Return the ids of the members of families as a table without labels."""
    import polars as pl

    return pl.DataFrame({"id": list(dict.fromkeys(member for family in families for member in family.ids))})


def benchmark_spec(name: str, folder: PathLike, part: str | None = None) -> EvaluationSpec:
    """Read a benchmark by its name (see `phylocli.probe.benchmarks`)."""
    found = load_benchmark(name, Path(folder), part)
    return EvaluationSpec(
        found.frame,
        found.source,
        _letters(found.frame, found.source),
        found.trees,
        found.tasks,
        found.columns,
        found.resample_by,
        f"Benchmark {name}{f', {part}' if part else ''}",
        found.published,
    )


def _letters(frame: pl.DataFrame, name: str) -> dict[str, str] | None:
    """Return the sequences in the column `sequence`, by id; None if it contains no text."""
    import polars as pl

    if frame.schema["sequence"] != pl.String or numbers_of(texts_of(frame["sequence"])) is not None:
        return None
    rows = zip(frame["id"].to_list(), frame["sequence"].to_list(), strict=True)
    return {item: Sequence(item, text.strip(), where=name).unaligned() for item, text in rows if text and text.strip()}


def _read_trees(source: PathLike) -> list[Family]:
    families = [f for f in read_families(source) if f.has_tree]
    if not families:
        raise BadInputError(f"{source} contains no family with a tree", fix="infer trees with 'phylocli tree' first")
    return families
