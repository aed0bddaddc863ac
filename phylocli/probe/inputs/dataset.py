"""What is known of the items: labels, splits, trees, read from tables and joined by id."""

from __future__ import annotations

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_sequences
from phylocli.formats.embeddings.table import checked_ids
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.sniffing import sniff_file
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import read_table
from phylocli.formats.tables.columns import ColumnOptions, Taken, id_column
from phylocli.formats.tables.values import numbers_of, texts_of
from phylocli.probe.inputs.label_types import Column, Terms, is_text, mutation_counts, read_column

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
SEQUENCE_COLUMNS = ("sequence", "mutated_sequence")

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
        taken: what each column was taken for, and why.
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
    taken: list[Taken] = field(default_factory=list)

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


def read_labels(source: PathLike, options: ColumnOptions = ColumnOptions()) -> pl.DataFrame:
    """Return the table of `read_label_table` alone."""
    return read_label_table(source, options)[0]


def read_label_table(source: PathLike, options: ColumnOptions = ColumnOptions()) -> tuple[pl.DataFrame, Taken]:
    """Read a labels table; its column of ids is renamed `id` and is text, texts stand as they are in the file.

    A FASTA file with SCOPe's headers (`>d1dlwa_ a.1.1.1 (A:) Protozoan globin`) is one too, with the columns `family`,
    `superfamily`, `fold`, `class` and `sequence`. What the other columns hold is for `columns.read_column` to say.

    Args:
        source: the table, or `-` for standard input.
        options: what the user says of the columns.

    Returns:
        The table, and which column held the ids.

    Raises:
        BadInputError: not a table, no ids, an id that occurs twice, no other column.
        UsageError: `options` name columns that are not there.
    """
    import polars as pl

    name = display_name(source)
    if Path(source).is_file() and sniff_file(source) == "fasta":  # a pipe is read once: tables only
        return _scope_labels(source, name), Taken("header", "ids", "FASTA with SCOPe's classification")
    frame = read_table(source, typed=False)
    if frame.height == 0:
        raise BadInputError(f"{name} holds no rows")
    schema = pl.Schema({column: _kind_of(frame[column]) for column in frame.columns})
    chosen = id_column(schema, name, options)
    ids = pl.Series("id", checked_ids(frame[chosen.column].cast(pl.String).to_list(), name), dtype=pl.String)
    keep = [column for column in frame.columns if column != chosen.column]
    if chosen.column.lower() in MUTATION_COLUMNS:  # ProteinGym's ids are the mutations
        keep.insert(0, chosen.column)
    frame = pl.DataFrame([ids, *(frame[column] for column in keep if column != "id")])
    if frame.width < 2:
        raise BadInputError(f"{name} has ids and no labels", fix="add at least one column of labels")
    for column in (*options.classes, *options.quantities):
        if column not in frame.columns:
            raise UsageError(f"{name} has no column {column!r}", fix=f"its columns are {', '.join(frame.columns)}")
    console.detail(f"{name}: {frame.height:,} rows, ids in {chosen.column!r} ({chosen.why})")
    return _with_sequence(frame), chosen


def _kind_of(column: pl.Series) -> pl.DataType:
    """Return the type of a column; of one of texts that are all numbers, that of numbers."""
    if not is_text(column):
        return column.dtype
    numbers = numbers_of(texts_of(column))
    return column.dtype if numbers is None else numbers.dtype


