"""The items of an evaluation with labels, splits, sequences and trees, joined by id."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.config.probe import Grouping, IdentityClusters
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.tables.columns import ColumnOptions, Taken
from phylocli.formats.tables.values import texts_of
from phylocli.probe.inputs.label_types import (
    MUTATION_COLUMNS,
    NAMES_OF,
    Column,
    Terms,
    is_text,
    mutation_counts,
    read_column,
)
from phylocli.statistics import identity
from phylocli.statistics.shared_kmers import identity_clusters

if TYPE_CHECKING:
    import polars as pl

    from phylocli.formats import Family
    from phylocli.probe.generation.natural import NaturalFamilies

logger = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "holdout": "test",
    "held-out": "test",
    "heldout": "test",
}
HIERARCHY = ("family", "superfamily", "clan", "fold")
"""Names of label columns that form a hierarchy, from fine to coarse (SCOP; Pfam has family and clan)."""

WILD_TYPE_COLUMN = "wildtype"


@dataclass(frozen=True)
class Dataset:
    """The items of an evaluation with their labels and sequences; every array has one entry per item.

    Attributes:
        ids: ids of the items.
        classes: categorical labels by column, as codes, −1 where unknown, shape (n,).
        class_names: name of each code, by column.
        terms: multilabel columns, such as GO terms and EC numbers.
        values: numeric labels by column, NaN where unknown, shape (n,).
        split: `train`, `valid` or `test` for each item; None if the labels have no split.
        residue_labels: strings with one letter per residue, by column.
        residue_mask: strings of `1` and `0` for each item, 0 for residues to exclude; None without a mask.
        wild_type: row of each variant's wild type, −1 for wild types and items that are not variants; None without variants.
        mutations: number of mutations of each item; None without a column of mutations.
        sequences: unaligned sequences by id; empty if there are none.
        trees: family records with trees.
        evaluate: the split that tasks without training (retrieval, clustering, geometry) score; None scores all items.
        groupings: clusters of the items that are not labels, by name, shape (n,).
        split_by: column or grouping whose classes are kept together when folds are made.
        resample_by: column or grouping whose classes the bootstrap resamples.
        taken: interpretation of each column, with the reason.
        natural: families that generated sequences are compared with; None unless there are such.
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
    sequences: Mapping[str, str] = field(default_factory=dict)
    trees: SequenceOf[Family] = ()
    evaluate: str | None = None
    groupings: dict[str, IntArray] = field(default_factory=dict)
    split_by: str | None = None
    resample_by: str | None = None
    taken: list[Taken] = field(default_factory=list)
    natural: NaturalFamilies | None = None
    _identities: dict[tuple[int, int], float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_labels(
        cls,
        frame: pl.DataFrame,
        name: str,
        *,
        columns: SequenceOf[str] | None = None,
        split_column: str | None = "split",
        split_by: Grouping | None = None,
        resample_by: Grouping | None = None,
        options: ColumnOptions = ColumnOptions(),
        sequences: Mapping[str, str] | None = None,
        trees: SequenceOf[Family] = (),
    ) -> Dataset:
        """Make a dataset from a labels table, whose columns are interpreted by `label_types.read_column`.

        Columns of sequences and columns in which (nearly) every value is unique are ignored.

        Args:
            frame: labels from `read_labels`, one row per item.
            name: name of the table, for messages.
            columns: label columns to use; None uses all suitable ones.
            split_column: name of the column with train, valid or test; None ignores it.
            split_by: groups of items that are kept together in folds.
            resample_by: groups of items that the bootstrap resamples.
            options: the user's options for the interpretation of columns.
            sequences: unaligned sequences by id.
            trees: family records with trees.

        Raises:
            UsageError: a requested column does not exist or cannot be used as a label, or clusters by identity are requested
                and an item has no sequence.
            BadInputError: unknown split or wild type.
        """
        import polars as pl

        helpers = {c for c in (split_by, resample_by) if isinstance(c, str)}
        for wanted in [*(columns or ()), *options.classes, *options.quantities, *helpers]:
            if wanted not in frame.columns:
                raise UsageError(f"{name} has no column {wanted!r}", fix=f"its columns are {', '.join(frame.columns)}")
        ids = frame["id"].to_list()
        wild_type, mutations = _read_mutations(ids, frame, name)
        labels = _Labels(name, len(ids))
        lengths = frame["sequence"].str.len_chars() if frame.schema.get("sequence") == pl.String else None
        for column in frame.columns:
            if column == "id":
                continue
            overruled = column in options.classes or column in options.quantities
            named = overruled or (columns is not None and column in columns)
            if column == split_column:
                labels.taken.append(Taken(column, "split", "by its name"))
            elif not (columns is None or named or column in helpers):
                labels.taken.append(Taken(column, "ignored", "not named by --column"))
            elif NAMES_OF.get(column) in frame.columns and not (named or column in helpers):
                labels.taken.append(Taken(column, "ignored", f"names of {NAMES_OF[column]!r}"))
            elif column.lower() in (*MUTATION_COLUMNS, WILD_TYPE_COLUMN) and wild_type is not None:
                labels.taken.append(Taken(column, "mutations", "by its name"))
            else:
                found = read_column(frame[column], options, lengths=lengths, named=named, groups=column in helpers)
                labels.taken.append(labels.add(found, named=named))
        missing = [c for c in helpers if c not in labels.classes]
        if missing:
            raise UsageError(
                f"{name}: the column {missing[0]!r} does not group any items",
                fix="name a column in which several items share a value",
            )
        split = None
        if split_column is not None and split_column in frame.columns:
            split = _read_split(texts_of(frame[split_column]).to_list(), name)
        return cls(
            ids,
            classes=labels.classes,
            class_names=labels.class_names,
            terms=labels.terms,
            values=labels.values,
            split=split,
            residue_labels=labels.residue_labels,
            residue_mask=labels.residue_mask,
            wild_type=wild_type,
            mutations=mutations,
            sequences=sequences or {},
            trees=trees,
            evaluate=next((s for s in ("test", "valid") if split is not None and s in split), None),
            groupings=_group_by_identity(ids, sequences or {}, (split_by, resample_by)),
            split_by=None if split_by is None else str(split_by),
            resample_by=None if resample_by is None else str(resample_by),
            taken=labels.taken,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def interpretation_of(self, column: str) -> str | None:
        """Return what a column was taken for, and why, for messages; None if there is no such column."""
        return next((f"{role}: {why}" for name, role, why in self.taken if name == column), None)

    def rows_of(self, split: str) -> IntArray:
        """Return the rows of a split, shape (rows,)."""
        return np.flatnonzero(np.array(self.split, dtype=object) == split) if self.split else np.zeros(0, dtype=np.int64)

    def evaluated_rows(self) -> IntArray:
        """Return the rows scored by tasks without training: those of the split `evaluate`, or all, shape (rows,)."""
        return self.rows_of(self.evaluate) if self.evaluate else np.arange(len(self.ids))

    def groups(self, rows: IntArray | None) -> IntArray | None:
        """Return the bootstrap group of each row; None if items are resampled individually. See `groups_of`."""
        return None if self.resample_by is None or rows is None else self.groups_of(self.resample_by, rows)

    def groups_of(self, column: str, rows: IntArray) -> IntArray:
        """Return the class of each row in a column or grouping; an item without a class is a group of its own."""
        codes = (self.groupings if column in self.groupings else self.classes)[column][rows]
        single = codes < 0
        return np.where(single, codes.max(initial=0) + 1 + np.arange(len(codes)), codes)

    def identity(self, a: int, b: int) -> float:
        """Return the identity of two rows' sequences, aligned globally, relative to the shorter one. Cached."""
        pair = (min(a, b), max(a, b))
        if pair not in self._identities:
            self._identities[pair] = identity(*(self.sequences[self.ids[row]] for row in pair), of="shorter")
        return self._identities[pair]


def _read_split(values: Iterable[str | None], name: str) -> list[str]:
    found = []
    for value in values:
        word = SPLIT_NAMES.get(str(value).strip().lower())
        if word is None:
            raise BadInputError(
                f"{name}: the split {shorten(str(value), 40)!r} is not train, valid or test",
                fix="write train, valid or test in that column",
            )
        found.append(word)
    return found


@dataclass
class _Labels:
    """Collects the interpreted columns of a labels table; see `Dataset` for the attributes."""

    name: str
    items: int
    classes: dict[str, IntArray] = field(default_factory=dict)
    class_names: dict[str, list[str]] = field(default_factory=dict)
    terms: dict[str, Terms] = field(default_factory=dict)
    values: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    residue_labels: dict[str, list[str]] = field(default_factory=dict)
    residue_mask: list[str] | None = None
    taken: list[Taken] = field(default_factory=list)

    def add(self, found: Column, *, named: bool) -> Taken:
        """Add a column and return its interpretation.

        Raises:
            UsageError: the column was requested, but cannot be used as a label.
        """
        if found.texts is not None and found.role == "classes":
            return self._add_classes(found, named=named)
        if found.texts is not None and found.role == "mask of residues":
            self.residue_mask = [text or "" for text in found.texts]
        elif found.texts is not None:
            self.residue_labels[found.name] = [text or "" for text in found.texts]
        elif found.terms is not None:
            self.terms[found.name] = found.terms
        elif found.values is not None:
            self.values[found.name] = found.values
        elif named:
            raise UsageError(
                f"{self.name}: the column {found.name!r} cannot be used as labels",
                why=found.why,
                fix="choose another column; --explain shows how columns are interpreted",
            )
        return Taken(found.name, found.role, found.why + self._unknown(found))

    def _unknown(self, found: Column) -> str:
        """Return a phrase with the number of items without a value in a column; empty if all have one."""
        known = self.items
        if found.values is not None:
            known = int(np.isfinite(found.values).sum())
        elif found.terms is not None:
            known = int(found.terms.known.sum())
        elif found.texts is not None:
            known = sum(text is not None for text in found.texts)
        return f"; {self.items - known:,} of {self.items:,} unknown" if known < self.items else ""

    def _add_classes(self, found: Column, *, named: bool) -> Taken:
        """Add a column of classes, unless (nearly) every value is unique."""
        assert found.texts is not None
        class_names = sorted({t for t in found.texts if t is not None})
        code = {text: i for i, text in enumerate(class_names)}
        codes = np.array([-1 if t is None else code[t] for t in found.texts], dtype=np.int64)
        counts = np.bincount(codes[codes >= 0], minlength=1)
        shared = counts[counts > 1].sum()
        if (counts > 1).sum() >= 1 and len(class_names) >= 2 and shared >= 0.05 * (codes >= 0).sum():
            self.classes[found.name], self.class_names[found.name] = codes, class_names
            if "values are not numbers" in found.why and not named:
                logger.warning(
                    f"{self.name}: the column {found.name!r} is interpreted as classes ({found.why})\n"
                    f"fix: --quantities {found.name}"
                )
            return Taken(found.name, "classes", f"{found.why}; {len(class_names):,} classes{self._unknown(found)}")
        if named:
            raise UsageError(
                f"{self.name}: the column {found.name!r} cannot be used as labels",
                why="classes need at least two different values, at least one of which is shared by several items",
                fix="choose another column; --explain shows how columns are interpreted",
            )
        return Taken(found.name, "ignored", f"{found.why}, but nearly all values are unique, or all are the same")


def _group_by_identity(
    ids: SequenceOf[str], sequences: Mapping[str, str], groupings: Iterable[Grouping | None]
) -> dict[str, IntArray]:
    """Return the clusters of the items for each grouping by sequence identity, by name of the grouping."""
    found: dict[str, IntArray] = {}
    for grouping in sorted({g for g in groupings if isinstance(g, IdentityClusters)}, key=str):
        missing = next((item for item in ids if item not in sequences), None)
        if missing is not None:
            raise UsageError(
                f"{grouping} needs the sequence of every item, but {shorten(missing)!r} has none", fix="give --sequences"
            )
        codes = identity_clusters([sequences[item] for item in ids], grouping.threshold)
        logger.info(f"{grouping}: {len(ids):,} items in {codes.max() + 1:,} clusters")
        found[str(grouping)] = codes
    return found


def _read_mutations(ids: SequenceOf[str], frame: pl.DataFrame, name: str) -> tuple[IntArray | None, IntArray | None]:
    """Return the row of each variant's wild type, and its number of mutations; None if there are no variants.

    The wild type is given by the column `wildtype`; otherwise it is the single item without mutations.

    Raises:
        BadInputError: a wild type is not an item.
    """
    by_lower = {column.lower(): column for column in frame.columns}
    column = next((by_lower[c] for c in MUTATION_COLUMNS if c in by_lower and is_text(frame[by_lower[c]])), None)
    counts = mutation_counts(texts_of(frame[column]).to_list()) if column else None
    row = {item: i for i, item in enumerate(ids)}
    if WILD_TYPE_COLUMN in by_lower:
        wanted = texts_of(frame[by_lower[WILD_TYPE_COLUMN]]).to_list()
        unknown = next((w for w in wanted if w is not None and w not in row), None)
        if unknown is not None:
            if counts is None:  # a column of that name may contain anything
                return None, None
            raise BadInputError(
                f"{name}: the wild type {shorten(unknown)!r} is not an item with labels and an embedding",
                fix="add a row for the wild type, and embed it with the variants",
            )
        wild_type = np.array([-1 if w is None else row[w] for w in wanted], dtype=np.int64)
    elif counts is not None:
        originals = np.flatnonzero(counts == 0)
        if len(originals) != 1:
            logger.warning(
                f"{name}: {len(originals):,} items have no mutation in {column!r}, so the wild type is unknown\n"
                f"fix: keep one row without mutations, or give each variant's wild type in a column '{WILD_TYPE_COLUMN}'"
            )
            return None, None
        wild_type = np.full(len(ids), originals[0], dtype=np.int64)
    else:
        return None, None
    wild_type[wild_type == np.arange(len(ids))] = -1
    return wild_type, counts
