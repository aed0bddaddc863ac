"""Prepared families, made one by one when they are drawn from; and which families a view can draw from at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from phylocli import __version__, console, registry
from phylocli.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.streams import atomic_path
from phylocli.pairs import EmptyBandError, split_clades
from phylocli.train.compiled import Compiled, CompiledFamily
from phylocli.train.compiled.cache import locked
from phylocli.train.compiled.reader import PairsOf
from phylocli.views import Composed, Pairs, Prepared, Tokens, draw_all

PREPARED_BYTES = 1 << 29
"""What prepared families may take in memory, about, in each process that draws from them."""

FEW, EMPTY, UNUSABLE = "few", "empty", "unusable"


@dataclass(frozen=True)
class Drawing:
    """How families are drawn from; with a compiled data set it decides everything that `Draws` gives.

    Attributes:
        view: composition of views, as text.
        parameters: of the views, by name.
        fraction: of each family's members that are held out.
        seed: of what is held out.
    """

    view: Composed
    parameters: dict[str, Any]
    fraction: float
    seed: int

    def key(self) -> str:
        """Return a hash of all of it."""
        facts = [__version__, self.view.spec, self.parameters, self.fraction, self.seed]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def band(self) -> tuple[float, float]:
        """The band of distances that selects among the rows of a pairs table."""
        band = self.parameters.get("phylogenetic", {})
        return float(band.get("min_dist", 0.0)), float(band.get("max_dist", np.inf))


@dataclass
class Survey:
    """What a view can draw from which family.

    Attributes:
        sizes: members that training sees, (families,); 0 where the family cannot be used.
        held_out: whether each member of the data set is held out, (members,), families in their order.
        reasons: for a family that cannot be used, what kind of reason it is and the error.
    """

    sizes: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.bool_]
    reasons: dict[int, tuple[str, BadInputError]]


class Draws:
    """Families of a compiled data set, prepared for a view when they are asked for; those used last are kept.

    Args:
        compiled: the data set.
        drawing: the view, and what is held out.
        budget: bytes that prepared families may take, estimated; the one asked for last is kept in any case.

    Attributes:
        survey: of all families.
    """

    def __init__(self, compiled: Compiled, drawing: Drawing, budget: int = PREPARED_BYTES) -> None:
        self.compiled, self.drawing, self.budget = compiled, drawing, budget
        self._starts = np.concatenate([[0], np.cumsum(compiled.sizes)])
        self._kept: OrderedDict[tuple[int, bool], tuple[int, Prepared]] = OrderedDict()
        self._taken = 0
        self.survey = self._surveyed()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict(), "_taken": 0}

    def prepared(self, index: int, *, held_out: bool) -> Prepared:
        """Return a family ready for drawing: its held-out members, or the others."""
        key = (index, held_out)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        out = self.survey.held_out[self._starts[index] : self._starts[index + 1]]
        made = self._prepare(index, (out if held_out else ~out) if out.any() else None)
        cost = _cost(int(out.sum() if held_out else (~out).sum()))
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
        inside = _in_band(pairs, self.drawing.band)
        if members is not None:
            inside &= members[pairs.members].all(axis=1)
        return TablePairs(family.tokens, pairs.members[inside], pairs.distance[inside], self.drawing.view)

    def _surveyed(self) -> Survey:
        folder = self.compiled.folder / "surveys"
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.drawing.key()}.npz"
        with locked(folder / "lock", "looks through these families"):
            found = _read_survey(path, self.compiled)
            if found is None:
                found = self._look_through()
                _write_survey(path, found)
        return found

    def _look_through(self) -> Survey:
        compiled = self.compiled
        held_out = np.zeros(int(self._starts[-1]), dtype=bool)
        sizes = np.zeros(compiled.families, dtype=np.int64)
        reasons: dict[int, tuple[str, BadInputError]] = {}
        with console.progress_task("looking through families", total=compiled.families) as bar:
            for index in range(compiled.families):
                part = held_out[self._starts[index] : self._starts[index + 1]]
                try:
                    out = self._look_at(index)
                    part[:] = out
                    sizes[index] = (~out).sum()
                except BadInputError as error:
                    few = compiled.too_few(index)
                    reasons[index] = FEW if few else EMPTY if isinstance(error, EmptyBandError) else UNUSABLE, error
                bar.advance()
        return Survey(sizes, held_out, reasons)

    def _look_at(self, index: int) -> npt.NDArray[np.bool_]:
        """Return which members of a family are held out: whole clades, where it can spare them.

        Raises:
            BadInputError: the view cannot make pairs of the family.
        """
        family, drawing = self.compiled.family(index), self.drawing
        pairs = self.compiled.pairs(index)
        none = np.zeros(len(family), dtype=bool)
        if pairs is not None:
            return _table_held_out(family, pairs, drawing)
        if drawing.fraction > 0:
            ids = _hold_out(family, drawing.fraction, drawing.seed)
            if len(ids) >= 2 and len(family) - len(ids) >= 2:
                out = np.array([name in ids for name in family.ids])
                with contextlib.suppress(BadInputError):  # no pair of held-out members in the band: none are held out
                    self._prepare(index, out)
                    self._prepare(index, ~out)
                    return out
        self._prepare(index, None)
        return none


def _cost(members: int) -> int:
    """Return about how many bytes a prepared family of that many members takes."""
    pairs = members * members / 2 if members <= 512 else 4 * members * math.log2(members)
    return int(12 * pairs + 600 * members)


class LazyPrepared:
    """A family that is prepared when it is drawn from, and perhaps forgotten again after that."""

    __slots__ = ("draws", "held_out", "index")

    def __init__(self, draws: Draws, index: int, *, held_out: bool) -> None:
        self.draws, self.index, self.held_out = draws, index, held_out

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        """Draw n pairs of views."""
        return self.draws.prepared(self.index, held_out=self.held_out).draw(n, rng)

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        """Draw n times every view that there is."""
        return draw_all(self.draws.prepared(self.index, held_out=self.held_out), n, rng)


class TablePairs:
    """Draws rows of a pairs table uniformly, with replacement, and alters both sequences by the view's transforms."""

    def __init__(
        self, tokens: list[Tokens], rows: npt.NDArray[np.int64], distance: npt.NDArray[np.float64], view: Composed
    ) -> None:
        self.tokens, self.rows, self.distance, self.view = tokens, rows, distance, view

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        """Draw n pairs of views."""
        chosen = rng.integers(0, len(self.rows), n)
        swap = rng.random(n) < 0.5
        pairs = np.where(swap[:, None], self.rows[chosen][:, ::-1], self.rows[chosen])
        a, b = self.view.transformed([[self.tokens[k] for k in pairs[:, side].tolist()] for side in (0, 1)], rng)
        return a, b, self.distance[chosen]

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        """Draw n times every view that there is."""
        a, b, distance = self.draw(n, rng)
        return [a, b, *([addition(t, rng) for t in b] for addition in self.view.additions)], distance


