"""What `estimate` reads: two tables of embeddings, or embeddings and labels, joined by id; and how it divides them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli import console
from phylocli.errors import BadInputError, UsageError
from phylocli.formats.fasta import shorten
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import require_columns
from phylocli.probe import read_embeddings, read_labels

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FEWEST = 50
"""With fewer pairs nothing can be learned, held out and measured."""


@dataclass
class Paired:
    """n pairs of which the information is asked.

    Attributes:
        ids: one a pair.
        a, b: vectors (n, D) and (n, E); b is one-hot where it stands for labels.
        classes: names of the labels, else None.
        groups: code of each pair's group (n,), where pairs of one group are not independent of each other; else None.
    """

    ids: list[str]
    a: FloatArray
    b: FloatArray
    classes: list[str] | None = None
    groups: IntArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> Paired:
        """Return some of the pairs, in this order."""
        groups = None if self.groups is None else self.groups[rows]
        return Paired([self.ids[row] for row in rows], self.a[rows], self.b[rows], self.classes, groups)

    def shuffled(self, rng: np.random.Generator) -> Paired:
        """Return the same a's and b's with partners drawn anew, so that they share nothing."""
        return Paired(self.ids, self.a, self.b[rng.permutation(len(self))], self.classes, self.groups)


def read_pairs(
    a: PathLike,
    b: PathLike | None = None,
    *,
    labels: PathLike | None = None,
    label: str | None = None,
    group_by: str | None = None,
) -> Paired:
    """Read embeddings and what they are paired with.

    Args:
        a: a table of embeddings.
        b: another, of the same ids; None pairs a with a label.
        labels: a table with ids and columns.
        label: the column of classes that a is paired with.
        group_by: the column of groups.

    Raises:
        UsageError: neither b nor a label, both, or a column without its table.
        BadInputError: no table, no id in common, fewer than `FEWEST` pairs, or labels that are all one.
    """
    if (b is None) == (label is None):
        raise UsageError(
            "information is between two things: give a second table, or --labels with --label", fix="one of both"
        )
    if (label or group_by) and labels is None:
        raise UsageError("the column is in no table", fix="name the table of labels with --labels")
    first = read_embeddings(a)
    name = display_name(a)
    if b is not None:
        second = read_embeddings(b)
        ids = _common(first.ids, second.ids, name, display_name(b))
        found = Paired(ids, first.aligned_to(ids).vectors, second.aligned_to(ids).vectors)
    else:
        assert label is not None
        values = _column(labels, label)
        ids = _common(first.ids, list(values), name, display_name(labels))
        classes, codes = np.unique([values[i] for i in ids], return_inverse=True)
        if len(classes) < 2:
            raise BadInputError(
                f"{display_name(labels)}: all labels in {label!r} are the same", why="they hold no information"
            )
        one_hot = np.eye(len(classes), dtype=np.float32)[codes]
        found = Paired(ids, first.aligned_to(ids).vectors, one_hot, [str(c) for c in classes])
    if group_by is not None:
        kept = _column(labels, group_by)
        rows = np.array([row for row, i in enumerate(found.ids) if i in kept], dtype=np.int64)
        if len(rows) < len(found):
            console.warning(f"{len(found) - len(rows):,} of {len(found):,} pairs have no {group_by} and are left out")
        found = found.take(rows)
        found.groups = np.unique([kept[i] for i in found.ids], return_inverse=True)[1].astype(np.int64)
    if len(found) < FEWEST:
        raise BadInputError(
            f"{len(found)} pairs are too few to learn from some and measure on others", why=f"{FEWEST} at least"
        )
    return found


def _common(first: list[str], second: list[str], name: str, other: str) -> list[str]:
    known = set(second)
    ids = [i for i in first if i in known]
    if not ids:
        raise BadInputError(
            f"{name} and {other} have no id in common",
            why=f"ids are like {shorten(first[0])!r} in the one and {shorten(second[0])!r} in the other" if second else None,
            fix="both must name sequences alike",
        )
    for count, ours, example in (
        (len(first) - len(ids), name, next((i for i in first if i not in known), "")),
        (len(known) - len(ids), other, next((i for i in second if i not in set(ids)), "")),
    ):
        if count:
            console.warning(f"{count:,} ids of {ours} are not in the other table and left out, {shorten(example)!r} for one")
    return ids


def _column(labels: PathLike | None, column: str) -> dict[str, str]:
    frame = read_labels(labels)  # type: ignore[arg-type]
    require_columns(frame, [column], display_name(labels), "labels")
    values = zip(frame["id"].to_list(), frame[column].to_list(), strict=True)
    return {name: str(value) for name, value in values if value is not None and str(value) != ""}


def divide(data: Paired, shares: tuple[float, float], rng: np.random.Generator) -> tuple[Paired, Paired, Paired]:
    """Divide pairs at random into three parts: to train, to stop by, and to measure on; groups stay whole.

    Args:
        data: the pairs.
        shares: of the part to stop by and of the part to measure on.
        rng: random numbers.

    Raises:
        BadInputError: fewer than three groups.
    """
    units = np.arange(len(data)) if data.groups is None else data.groups
    order = rng.permutation(units.max() + 1)
    if len(order) < 3:
        raise BadInputError("the pairs are of fewer than three groups", why="each of the three parts needs whole groups")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    rows = np.argsort(rank[units], kind="stable")
    # Each row stands where its unit begins, so that a unit is never cut.
    place = np.searchsorted(rank[units][rows], rank[units][rows], side="left")
    valid, test = shares[0] * len(data), sum(shares) * len(data)
    part = np.where(place < valid, 1, np.where(place < test, 2, 0))
    if len(set(part.tolist())) < 3:
        raise BadInputError("one group holds nearly all pairs, so that the three parts cannot all have some")
    train, stop, held_out = (data.take(np.sort(rows[part == k])) for k in (0, 1, 2))
    return train, stop, held_out