def _with_sequence(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with a column `sequence`, where one is called `Sequence` or, as in ProteinGym, `mutated_sequence`."""
    by_lower = {column.lower(): column for column in frame.columns}
    found = next((by_lower[name] for name in SEQUENCE_COLUMNS if name in by_lower), None)
    return frame if found in (None, "sequence") else frame.rename({found: "sequence"})


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
    split_column: str | None = "split",
    split_by: str | None = None,
    resample_by: str | None = None,
    options: ColumnOptions = ColumnOptions(),
) -> Dataset:
    """Return the items of a labels table, its columns read as `columns.read_column` says.

    Columns of sequences and columns in which (nearly) every value is another are left out.

    Args:
        frame: from `read_labels`, one row an item.
        name: the table's name, for messages.
        columns: only these label columns; None takes all that fit.
        split_column: the column that says train, valid or test; None looks for none.
        split_by: see `Dataset`.
        resample_by: see `Dataset`.
        options: what the user says of the columns.

    Raises:
        UsageError: a column that is asked for is not there, or is of no use as a label.
        BadInputError: splits or wild types that are not known.
    """
    import polars as pl

    helpers = {c for c in (split_by, resample_by) if c}
    for wanted in [*(columns or ()), *options.classes, *options.quantities, *helpers]:
        if wanted not in frame.columns:
            raise UsageError(f"{name} has no column {wanted!r}", fix=f"its columns are {', '.join(frame.columns)}")
    data = Dataset(frame["id"].to_list(), split_by=split_by, resample_by=resample_by)
    _read_mutations(data, frame, name)
    lengths = frame["sequence"].str.len_chars() if frame.schema.get("sequence") == pl.String else None
    for column in frame.columns:
        if column == "id":
            continue
        overruled = column in options.classes or column in options.quantities
        named = overruled or (columns is not None and column in columns)
        if column == split_column:
            data.taken.append(Taken(column, "split", "by its name"))
        elif not (columns is None or named or column in helpers):
            data.taken.append(Taken(column, "ignored", "not named by --label"))
        elif column.lower() in (*MUTATION_COLUMNS, WILD_TYPE_COLUMN) and data.wild_type is not None:
            data.taken.append(Taken(column, "mutations", "by its name"))
        else:
            found = read_column(frame[column], options, lengths=lengths, named=named, groups=column in helpers)
            data.taken.append(_add(data, found, named=named, name=name))
    missing = [c for c in helpers if c not in data.classes]
    if missing:
        raise UsageError(f"{name}: the column {missing[0]!r} holds no groups that could be kept together")
    if split_column is not None and split_column in frame.columns:
        data.split = _split_of(texts_of(frame[split_column]).to_list(), name)
        data.evaluate = next((s for s in ("test", "valid") if s in data.split), None)
    return data


def _add(data: Dataset, found: Column, *, named: bool, name: str) -> Taken:
    """Add a column to the data, and return what it was taken for.

    Raises:
        UsageError: the user asks for it, and it is of no use.
    """
    if found.texts is not None and found.role == "classes":
        return _add_classes(data, found, named=named, name=name)
    if found.texts is not None and found.role == "mask of residues":
        data.residue_mask = [text or "" for text in found.texts]
    elif found.texts is not None:
        data.residue_labels[found.name] = [text or "" for text in found.texts]
    elif found.terms is not None:
        data.terms[found.name] = found.terms
    elif found.values is not None:
        data.values[found.name] = found.values
    elif named:
        raise UsageError(f"{name}: the column {found.name!r} cannot serve as labels", why=found.why)
    return Taken(found.name, found.role, found.why + _known(found, len(data)))


def _known(found: Column, n: int) -> str:
    """Return how many items a column says nothing of, as the end of a sentence."""
    known = n
    if found.values is not None:
        known = int(np.isfinite(found.values).sum())
    elif found.terms is not None:
        known = int(found.terms.known.sum())
    elif found.texts is not None:
        known = sum(text is not None for text in found.texts)
    return f"; {n - known:,} of {n:,} unknown" if known < n else ""


def _add_classes(data: Dataset, found: Column, *, named: bool, name: str) -> Taken:
    """Add a column of classes to the data, unless (nearly) every value is another."""
    assert found.texts is not None
    class_names = sorted({t for t in found.texts if t is not None})
    code = {text: i for i, text in enumerate(class_names)}
    codes = np.array([-1 if t is None else code[t] for t in found.texts], dtype=np.int64)
    counts = np.bincount(codes[codes >= 0], minlength=1)
    shared = counts[counts > 1].sum()
    if (counts > 1).sum() >= 1 and len(class_names) >= 2 and shared >= 0.05 * (codes >= 0).sum():
        data.classes[found.name], data.class_names[found.name] = codes, class_names
        if "values are not numbers" in found.why and not named:
            console.warning(
                f"{name}: the column {found.name!r} is taken for classes ({found.why})\nfix: --quantities {found.name}"
            )
        return Taken(found.name, "classes", f"{found.why}; {len(class_names):,} classes{_known(found, len(data))}")
    if named:
        raise UsageError(
            f"{name}: the column {found.name!r} cannot serve as labels",
            why="classes need two kinds at least, and members that share one",
        )
    return Taken(found.name, "ignored", f"{found.why}, but hardly two items share a value, or all do")


def _read_mutations(data: Dataset, frame: pl.DataFrame, name: str) -> None:
    """Find each variant's wild type: the item that the column `wildtype` names, else the one item without mutations.

    Raises:
        BadInputError: a wild type that is no item.
    """
    by_lower = {column.lower(): column for column in frame.columns}
    column = next((by_lower[c] for c in MUTATION_COLUMNS if c in by_lower and is_text(frame[by_lower[c]])), None)
    counts = mutation_counts(texts_of(frame[column]).to_list()) if column else None
    row = {item: i for i, item in enumerate(data.ids)}
    if WILD_TYPE_COLUMN in by_lower:
        wanted = texts_of(frame[by_lower[WILD_TYPE_COLUMN]]).to_list()
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
