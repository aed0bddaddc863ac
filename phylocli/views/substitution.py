"""Random substitutions: residues are replaced at a chosen evolutionary distance, uniformly or with BLOSUM62 weights.

Noise used by Koide et al. (2018) and others instead of evolution. Sites change independently at the same rate, 1: unlike in
real homologs at the same distance, no site is conserved.
"""

from __future__ import annotations

import functools
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import AMINO_ACIDS, FIRST_RESIDUE, UNKNOWN
from phylocli.core.errors import unknown_name
from phylocli.simulate.substitutions import alias_tables
from phylocli.views.base.contracts import Tokens, check_distance

KIND = "transform"
ALPHABETS = ("protein",)
DISTANCE = "the parameter distance"

Matrix = Literal["uniform", "blosum62"]


@functools.cache
def exchange(matrix: str) -> npt.NDArray[np.float64]:
    """Return the probability of each new residue, given that residue a is replaced, shape (20, 20), rows a; diagonal 0.

    `uniform`: 1/19 each. `blosum62`: in proportion to p(b)·2^(S(a, b)/2), the frequency of b aligned with a in the blocks
    from which the half-bit scores S were derived, with the background p of Henikoff & Henikoff (PNAS 89:10915, 1992) implied
    by the scores.
    """
    if matrix == "uniform":
        rates = np.full((20, 20), 1 / 19)
    else:
        from Bio.Align import substitution_matrices

        scores = substitution_matrices.load("BLOSUM62")
        order = [scores.alphabet.index(letter) for letter in AMINO_ACIDS]
        odds = 2.0 ** (np.asarray(scores)[np.ix_(order, order)] / 2)
        rates = odds * _implied_background(odds)
    np.fill_diagonal(rates, 0.0)
    return rates / rates.sum(axis=1, keepdims=True)


def _implied_background(odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Joint frequencies p(a)·p(b)·odds(a, b) must have p as margins: odds · p = 1 in every row, up to the rounding of the
    # scores.
    background = np.linalg.lstsq(odds, np.ones(20), rcond=None)[0]
    background = np.maximum(background, 1e-3)
    return background / background.sum()


class Substitution:
    """Evolves each residue for half the distance, so that two views of one sequence have the full distance.

    Replacements are a Poisson process of rate 1 per site, each to a residue sampled from `exchange(matrix)`; a site may be
    replaced several times. With `uniform` this is the 20-state Jukes–Cantor process: after a time t a site differs with
    probability 19/20·(1 − exp(−20/19·t)). Unknown residues and masks are unchanged.

    Args:
        distance: between the two views, expected substitutions per site; each view takes half.
        matrix: `uniform` or `blosum62`.
    """

    def __init__(self, distance: float = 0.5, matrix: Matrix = "uniform") -> None:
        self.distance = check_distance(distance, "distance")
        if matrix not in get_args(Matrix):
            raise unknown_name("the view substitution has no matrix", matrix, get_args(Matrix))
        from scipy.linalg import expm

        rates = exchange(matrix) - np.eye(20)
        self.transition: npt.NDArray[np.float64] = expm(rates * self.distance / 2)
        # Most sites do not change, so first sample whether a site changes, then the new residue.
        self._stays = np.ones(256)
        self._stays[FIRST_RESIDUE:UNKNOWN] = np.diag(self.transition)
        changed = self.transition - np.diag(np.diag(self.transition))
        share, other = alias_tables(changed / np.maximum(changed.sum(axis=1, keepdims=True), 1e-300))
        self._share, self._other = share.ravel(), other.ravel()

    @property
    def expected_distance(self) -> float:
        """The distance."""
        return self.distance

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the sequence after half the distance."""
        result = tokens.copy()
        places = np.flatnonzero(rng.random(len(tokens)) >= self._stays[tokens])
        # Walker's alias method: one random number gives both a column and the position within it.
        drawn = 20 * rng.random(len(places))
        column = drawn.astype(np.intp)
        cell = 20 * (tokens[places].astype(np.intp) - FIRST_RESIDUE) + column
        result[places] = FIRST_RESIDUE + np.where(drawn - column < self._share[cell], column, self._other[cell])
        return result


make = Substitution
