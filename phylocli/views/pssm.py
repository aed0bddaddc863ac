"""Two sequences sampled independently from the family's position-specific frequencies.

Augmentation by a family's profile, as in Asgari et al. (2019). At every match column a view has a gap (no residue) with the
weighted frequency of gaps, else a residue with its frequency. Sequences have position-based weights (Henikoff & Henikoff, J.
Mol. Biol. 243:574, 1994), and frequencies are smoothed towards LG's stationary ones by pseudocounts. Unlike HMM emissions,
there are no insertions, and neighbouring gaps are independent. The distance between the two views is not defined.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import FIRST_RESIDUE, MISSING, encode_states
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.views.base.contracts import Pairs, Tokens, require_aligned

KIND = "source"
ALPHABETS = ("protein",)
DISTANCE = "not defined"


def position_weights(states: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return Henikoff's position-based weights of the rows of an alignment, shape (n,), summing to 1.

    In every column, a weight of one is divided equally among the residue types, and each share among the rows of that type.

    Args:
        states: shape (n, columns), 0–19 and `MISSING`.
    """
    has = np.stack([states == state for state in range(20)])
    carriers = has.sum(axis=1)
    kinds = (carriers > 0).sum(axis=0)
    share = np.divide(1.0, carriers * kinds, out=np.zeros(carriers.shape), where=carriers > 0)
    weights: npt.NDArray[np.float64] = np.einsum("snc,sc->n", has, share)
    return weights / weights.sum() if weights.sum() > 0 else np.full(len(states), 1 / len(states))


class _Prepared:
    def __init__(self, cumulative: npt.NDArray[np.float64]) -> None:
        self.cumulative = cumulative  # shape (columns, 21): residues, then the gap

    def _sample(self, n: int, rng: np.random.Generator) -> list[Tokens]:
        found: list[Tokens] = []
        while len(found) < n:
            chosen = rng.random((n - len(found), len(self.cumulative), 1))
            states = (chosen >= self.cumulative).sum(axis=2).astype(np.uint8)
            rows = (row[row < MISSING] + np.uint8(FIRST_RESIDUE) for row in states)
            found += [row for row in rows if len(row)]  # skip sequences of gaps only
        return found

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        drawn = self._sample(2 * n, rng)
        return drawn[:n], drawn[n:], np.full(n, np.nan)


class Pssm:
    """Samples pairs of sequences from a family's position-specific frequencies.

    Args:
        pseudocount: weight of the background in a column, in sequences; the weight of the family is its number of members.
    """

    def __init__(self, pseudocount: float = 1.0) -> None:
        self.pseudocount = float(pseudocount)
        if not 0 <= self.pseudocount < np.inf:
            raise UsageError(
                f"the view pssm cannot add {self.pseudocount:g} pseudocounts", fix="give a number of at least 0"
            )

    def frequencies(self, family: Family) -> npt.NDArray[np.float64]:
        """Return the probabilities of the 20 residues and of a gap at every match column, shape (columns, 21)."""
        from phylocli.tree.models import substitution_model

        states = encode_states(family.rows)[:, family.match_columns()]
        weights = position_weights(states) * len(states)
        counts = np.stack([weights @ (states == state) for state in range(20)], axis=1)
        present = counts.sum(axis=1) / len(states)
        residues = counts + self.pseudocount * substitution_model("lg").frequencies
        total = residues.sum(axis=1, keepdims=True)
        background = substitution_model("lg").frequencies
        residues = np.where(total > 0, residues / np.maximum(total, 1e-300), background)
        return np.column_stack([residues * present[:, None], 1 - present])

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family.

        Raises:
            BadInputError: the family is not aligned, or has no match column with a residue.
        """
        require_aligned(family, "pssm")
        found = self.frequencies(family)
        if not (found[:, :20].sum() > 0):
            raise BadInputError(
                f"{family.label} has no match column with a residue, so it has no profile",
                fix="mark match columns (align --engine profile), or use another view",
            )
        cumulative = np.cumsum(found, axis=1)
        cumulative[:, -1] = 1.0
        return _Prepared(cumulative)


make = Pssm
