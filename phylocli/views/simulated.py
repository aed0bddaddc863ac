"""A member against a copy of it that evolved along a branch of chosen length, under LG+Γ with insertions and deletions.

Simulated evolution in the place of real homologs (Kumar & Cowen, Bioinformatics 25:1602, 2009, train profile HMMs so).
Sites change independently under LG, at rates from Γ; what sets the copies apart from real homologs at the same distance is
that no site is constrained by what the protein does. The distance between the two views is the branch's length.

Insertions and deletions, each half of the events, come at `indel_rate` times the rate of substitutions, anywhere in the
sequence with equal probability; lengths follow a power law with the exponent −1.7 (Benner, Cohen & Gonnet, J. Mol. Biol.
229:1065, 1993, fit such a law to gaps between protein pairs), cut at 50 residues. Inserted residues have LG's stationary
frequencies. They do not count as distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.alphabet import FIRST_RESIDUE, UNKNOWN
from phylocli.errors import UsageError
from phylocli.formats.family import Family
from phylocli.tree.models import STATES, substitution_model
from phylocli.views._base import Pairs, Tokens, check_band, check_distance, member_tokens

KIND = "source"

EXPONENT = 1.7
LONGEST = 50


class Simulated:
    """Draws members uniformly, and a branch length for each uniformly from [min_dist, max_dist].

    The rate of a site is drawn anew for every branch, so P(t) averaged over Γ gives each site's change exactly, without
    categories.

    Args:
        min_dist, max_dist: lengths of the branch, expected substitutions per site.
        model: `lg`, `wag`, `jtt` or `poisson`.
        alpha: shape of the Γ distribution of rates over sites; infinite for equal rates.
        indel_rate: insertions and deletions per substitution.
    """

    def __init__(
        self,
        min_dist: float = 0.5,
        max_dist: float = 1.5,
        model: str = "lg",
        alpha: float = 1.0,
        indel_rate: float = 0.02,
    ) -> None:
        self.lo, self.hi = check_band(min_dist, max_dist, "simulated")
        check_distance(self.hi, "max_dist")
        self.model = substitution_model(model)
        self.alpha = float(alpha)
        self.indel_rate = check_distance(indel_rate, "indel_rate")
        if not self.alpha > 0:
            raise UsageError(f"the shape α of the Γ distribution is {self.alpha:g}", fix="give a positive number, or inf")
        lengths = np.arange(1, LONGEST + 1) ** -EXPONENT
        self._lengths = np.cumsum(lengths / lengths.sum())
        self._frequencies = np.cumsum(self.model.frequencies)

    def substitute(self, tokens: Tokens, time: float, rng: np.random.Generator) -> Tokens:
        """Return a sequence after `time` expected substitutions per site, without insertions and deletions."""
        transition = self.model.gamma_transition(time, self.alpha)
        stays = np.ones(256)
        stays[FIRST_RESIDUE:UNKNOWN] = np.diag(transition)
        result = tokens.copy()
        # Most sites stay as they are, so it is asked first whether a site changes, and only then into what.
        places = np.flatnonzero(rng.random(len(tokens)) >= stays[tokens])
        np.fill_diagonal(transition, 0.0)
        cumulative = np.cumsum(transition, axis=1)
        cumulative /= np.maximum(cumulative[:, -1:], 1e-300)
        states = tokens[places] - FIRST_RESIDUE
        chosen = (rng.random(len(places))[:, None] >= cumulative[states]).sum(axis=1)
        result[places] = FIRST_RESIDUE + np.minimum(chosen, STATES - 1)
        return result

    def insert_and_delete(self, tokens: Tokens, time: float, rng: np.random.Generator) -> Tokens:
        """Return a sequence after the insertions and deletions of `time`; at least one residue stays."""
        for _ in range(int(rng.poisson(self.indel_rate * time * len(tokens)))):
            size = 1 + int(np.searchsorted(self._lengths, rng.random(), side="right"))
            place = int(rng.integers(0, len(tokens) + 1))
            if rng.random() < 0.5:
                new = FIRST_RESIDUE + np.searchsorted(self._frequencies, rng.random(size), side="right").clip(max=19)
                tokens = np.concatenate([tokens[:place], new.astype(np.uint8), tokens[place:]])
            elif len(tokens) > size:
                place = min(place, len(tokens) - size)
                tokens = np.concatenate([tokens[:place], tokens[place + size :]])
        return tokens

    def evolve(self, tokens: Tokens, time: float, rng: np.random.Generator) -> Tokens:
        """Return a sequence as it is at the end of a branch of length `time`."""
        return self.insert_and_delete(self.substitute(tokens, time, rng), time, rng)

    def prepare(self, family: Family) -> _Prepared:
        """Return the family ready for drawing."""
        return _Prepared(self, list(member_tokens(family).values()))


class _Prepared:
    def __init__(self, view: Simulated, tokens: list[Tokens]) -> None:
        self.view, self.tokens = view, tokens

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        start = [self.tokens[k] for k in rng.integers(0, len(self.tokens), n).tolist()]
        time: npt.NDArray[np.float64] = rng.uniform(self.view.lo, self.view.hi, n)
        end = [self.view.evolve(tokens, t, rng) for tokens, t in zip(start, time.tolist(), strict=True)]
        swapped = rng.random(n) < 0.5
        a = [y if swap else x for x, y, swap in zip(start, end, swapped, strict=True)]
        b = [x if swap else y for x, y, swap in zip(start, end, swapped, strict=True)]
        return a, b, time


def make(
    min_dist: float = 0.5, max_dist: float = 1.5, model: str = "lg", alpha: float = 1.0, indel_rate: float = 0.02
) -> Simulated:
    """Return the view; see `Simulated`."""
    return Simulated(min_dist, max_dist, model, alpha, indel_rate)
