"""A member against a copy that evolved along a branch of chosen length, under LG+Γ with insertions and deletions.

Simulated evolution instead of real homologs (Kumar & Cowen, Bioinformatics 25:1602, 2009, train profile HMMs in this way).
Sites change independently under LG, with rates from Γ. Unlike in real homologs at the same distance, no site is constrained
by the function of the protein. The distance between the two views is the length of the branch.

Insertions and deletions, each half of the events, occur at `indel_rate` times the substitution rate, with the model of
`phylocli.simulate`: uniformly over the sequence, with power-law lengths (exponent −1.7) up to 50 residues. They do not count
as distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import FIRST_RESIDUE, UNKNOWN
from phylocli.formats.family import Family
from phylocli.simulate import IndelModel, RateModel, Substitutions
from phylocli.tree.models import substitution_model
from phylocli.views.base.contracts import Pairs, Tokens, check_band, check_distance, member_tokens

KIND = "source"
ALPHABETS = ("protein",)
DISTANCE = "length of the branch, uniform from min_dist to max_dist"


class Simulated:
    """Samples members uniformly, and for each a branch length uniformly from [min_dist, max_dist].

    Site rates are sampled again for every branch.

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
        self.substitutions = Substitutions(substitution_model(model))
        self.rates = RateModel(float(alpha))
        rate = check_distance(indel_rate, "indel_rate")
        self.indels = IndelModel(rate / 2, rate / 2)

    def substitute(self, tokens: Tokens, time: npt.ArrayLike, rng: np.random.Generator) -> Tokens:
        """Return a sequence after a given time; unknown residues and masks are unchanged.

        Args:
            tokens: shape (L,).
            time: expected substitutions per site, one value or one per residue, shape (L,).
            rng: random numbers.
        """
        result = tokens.copy()
        known = np.flatnonzero((tokens >= FIRST_RESIDUE) & (tokens < UNKNOWN))
        expected = np.broadcast_to(time, tokens.shape)[known] * self.rates.draw(len(known), rng)
        result[known] = self.substitutions.evolve(tokens[known] - FIRST_RESIDUE, expected, rng) + FIRST_RESIDUE
        return result

    def insert_and_delete(self, tokens: Tokens, time: float, rng: np.random.Generator) -> Tokens:
        """Return a sequence after the insertions and deletions of `time`; at least one residue remains."""
        inserted = [tokens]

        def insert(left: int, length: int) -> npt.NDArray[np.int64]:
            first = sum(map(len, inserted))
            inserted.append(self.substitutions.equilibrium(length, rng) + np.uint8(FIRST_RESIDUE))
            return np.arange(first, first + length)

        sites = self.indels.evolve(np.arange(len(tokens)), time, rng, insert)
        return np.concatenate(inserted)[sites]

    def evolve(self, sequences: list[Tokens], time: npt.NDArray[np.float64], rng: np.random.Generator) -> list[Tokens]:
        """Return n sequences at the ends of branches of n lengths, shape (n,)."""
        lengths = [len(tokens) for tokens in sequences]
        together = self.substitute(np.concatenate(sequences), np.repeat(time, lengths), rng)
        parts = np.split(together, np.cumsum(lengths)[:-1])
        return [self.insert_and_delete(tokens, t, rng) for tokens, t in zip(parts, time.tolist(), strict=True)]

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family."""
        return _Prepared(self, list(member_tokens(family).values()))


class _Prepared:
    def __init__(self, view: Simulated, tokens: list[Tokens]) -> None:
        self.view, self.tokens = view, tokens

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        start = [self.tokens[k] for k in rng.integers(0, len(self.tokens), n).tolist()]
        time: npt.NDArray[np.float64] = rng.uniform(self.view.lo, self.view.hi, n)
        end = self.view.evolve(start, time, rng)
        swapped = rng.random(n) < 0.5
        a = [y if swap else x for x, y, swap in zip(start, end, swapped, strict=True)]
        b = [x if swap else y for x, y, swap in zip(start, end, swapped, strict=True)]
        return a, b, time


make = Simulated
