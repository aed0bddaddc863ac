"""Two sequences emitted independently from the family's profile HMM.

The HMM is built from the family's alignment by pyhmmer as in HMMER's hmmbuild, with its prior and its effective number of
sequences; sequences are emitted from the first to the last state of the core model, including insertions and deletions.
Columns are independent: a profile represents the preferences of each position, and these are all that such a pair shares.
The distance between the two views is not defined.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from phylocli.core.alphabet import encode_tokens
from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.views.base.contracts import Pairs, Tokens, require_aligned

KIND = "source"
ALPHABETS = ("protein",)
DISTANCE = "not defined"


class _Prepared:
    def __init__(self, family: Family) -> None:
        self._family = family

    @functools.cached_property
    def hmm(self) -> Any:
        """The family's HMM, built on first use, because training indexes all families before."""
        from phylocli.hmmer import build_hmm

        return build_hmm(self._family)

    def _emit(self, random: Any) -> Tokens:
        while True:
            emitted = self.hmm.emit_sequence(random)
            # A path of delete states only emits nothing and is not a view.
            if len(emitted.sequence):
                return encode_tokens(self.hmm.alphabet.decode(emitted.sequence))

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        from pyhmmer import easel

        random = easel.Randomness(int(rng.integers(1, 2**31)))
        drawn = [self._emit(random) for _ in range(2 * n)]
        return drawn[:n], drawn[n:], np.full(n, np.nan)


class HmmEmission:
    """Samples pairs of emissions from a family's HMM."""

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family.

        Raises:
            BadInputError: the family is not aligned, or has no match column.
        """
        require_aligned(family, "hmm-emission")
        if not family.match_columns().any():
            raise BadInputError(
                f"{family.label} has no match column, so no HMM can be built from it",
                fix="mark match columns (align --engine profile), or use another view",
            )
        return _Prepared(family)


make = HmmEmission
