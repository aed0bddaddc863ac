"""Sampling of pairs from the rows of a pairs table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.core.plugins import VIEWS
from phylocli.pairs import EmptyBandError
from phylocli.train.data.compiled import CompiledFamily, PairsOf
from phylocli.train.data.family_index import SamplingSettings
from phylocli.views import Composed, Pairs, Tokens


class TablePairs:
    """Samples rows of a pairs table uniformly with replacement and applies the view's transforms to both sequences.

    Args:
        tokens: tokens of each member.
        rows: member indices of each pair, (m, 2).
        distance: distance of each pair in substitutions per site, (m,), NaN where undefined.
        view: the composition of views.
    """

    def __init__(
        self, tokens: list[Tokens], rows: npt.NDArray[np.int64], distance: npt.NDArray[np.float64], view: Composed
    ) -> None:
        self.tokens, self.rows, self.distance, self.view = tokens, rows, distance, view

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        """Sample n pairs of views."""
        chosen = rng.integers(0, len(self.rows), n)
        swap = rng.random(n) < 0.5
        pairs = np.where(swap[:, None], self.rows[chosen][:, ::-1], self.rows[chosen])
        a, b = self.view.transformed([[self.tokens[k] for k in pairs[:, side].tolist()] for side in (0, 1)], rng)
        return a, b, self.distance[chosen]

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        """Sample all views n times."""
        a, b, distance = self.draw(n, rng)
        return [a, b, *([addition(t, rng) for t in b] for addition in self.view.additions)], distance


def in_band(pairs: PairsOf, band: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Return which rows have a distance in the closed interval `band`, (m,); undefined distances (NaN) are included."""
    return ~((pairs.distance < band[0]) | (pairs.distance > band[1]))


def table_held_out(family: CompiledFamily, pairs: PairsOf, drawing: SamplingSettings) -> npt.NDArray[np.bool_]:
    """Return which members of a family from a pairs table are held out, (members,).

    Pairs of two held-out members are used for validation; pairs of a held-out and a training member are not used.

    Raises:
        EmptyBandError: no row has a distance in the band.
        UsageError: the view cannot be used with pairs tables.
    """
    names = drawing.view.spec.split("+")
    source = VIEWS.load(names[0])
    if source.KIND == "source" and not getattr(source, "DRAWS_MEMBERS", False):
        raise UsageError(
            f"the view {names[0]!r} cannot be used with {pairs.source}",
            why="a pairs table already contains the pairs; only the transforms of a view apply to it",
            fix="give families with trees, or use a view that samples members, such as 'phylogenetic'",
        )
    kept = pairs.members[in_band(pairs, drawing.band)]
    if len(kept) == 0:
        lo, hi = drawing.band
        what = f"{family.label}: no pair of {pairs.source} has a distance of {lo:g} to {hi:g} substitutions per site"
        raise EmptyBandError(what)
    out = np.zeros(len(family), dtype=bool)
    if drawing.fraction > 0:
        # Members are ordered by first occurrence in column a, then b, so that the choice does not depend on other rows.
        found, first = np.unique(kept.T.ravel(), return_index=True)
        members = found[np.argsort(first)]
        order = np.random.default_rng(drawing.seed).permutation(len(members))
        out[members[order[: round(drawing.fraction * len(members))]]] = True
    if out[kept].all(axis=1).any() and (~out[kept]).all(axis=1).any():
        return out
    return np.zeros(len(family), dtype=bool)
