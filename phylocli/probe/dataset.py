"""What is known of the items: labels, splits, trees, read from tables and joined by id."""

from __future__ import annotations

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli import console
from phylocli.errors import BadInputError, UsageError
from phylocli.formats import read_sequences
from phylocli.formats.fasta import shorten
from phylocli.formats.streams import PathLike, display_name, open_input
from phylocli.formats.tables import read_table
from phylocli.probe.columns import Terms, is_classes, is_text, mutation_counts, one_letter_a_residue, terms_of, texts_of
from phylocli.probe.embeddings import id_column

if TYPE_CHECKING:
    import polars as pl

    from phylocli.formats import Family

IntArray = npt.NDArray[np.int64]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
}
HIERARCHY = ("family", "superfamily", "clan", "fold")
"""Names of label columns that are levels of one hierarchy, from fine to coarse (SCOP; Pfam has family and clan)."""

MUTATION_COLUMNS = ("mutations", "mutation", "mutant", "variant", "variants")
WILD_TYPE_COLUMN = "wildtype"

_SCCS = re.compile(r"[a-l]\.\d+\.\d+\.\d+(?=\s|$)")
"""SCOPe's concise classification string: class, fold, superfamily, family."""


@dataclass
class Dataset:
    """The items that are scored and what is known of them; every array has one entry an item.

    Attributes:
        ids: the items.
        classes: categorical labels by column: codes, −1 where unknown, shape (n,).
        class_names: the names behind the codes, by column.
        terms: columns of several labels an item (GO terms, EC numbers).
        values: numeric labels by column, NaN where unknown, shape (n,).
        split: `train`, `valid` or `test` of each item; None where the labels say nothing of it.
        residue_labels: texts with one letter a residue, by column.
        residue_mask: texts of `0` (leave this residue out) and `1`, or None.
        wild_type: row of each variant's wild type, −1 for wild types and items that are no variants; None without any.
        mutations: number of mutations of each item, where a column names them.
        sequences: letters by id, where there are sequences.
        identities: of pairs of rows that were aligned so far.
        trees: family records with trees.
        evaluate: the split that tasks without training (retrieval, clustering, geometry) look at; None is all items.
        groupings: clusters of the items that are no labels, by name, shape (n,).
        split_by: column (or grouping) whose classes are kept whole when folds are made.
        resample_by: column (or grouping) whose classes are drawn whole by the bootstrap.
    """

    ids: list[str]
    classes: dict[str, IntArray] = field(default_factory=dict)
    class_names: dict[str, list[str]] = field(default_factory=dict)
    terms: dict[str, Terms] = field(default_factory=dict)
    values: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    split: list[str] | None = None
    residue_labels: dict[str, list[str]] = field(default_factory=dict)
    residue_mask: list[str] | None = None
    wild_type: IntArray | None = None
    mutations: IntArray | None = None
    sequences: dict[str, str] = field(default_factory=dict)
    identities: dict[tuple[int, int], float] = field(default_factory=dict)
    trees: list[Family] = field(default_factory=list)
    evaluate: str | None = None
    groupings: dict[str, IntArray] = field(default_factory=dict)
    split_by: str | None = None
    resample_by: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, split: str) -> IntArray:
        """Return the rows of a split, shape (rows,)."""
        return np.flatnonzero(np.array(self.split, dtype=object) == split) if self.split else np.zeros(0, dtype=np.int64)

    def evaluated_rows(self) -> IntArray:
        """Return the rows that tasks without training look at: those of `evaluate`, or all, shape (rows,)."""
        return self.rows_of(self.evaluate) if self.evaluate else np.arange(len(self.ids))

    def groups(self, rows: IntArray | None) -> IntArray | None:
        """Return the bootstrap's groups of these rows, or None where items are drawn one by one.

        An item without a class in the column is a group of its own.
        """
        return None if self.resample_by is None or rows is None else self.groups_of(self.resample_by, rows)

    def groups_of(self, column: str, rows: IntArray) -> IntArray:
        """Return the classes of these rows in a column as groups; an item without a class is a group of its own."""
        codes = (self.groupings if column in self.groupings else self.classes)[column][rows]
        lonely = codes < 0
        return np.where(lonely, codes.max(initial=0) + 1 + np.arange(len(codes)), codes)


