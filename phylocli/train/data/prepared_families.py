"""Families prepared for a view on demand, and the computation of the family index."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.streams import locks
from phylocli.pairs import PARTS, EmptyBandError, Split, split_clades
from phylocli.train.data.compiled import Compiled, CompiledFamily, PairsOf
from phylocli.train.data.family_index import (
    EMPTY,
    FEW,
    TRAIN,
    UNUSABLE,
    VALIDATION,
    FamilyIndex,
    SamplingSettings,
    read_family_index,
    write_family_index,
)
from phylocli.train.data.pair_table import TablePairs, in_band, table_held_out
from phylocli.train.data.types import Members
from phylocli.views import Pairs, Prepared, Tokens, draw_all

Parts = npt.NDArray[np.uint8]

PREPARED_BYTES = 1 << 29
"""Approximate memory limit for prepared families in each process, in bytes."""


class PreparedFamilies:
    """Families of a compiled data set, prepared for a view on demand and kept in a least-recently-used cache.

    Args:
        compiled: the data set.
        drawing: the view and the hold-out settings.
        budget: approximate memory limit of the cache in bytes; the most recent family is always kept.

    Attributes:
        family_index: the family index.
    """

    def __init__(self, compiled: Compiled, drawing: SamplingSettings, budget: int = PREPARED_BYTES) -> None:
        self.compiled, self.drawing, self.budget = compiled, drawing, budget
        self._starts = np.concatenate([[0], np.cumsum(compiled.sizes)])
        self._kept: OrderedDict[tuple[int, bool], tuple[int, Prepared]] = OrderedDict()
        self._taken = 0
        self._lock = threading.Lock()
        self.family_index = self._load_or_build_index()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict(), "_taken": 0, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def prepared(self, index: int, *, held_out: bool) -> Prepared:
        """Return a family prepared for the view: its held-out or its training members."""
        with self._lock:
            return self._get_or_prepare((index, held_out))

    def members(self, index: int) -> Members:
        """Return the training members of a family."""
        seen = np.flatnonzero(self._parts(index) == TRAIN).tolist()
        family = self.compiled.family(index)
        columns = None if family.columns_of is None else family.match_positions()
        return Members([family.tokens[k] for k in seen], None if columns is None else [columns[k] for k in seen])

    def split(self) -> Split:
        """Return the split of all usable families into training and held-out members."""

        def parts() -> Iterator[tuple[Family, list[tuple[str, list[str]]]]]:
            for index in np.flatnonzero(self.family_index.sizes).tolist():
                family, codes = self.compiled.family(index), self._parts(index)
                yield (
                    family,
                    [
                        (name, [family.ids[k] for k in np.flatnonzero(codes == code).tolist()])
                        for code, name in enumerate(PARTS)
                    ],
                )

        return Split.of(parts())

    def _parts(self, index: int) -> Parts:
        return self.family_index.parts[self._starts[index] : self._starts[index + 1]]

    def _get_or_prepare(self, key: tuple[int, bool]) -> Prepared:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        index, held_out = key
        parts = self._parts(index)
        members = parts == (VALIDATION if held_out else TRAIN)
        made = self._prepare(index, None if members.all() else members)
        cost = _cost(int(members.sum()))
        self._kept[key] = cost, made
        self._taken += cost
        while self._taken > self.budget and len(self._kept) > 1:
            self._taken -= self._kept.popitem(last=False)[1][0]
        return made

    def _prepare(self, index: int, members: npt.NDArray[np.bool_] | None) -> Prepared:
        family = self.compiled.family(index)
        pairs = self.compiled.pairs(index)
        if pairs is not None:
            return self._table(family, pairs, members)
        if members is not None:
            family = family.subset(family.ids[k] for k in np.flatnonzero(members).tolist())
        return self.drawing.view.prepare(family)

    def _table(self, family: CompiledFamily, pairs: PairsOf, members: npt.NDArray[np.bool_] | None) -> TablePairs:
        inside = in_band(pairs, self.drawing.band)
        if members is not None:
            inside &= members[pairs.members].all(axis=1)
        return TablePairs(family.tokens, pairs.members[inside], pairs.distance[inside], self.drawing.view)

    def _load_or_build_index(self) -> FamilyIndex:
        folder = self.compiled.folder / "surveys"
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.drawing.key()}.npz"
        with locks.waiting(folder / "lock", "indexes these families"):
            found = read_family_index(path, self.compiled)
            if found is None:
                found = self._build_index()
                write_family_index(path, found)
        return found

    def _build_index(self) -> FamilyIndex:
        compiled = self.compiled
        parts = np.full(int(self._starts[-1]), TRAIN, dtype=np.uint8)
        sizes = np.zeros(compiled.families, dtype=np.int64)
        validates = np.zeros(compiled.families, dtype=bool)
        reasons: dict[int, tuple[str, BadInputError]] = {}
        with console.progress_task("indexing families", total=compiled.families) as bar:
            for index in range(compiled.families):
                try:
                    found, validates[index] = self._index_family(index)
                    parts[self._starts[index] : self._starts[index + 1]] = found
                    sizes[index] = (found == TRAIN).sum()
                except BadInputError as error:
                    few = compiled.too_few(index)
                    reasons[index] = FEW if few else EMPTY if isinstance(error, EmptyBandError) else UNUSABLE, error
                bar.advance()
        return FamilyIndex(sizes, parts, validates, reasons)

    def _index_family(self, index: int) -> tuple[Parts, bool]:
        """Return the part of each member of a family, and whether pairs can be sampled from its validation part.

        Without a given split, whole clades are held out if the view can sample pairs from both parts.

        Raises:
            BadInputError: the view cannot sample pairs from the family.
        """
        family, drawing = self.compiled.family(index), self.drawing
        if drawing.split is not None:
            return self._index_with_split(index, family, drawing.split)
        parts = np.full(len(family), TRAIN, dtype=np.uint8)
        pairs = self.compiled.pairs(index)
        if pairs is not None:
            out = table_held_out(family, pairs, drawing)
            parts[out] = VALIDATION
            return parts, bool(out.any())
        if drawing.fraction > 0:
            ids = _hold_out(family, drawing.fraction, drawing.seed)
            if len(ids) >= 2 and len(family) - len(ids) >= 2:
                out = np.array([name in ids for name in family.ids])
                with contextlib.suppress(BadInputError):  # if a part has no pairs in the band, hold out no members
                    self._prepare(index, out)
                    self._prepare(index, ~out)
                    parts[out] = VALIDATION
                    return parts, True
        self._prepare(index, None)
        return parts, False

    def _index_with_split(self, index: int, family: CompiledFamily, split: Split) -> tuple[Parts, bool]:
        """Do the same for a given split, whose held-out members are never trained on, even if they have no pairs.

        Raises:
            BadInputError: the view cannot sample pairs from the training members.
            UsageError: a member is missing from the split.
        """
        named = [split.part_of(family.label, name) for name in family.ids]
        if None in named:
            raise UsageError(
                f"the split does not list {family.ids[named.index(None)]!r} of {family.label}",
                fix="make the split from the training families",
            )
        parts = np.array([PARTS.index(part) for part in named if part is not None], dtype=np.uint8)
        train, validation = parts == TRAIN, parts == VALIDATION
        if train.sum() < 2:
            raise BadInputError(
                f"{family.label}: the split has fewer than two training members", fix="hold out fewer members"
            )
        self._prepare_checked(index, train)
        with contextlib.suppress(BadInputError):
            if validation.sum() >= 2:
                self._prepare_checked(index, validation)
                return parts, True
        return parts, False

    def _prepare_checked(self, index: int, members: npt.NDArray[np.bool_]) -> None:
        """Check that pairs can be sampled from some members of a family.

        Raises:
            BadInputError: the members have no pairs.
        """
        prepared = self._prepare(index, None if members.all() else members)
        if isinstance(prepared, TablePairs) and not len(prepared.rows):
            raise EmptyBandError(f"{self.compiled.labels[index]}: no pair of this part of the split is in the distance band")


def _cost(members: int) -> int:
    """Return the approximate memory in bytes of a prepared family with that many members."""
    pairs = members * members / 2 if members <= 512 else 4 * members * math.log2(members)
    return int(12 * pairs + 600 * members)


class LazyPrepared:
    """A family that is prepared when it is sampled from, and may then be evicted from the cache."""

    __slots__ = ("draws", "held_out", "index")

    def __init__(self, draws: PreparedFamilies, index: int, *, held_out: bool) -> None:
        self.draws, self.index, self.held_out = draws, index, held_out

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        """Sample n pairs of views."""
        return self.draws.prepared(self.index, held_out=self.held_out).draw(n, rng)

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        """Sample all views n times."""
        return draw_all(self.draws.prepared(self.index, held_out=self.held_out), n, rng)


def _hold_out(family: Family, fraction: float, seed: int) -> set[str]:
    if family.has_tree:
        return split_clades(family, fraction, seed)
    rng = np.random.default_rng(seed)
    codes = family.group_codes()
    if codes is None:
        return {family.ids[i] for i in rng.permutation(len(family))[: round(fraction * len(family))]}
    # Whole groups, as long as they fit: a held-out member has no near relative in training.
    sizes, left = np.bincount(codes), round(fraction * len(family))
    out: set[int] = set()
    for code in rng.permutation(len(sizes)).tolist():
        if sizes[code] <= left:
            out.add(code)
            left -= int(sizes[code])
    return {name for name, code in zip(family.ids, codes.tolist(), strict=True) if code in out}
