"""A large crop of a sequence against another large or a small one.

After the multi-crop of SwAV (Caron et al., NeurIPS 2020), where each of two large crops is matched with the other large crop
and with `small` small ones: a pair is one of these matches, all equally likely; an objective that uses all views gets the
two large crops and then the small ones. No residue changes, so the distance is 0.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.views.base.contracts import Pairs, Tokens, member_tokens
from phylocli.views.crop import Crop

KIND = "source"
DISTANCE = "0"


class _Prepared:
    def __init__(self, view: MultiCrop, tokens: list[Tokens]) -> None:
        self.view, self.tokens = view, tokens

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        chosen = [self.tokens[k] for k in rng.integers(0, len(self.tokens), n).tolist()]
        is_small = (rng.random(n) < self.view.small / (1 + self.view.small)).tolist()
        a = [self.view.large_crop(tokens, rng) for tokens in chosen]
        b = [
            (self.view.small_crop if small else self.view.large_crop)(tokens, rng)
            for tokens, small in zip(chosen, is_small, strict=True)
        ]
        return a, b, np.zeros(n)

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        chosen = [self.tokens[k] for k in rng.integers(0, len(self.tokens), n).tolist()]
        crops = [self.view.large_crop] * 2 + [self.view.small_crop] * self.view.small
        return [[crop(tokens, rng) for tokens in chosen] for crop in crops], np.zeros(n)


class MultiCrop:
    """Samples members uniformly, and two crops of each.

    Args:
        small: number of small crops in addition to the two large ones.
        large_fraction: minimum fraction of the sequence in a large crop; the maximum is the whole sequence.
        small_fraction: minimum fraction in a small crop; the maximum is `large_fraction`.
        min_length: of a small crop, in residues.
        max_length: of a large crop, in residues.
    """

    def __init__(
        self,
        small: int = 4,
        large_fraction: float = 0.6,
        small_fraction: float = 0.2,
        min_length: int = 16,
        max_length: float = math.inf,
    ) -> None:
        self.small = int(small)
        if self.small < 0:
            raise UsageError(f"the view multi-crop cannot take {self.small} small crops", fix="give a number of at least 0")
        self.large_crop = Crop(large_fraction, 1.0, min_length, max_length)
        self.small_crop = Crop(small_fraction, large_fraction, min_length, max_length)

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family."""
        return _Prepared(self, list(member_tokens(family).values()))


make = MultiCrop