def read_labels(source: PathLike) -> pl.DataFrame:
    """Read a labels table; its column of ids is renamed `id` and is text.

    A FASTA file with SCOPe's headers (`>d1dlwa_ a.1.1.1 (A:) Protozoan globin`) is one too, with the columns `family`,
    `superfamily`, `fold`, `class` and `sequence`.

    Raises:
        BadInputError: no table, no ids, an id that occurs twice, no other column.
    """
    import polars as pl

    name = display_name(source)
    if _is_fasta(source):
        return _scope_labels(source, name)
    frame = read_table(source)
    if frame.height == 0:
        raise BadInputError(f"{name} holds no rows")
    column = id_column(frame, name)
    frame = frame.rename({column: "id"}) if column != "id" else frame
    frame = frame.with_columns(pl.col("id").cast(pl.String))
    if frame["id"].n_unique() < frame.height:
        twice = frame.filter(pl.col("id").is_duplicated())["id"][0]
        raise BadInputError(f"{name}: the id {shorten(str(twice))!r} occurs twice", fix="give one row an id")
    if frame.width < 2:
        raise BadInputError(f"{name} has ids and no labels", fix="add at least one column of labels")
    return frame


def _is_fasta(source: PathLike) -> bool:
    if not Path(source).is_file():  # a pipe is read once: tables only
        return False
    with open_input(source) as stream:
        return stream.read(1) == b">"


def _scope_labels(source: PathLike, name: str) -> pl.DataFrame:
    """Return the labels that the headers of a SCOPe FASTA file name.

    Raises:
        BadInputError: a header without a SCOPe classification, or an id that occurs twice.
    """
    import polars as pl

    rows = []
    for item in read_sequences(source, on_duplicate="error"):
        found = _SCCS.match(item.description)
        if found is None:
            raise BadInputError(
                f"{item.where or name}: the header of {shorten(item.id)!r} holds no SCOPe classification",
                why="labels as FASTA are headers like '>d1dlwa_ a.1.1.1 (A:) Protozoan globin'",
                fix="give a table with a column of ids and columns of labels instead",
            )
        parts = found[0].split(".")
        rows.append((item.id, found[0], ".".join(parts[:3]), ".".join(parts[:2]), parts[0], item.residues.upper()))
    return pl.DataFrame(rows, schema=["id", "family", "superfamily", "fold", "class", "sequence"], orient="row")


def _split_of(values: list[Any], name: str) -> list[str]:
    found = []
    for value in values:
        word = str(value).strip().lower()
        word = "test" if word in ("test", "testing", "holdout", "held-out", "heldout") else SPLIT_NAMES.get(word, word)
        if word not in ("train", "valid", "test"):
            raise BadInputError(f"{name}: the split {shorten(str(value), 40)!r} is none of train, valid, test")
        found.append(word)
    return found