def _hold_out(family: Family, fraction: float, seed: int) -> set[str]:
    if family.has_tree:
        return split_clades(family, fraction, seed)
    rng = np.random.default_rng(seed)
    return {family.ids[i] for i in rng.permutation(len(family))[: round(fraction * len(family))]}


def _in_band(pairs: PairsOf, band: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return ~((pairs.distance < band[0]) | (pairs.distance > band[1]))  # what has no distance is in every band


def _table_held_out(family: CompiledFamily, pairs: PairsOf, drawing: Drawing) -> npt.NDArray[np.bool_]:
    """Return which sequences of a table's family are held out: rows of two of them serve validation, of one nothing."""
    names = drawing.view.spec.split("+")
    if names[0] != "phylogenetic" and registry.load("views", names[0]).KIND == "source":
        raise UsageError(
            f"the view {names[0]!r} cannot be drawn from {pairs.source}",
            why="a pairs table holds its pairs already; only the transforms of a view apply to it",
            fix="give families with trees, or a view that starts with 'phylogenetic'",
        )
    kept = pairs.members[_in_band(pairs, drawing.band)]
    if len(kept) == 0:
        lo, hi = drawing.band
        what = f"{family.label}: no pair of {pairs.source} lies {lo:g} to {hi:g} substitutions per site apart"
        raise EmptyBandError(what)
    out = np.zeros(len(family), dtype=bool)
    if drawing.fraction > 0:
        # In the order in which they first stand in the band's rows, all of `a` and then of `b`.
        found, first = np.unique(kept.T.ravel(), return_index=True)
        members = found[np.argsort(first)]
        order = np.random.default_rng(drawing.seed).permutation(len(members))
        out[members[order[: round(drawing.fraction * len(members))]]] = True
    if out[kept].all(axis=1).any() and (~out[kept]).all(axis=1).any():
        return out
    return np.zeros(len(family), dtype=bool)


def _write_survey(path: Path, survey: Survey) -> None:
    reasons = {str(k): [kind, error.what, error.why, error.fix] for k, (kind, error) in survey.reasons.items()}
    text = np.frombuffer(json.dumps(reasons).encode(), dtype=np.uint8)
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, sizes=survey.sizes, held_out=np.packbits(survey.held_out), reasons=text)


def _read_survey(path: Path, compiled: Compiled) -> Survey | None:
    try:
        with np.load(path, allow_pickle=False) as found:
            sizes, packed = found["sizes"], found["held_out"]
            reasons = json.loads(found["reasons"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    total = int(compiled.sizes.sum())
    if len(sizes) != compiled.families or len(packed) != (total + 7) // 8:
        return None
    held_out = np.unpackbits(packed, count=total).astype(bool)
    classes = {EMPTY: EmptyBandError}
    known = {int(k): (kind, classes.get(kind, BadInputError)(*rest)) for k, (kind, *rest) in reasons.items()}
    return Survey(sizes, held_out, known)
