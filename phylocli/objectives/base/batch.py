"""The data of N pairs that an objective receives besides the vectors of their two views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from phylocli.objectives.base.masking import negative_mask


@dataclass
class Decoded:
    """Sequences, or other inputs, x and their log likelihood given latent vectors z.

    Attributes:
        log_likelihood: log q(x | z) in nats, (N,).
        letters: of sequences, 0 … K - 1, and -1 where there is none, or an unknown one, (N, L) int64.
        lengths: residues of each sequence, (N,).
        log_background: log p₀(x) in nats, (N,), if it is known; needed for inputs that are not sequences.
    """

    log_likelihood: Tensor
    letters: Tensor | None = None
    lengths: Tensor | None = None
    log_background: Tensor | None = None


@dataclass
class Removed:
    """Sequences of which the encoder sees a part.

    Attributes:
        letters: 0 … K - 1, and -1 where there is none, or an unknown one, (N, L) int64.
        mask: which residues exist, (N, L) bool; rows are filled from the left.
        kept: which of them the encoder sees, (N, L) bool.
    """

    letters: Tensor
    mask: Tensor
    kept: Tensor


@dataclass
class Batch:
    """N pairs, with the data requested by the requirements of the objective.

    Attributes:
        family: a code for each pair's family, (N,) int64.
        clan: a code for each pair's clan, (N,) int64, negative if the family has no clan.
        distance: evolutionary distance between the two views, expected substitutions per site, (N,) floating point; NaN
            if undefined.
        more: vectors of the third and further views, each (N, D), in the order of the view.
        residues: of the first view, (N, L, F), before pooling and head.
        mask: which residues exist, (N, L) bool; rows are filled from the left.
        segments: pooled vectors of the first view's segments, (N, T, F), before the head.
        present: which segments exist, (N, T) bool; rows are filled from the left.
        decoded: what was decoded from the latent vectors of the first view.
        removed: which residues of the first view were removed.
        equal: further pairs that are not contrasted, because a view of one equals a view of the other, (N, N) bool.
    """

    family: Tensor
    clan: Tensor
    distance: Tensor
    more: list[Tensor] = field(default_factory=list)
    residues: Tensor | None = None
    mask: Tensor | None = None
    segments: Tensor | None = None
    present: Tensor | None = None
    decoded: Decoded | None = None
    removed: Removed | None = None
    equal: Tensor | None = None

    @classmethod
    def of_families(cls, family: Tensor, clan: Tensor | None = None, distance: Tensor | None = None, **others: Any) -> Batch:
        """Return a batch from family codes (N,) and, optionally, clan codes and distances (N,)."""
        clan = torch.full_like(family, -1) if clan is None else clan
        distance = torch.full(family.shape, torch.nan, device=family.device) if distance is None else distance
        return cls(family, clan, distance, **others)

    @classmethod
    def of_pairs(cls, n: int, device: torch.device | str = "cpu") -> Batch:
        """Return a batch of n independent pairs: each is the negative of all others."""
        return cls.of_families(torch.arange(n, device=device))

    def __len__(self) -> int:
        return len(self.family)

    def twice(self) -> Batch:
        """Return the batch for a and b stacked, (2N,)."""
        equal = None if self.equal is None else self.equal.repeat(2, 2)
        return Batch(self.family.repeat(2), self.clan.repeat(2), self.distance.repeat(2), equal=equal)

    def negatives(self) -> Tensor:
        """Return which pairs may be contrasted, (N, N) bool: pairs that share neither family nor clan, nor have equal
        views. Symmetric."""
        found = self.negatives_among(self.family, self.clan)
        return found if self.equal is None else found & ~self.equal

    def negatives_among(self, family: Tensor, clan: Tensor) -> Tensor:
        """Return which of M others, by their codes (M,), are negatives of the pairs, (N, M) bool: no homologs."""
        return negative_mask(self.family, self.clan, family, clan)


def residues_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return residues (N, L, F) and their mask (N, L).

    Raises:
        TypeError: the batch has none, because the objective's requirements do not include them.
    """
    if batch.residues is None or batch.mask is None:
        raise TypeError("the batch has no residues; request them with Requirements(residues=True)")
    return batch.residues, batch.mask


def segments_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return segments (N, T, F) and their mask (N, T).

    Raises:
        TypeError: the batch has none, because the objective's requirements do not include them.
    """
    if batch.segments is None or batch.present is None:
        raise TypeError("the batch has no segments; request them with Requirements(segments=…)")
    return batch.segments, batch.present


def decoded_of(batch: Batch) -> Decoded:
    """Return what was decoded.

    Raises:
        TypeError: nothing was, because the objective's requirements do not include it.
    """
    if batch.decoded is None:
        raise TypeError("the batch was not decoded; request it with Requirements(decoder=True)")
    return batch.decoded


def removed_of(batch: Batch) -> Removed:
    """Return which residues of the first view were removed.

    Raises:
        TypeError: none were, because the objective's requirements do not include it.
    """
    if batch.removed is None:
        raise TypeError("no residues were removed; request it with Requirements(removal=…)")
    return batch.removed
