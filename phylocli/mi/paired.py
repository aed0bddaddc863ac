"""The data of `estimate`: two tables of embeddings, or embeddings and labels, joined by id, and their division into
parts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.config.mi_estimate import MiEstimateConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import require_columns
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.labels import read_label_table
from phylocli.probe.labels.matching import match_ids

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FEWEST = 50
"""Minimum number of pairs for training, stopping and evaluation."""


@dataclass
class Paired:
    """n pairs whose mutual information is to be estimated.

    Attributes:
        ids: one per pair.
        a, b: vectors (n, D) and (n, E); b is one-hot for classes.
        classes: class names if b represents classes, else None.
        groups: group code of each pair (n,), if pairs of one group are not independent; else None.
    """

    ids: list[str]
    a: FloatArray
    b: FloatArray
    classes: list[str] | None = None
    groups: IntArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> Paired:
        """Return a subset of the pairs, in this order."""
        groups = None if self.groups is None else self.groups[rows]
        return Paired([self.ids[row] for row in rows], self.a[rows], self.b[rows], self.classes, groups)

    def shuffled(self, rng: np.random.Generator) -> Paired:
        """Return the pairs with partners shuffled, so that a and b are independent."""
        return Paired(self.ids, self.a, self.b[rng.permutation(len(self))], self.classes, self.groups)


def read_pairs(
    a: PathLike,
    b: PathLike | None = None,
    config: MiEstimateConfig | None = None,
    *,
    labels: PathLike | None = None,
    **options: Any,
) -> Paired:
    """Read embeddings and their partners.

    Args:
        a: a table of embeddings.
        b: another, of the same ids; None pairs a with the label column `column`: classes, or a quantity, which is a vector
            of one feature.
        config: options; may also be given as keywords.
        labels: a table with ids and columns.
        **options: fields of `MiEstimateConfig`.

    Raises:
        UsageError: neither b nor a label, both, or a column without its table.
        BadInputError: not a table, no common id, fewer than `FEWEST` pairs, or labels that are all the same.
    """
    config = MiEstimateConfig.of(config, options)
    label, group_by, columns = config.column, config.group_by, config.column_options
    if b is None and label is None and labels is not None:
        raise UsageError(
            f"no column of {display_name(labels)} is named",
            fix=f"name one with --column: {shorten(', '.join(read_label_table(labels, columns)[0].columns[1:]), 200)}",
        )
    if (b is None) == (label is None):
        raise UsageError(
            "embeddings need something to be paired with", fix="give either a second table, or --labels with --column"
        )
    if (label or group_by) and labels is None:
        raise UsageError("a label column needs the table of labels", fix="give it with --labels")
    first, name = read_embeddings(a, columns), display_name(a)
    taken = list(first.taken)
    known: Dataset | None = None
    if labels is not None:
        frame, ids_taken = read_label_table(labels, columns)
        frame = match_ids(frame, first.ids, display_name(labels))
        taken.append(ids_taken)
        wanted = list(dict.fromkeys(column for column in (label, group_by) if column))
        require_columns(frame, wanted, display_name(labels), "labels")
        known = Dataset.from_labels(
            frame.select("id", *wanted),
            display_name(labels),
            columns=[label] if label else [],
            split_column=None,
            resample_by=group_by,
            options=columns.among(wanted),
        )
    if b is not None:
        second = read_embeddings(b, columns)
        taken += second.taken
        ids = _common(first.ids, second.ids, name, display_name(b))
        found = Paired(ids, first.vectors_for(ids), second.vectors_for(ids))
    else:
        assert label is not None and known is not None
        found = _with_label(first, known, label, name, display_name(labels))
    columns.check_ids(taken)
    if group_by is not None and known is not None:
        codes = known.classes[group_by]
        kept = {item: int(code) for item, code in zip(known.ids, codes, strict=True) if code >= 0}
        rows = np.array([row for row, i in enumerate(found.ids) if i in kept], dtype=np.int64)
        if len(rows) < len(found):
            logger.warning(
                f"{len(found) - len(rows):,} of {counted(len(found), 'pair')} have no {group_by} and are left out"
            )
        found = found.take(rows)
        found.groups = np.unique([kept[i] for i in found.ids], return_inverse=True)[1].astype(np.int64)
    if len(found) < FEWEST:
        raise BadInputError(
            f"{len(found)} pairs are too few to divide into training and held-out pairs",
            why=f"at least {FEWEST} are needed",
            fix="give more pairs",
        )
    return found


def _with_label(first: EmbeddingTable, known: Dataset, label: str, name: str, source: str) -> Paired:
    """Return embeddings paired with a column: classes as one-hot vectors, a quantity as a vector of one feature.

    Raises:
        UsageError: a column with several labels per item, or of residues.
        BadInputError: values that are all the same, or no common id.
    """
    if label in known.values:
        values = dict(zip(known.ids, known.values[label].tolist(), strict=True))
        ids = _common(first.ids, [i for i in known.ids if np.isfinite(values[i])], name, source)
        column = np.array([[values[i]] for i in ids])
        if np.ptp(column) == 0:
            raise BadInputError(
                f"{source}: all values of {label!r} are the same",
                why="a constant carries no information",
                fix="choose another column",
            )
        centred = (
            column - column.mean()
        ) / column.std()  # double precision: years and ids are large relative to their spread
        return Paired(ids, first.vectors_for(ids), centred.astype(np.float32))
    if label not in known.classes:
        raise UsageError(
            f"{source}: the column {label!r} is neither classes nor a quantity",
            why=known.interpretation_of(label),
            fix="choose another column, or read it by --classes or --quantities",
        )
    class_of = {i: int(code) for i, code in zip(known.ids, known.classes[label], strict=True) if code >= 0}
    ids = _common(first.ids, list(class_of), name, source)
    present, codes = np.unique([class_of[i] for i in ids], return_inverse=True)
    if len(present) < 2:
        raise BadInputError(
            f"{source}: all labels in {label!r} are the same",
            why="a constant carries no information",
            fix="choose another column",
        )
    names = [known.class_names[label][code] for code in present]
    return Paired(ids, first.vectors_for(ids), np.eye(len(names), dtype=np.float32)[codes], names)


def _common(first: list[str], second: list[str], name: str, other: str) -> list[str]:
    known = set(second)
    ids = [i for i in first if i in known]
    if not ids:
        raise BadInputError(
            f"{name} and {other} have no id in common",
            why=f"ids are like {shorten(first[0])!r} in the first and {shorten(second[0])!r} in the second"
            if second
            else None,
            fix="both must use the same ids; --id-column names the column of ids",
        )
    for count, ours, example in (
        (len(first) - len(ids), name, next((i for i in first if i not in known), "")),
        (len(known) - len(ids), other, next((i for i in second if i not in set(ids)), "")),
    ):
        if count:
            logger.warning(
                f"{count:,} ids of {ours} are not in the other table and are left out, such as {shorten(example)!r}"
            )
    return ids


def divide(data: Paired, shares: tuple[float, float], rng: np.random.Generator) -> tuple[Paired, Paired, Paired]:
    """Divide pairs at random into three parts, for training, stopping and evaluation; groups stay whole.

    Args:
        data: the pairs.
        shares: fractions of the parts for stopping and evaluation.
        rng: random numbers.

    Raises:
        BadInputError: fewer than three groups.
    """
    units = np.arange(len(data)) if data.groups is None else data.groups
    order = rng.permutation(units.max() + 1)
    if len(order) < 3:
        raise BadInputError(
            "the pairs have fewer than three groups",
            why="each of the three parts needs whole groups",
            fix="group by another column, or give data of more groups",
        )
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    rows = np.argsort(rank[units], kind="stable")
    # Each row has the position at which its unit starts, so that units are never divided.
    place = np.searchsorted(rank[units][rows], rank[units][rows], side="left")
    valid, test = shares[0] * len(data), sum(shares) * len(data)
    part = np.where(place < valid, 1, np.where(place < test, 2, 0))
    if len(set(part.tolist())) < 3:
        raise BadInputError(
            "one group contains nearly all pairs, so they cannot be divided into three parts", fix="group by another column"
        )
    train, stop, held_out = (data.take(np.sort(rows[part == k])) for k in (0, 1, 2))
    return train, stop, held_out