def make_dataset(
    frame: pl.DataFrame,
    name: str,
    *,
    columns: SequenceOf[str] | None = None,
    split_column: str = "split",
    split_by: str | None = None,
    resample_by: str | None = None,
) -> Dataset:
    """Return the items of a labels table with its columns read as classes or quantities.

    Text, truth values, and whole numbers of at most `columns.MAX_INTEGER_CLASSES` kinds are classes; text that lists
    several terms is labels of many; other numbers are quantities. Columns of sequences and columns in which (nearly) every
    value is another are left out.

    Args:
        frame: from `read_labels`, one row an item.
        name: the table's name, for messages.
        columns: only these label columns; None takes all that fit.
        split_column: the column that says train, valid or test.
        split_by: see `Dataset`.
        resample_by: see `Dataset`.

    Raises:
        UsageError: a column that is asked for is not there, or is of no use as a label.
        BadInputError: no column can serve as a label.
    """
    import polars as pl

    for wanted in [*(columns or ()), *(c for c in (split_by, resample_by) if c)]:
        if wanted not in frame.columns:
            raise UsageError(f"{name} has no column {wanted!r}", fix=f"its columns are {', '.join(frame.columns)}")
    data = Dataset(frame["id"].to_list(), split_by=split_by, resample_by=resample_by)
    helpers = {c for c in (split_by, resample_by) if c}
    _read_mutations(data, frame, name)
    lengths = frame["sequence"].str.len_chars() if frame.schema.get("sequence") == pl.String else None
    for column in frame.columns:
        named = columns is not None and column in columns
        if column in ("id", split_column) or not (columns is None or named or column in helpers):
            continue
        if column.lower() in (*MUTATION_COLUMNS, WILD_TYPE_COLUMN) and data.wild_type is not None:
            continue
        series = frame[column]
        if lengths is not None and column != "sequence" and one_letter_a_residue(series, lengths):
            if "mask" in column.lower() or "resolved" in column.lower():
                data.residue_mask = series.to_list()
            else:
                data.residue_labels[column] = series.to_list()
        elif is_text(series) and column not in helpers and (terms := terms_of(texts_of(series))) is not None:
            data.terms[column] = terms
        elif is_classes(series):
            _read_classes(data, series, column, named=named, name=name)
        elif series.dtype.is_numeric() and (column.lower() != "length" or named):
            data.values[column] = series.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    missing = [c for c in helpers if c not in data.classes]
    if missing:
        raise UsageError(f"{name}: the column {missing[0]!r} holds no groups that could be kept together")
    if split_column in frame.columns:
        data.split = _split_of(frame[split_column].to_list(), name)
        data.evaluate = next((s for s in ("test", "valid") if s in data.split), None)
    return data


def _read_classes(data: Dataset, series: pl.Series, column: str, *, named: bool, name: str) -> None:
    """Add a column of classes to the data, unless (nearly) every value is another."""
    texts = texts_of(series)
    class_names = sorted({t for t in texts if t is not None})
    code = {text: i for i, text in enumerate(class_names)}
    codes = np.array([-1 if t is None else code[t] for t in texts], dtype=np.int64)
    counts = np.bincount(codes[codes >= 0], minlength=1)
    shared = counts[counts > 1].sum()
    usable = (counts > 1).sum() >= 1 and len(class_names) >= 2 and shared >= 0.05 * (codes >= 0).sum()
    if usable and (named or column.lower() not in ("sequence", "seq", "description")):
        data.classes[column], data.class_names[column] = codes, class_names
        return
    if named:
        raise UsageError(
            f"{name}: the column {column!r} cannot serve as labels",
            why="classes need two kinds at least, and members that share one",
        )
    console.detail(f"the column {column!r} is no label: hardly two items share a value, or all do")


def _read_mutations(data: Dataset, frame: pl.DataFrame, name: str) -> None:
    """Find each variant's wild type: the item that the column `wildtype` names, else the one item without mutations.

    Raises:
        BadInputError: a wild type that is no item.
    """
    by_lower = {column.lower(): column for column in frame.columns}
    column = next((by_lower[c] for c in MUTATION_COLUMNS if c in by_lower and is_text(frame[by_lower[c]])), None)
    counts = mutation_counts(texts_of(frame[column])) if column else None
    row = {item: i for i, item in enumerate(data.ids)}
    if WILD_TYPE_COLUMN in by_lower:
        wanted = texts_of(frame[by_lower[WILD_TYPE_COLUMN]])
        unknown = next((w for w in wanted if w is not None and w not in row), None)
        if unknown is not None:
            if counts is None:  # a column of that name may hold anything
                return
            raise BadInputError(
                f"{name}: the wild type {shorten(unknown)!r} is no item with labels and an embedding",
                fix="give the wild type a row of its own, and embed it with the variants",
            )
        data.wild_type = np.array([-1 if w is None else row[w] for w in wanted], dtype=np.int64)
    elif counts is not None:
        originals = np.flatnonzero(counts == 0)
        if len(originals) != 1:
            console.warning(
                f"{name}: {len(originals):,} items have no mutation in {column!r}, so the wild type is not known\n"
                f"fix: keep one row without mutations, or name each variant's wild type in a column '{WILD_TYPE_COLUMN}'"
            )
            return
        data.wild_type = np.full(len(data.ids), originals[0], dtype=np.int64)
    if data.wild_type is not None:
        data.wild_type[data.wild_type == np.arange(len(data.ids))] = -1
        data.mutations = counts
