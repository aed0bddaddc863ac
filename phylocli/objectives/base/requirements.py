"""What an objective may ask of the learner besides the vectors of two views, and how it gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from phylocli.objectives.base.masking import Batch


@dataclass(frozen=True)
class Needs:
    """What an objective asks for; it says so by an attribute `needs`, without which it gets a and b.

    Attributes:
        views: whose vectors are computed: those of the `pair`, of the `first` view only (b is then a), of `all` that the
            view room offers (`ViewBatch.more`), or of `none` (a and b are then (N, 0)).
        momentum: b comes from a copy of the encoder and the head that follows them as an average with this momentum, and
            takes no gradient. None: both views go through the same encoder.
        residues: the first view's residues come too.
        segments: the first view is cut into segments of so many residues, one after the other, which are encoded each by
            itself. 0: it is not.
        negatives: pairs of the batch are contrasted with each other, so two of them at least must not be homologs. False
            where negatives come from elsewhere (a queue, decoys, other places of the sequence), or there are none.
    """

    views: Literal["none", "first", "pair", "all"] = "pair"
    momentum: float | None = None
    residues: bool = False
    segments: int = 0
    negatives: bool = True


@dataclass
class ViewBatch(Batch):
    """A batch with what the objective asked for.

    Attributes:
        more: vectors of the third and further views, each (N, D), in the order of the view room.
        residues: of the first view, (N, L, F), before pooling and head.
        mask: which of these there are, (N, L) bool; they fill each row from the left.
        segments: pooled vectors of the first view's segments, (N, T, F), before the head.
        present: which of these there are, (N, T) bool; they fill each row from the left.
    """

    more: list[Tensor] = field(default_factory=list)
    residues: Tensor | None = None
    mask: Tensor | None = None
    segments: Tensor | None = None
    present: Tensor | None = None


def more_of(batch: Batch) -> list[Tensor]:
    """Return the vectors of the third and further views, each (N, D); none where the batch has two."""
    return batch.more if isinstance(batch, ViewBatch) else []


def residues_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return residues (N, L, F) and their mask (N, L).

    Raises:
        TypeError: the batch has none: the objective's `needs` do not ask for them.
    """
    if not isinstance(batch, ViewBatch) or batch.residues is None or batch.mask is None:
        raise TypeError("the batch brings no residues; ask for them by Needs(residues=True)")
    return batch.residues, batch.mask


def segments_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return segments (N, T, F) and their mask (N, T).

    Raises:
        TypeError: the batch has none: the objective's `needs` do not ask for them.
    """
    if not isinstance(batch, ViewBatch) or batch.segments is None or batch.present is None:
        raise TypeError("the batch brings no segments; ask for them by Needs(segments=…)")
    return batch.segments, batch.present


def may_contrast(batch: Batch, family: Tensor, clan: Tensor) -> Tensor:
    """Return which of M others, by their codes (M,), are negatives of the batch's pairs, (N, M) bool: no kin."""
    kin = batch.family[:, None] == family[None]
    kin |= (batch.clan[:, None] == clan[None]) & (batch.clan[:, None] >= 0)
    return ~kin


def kin_weights(family: Tensor, clan: Tensor) -> Tensor:
    """Return a weight for each of N pairs, 1 / the number of its kin in the batch and itself, scaled to the sum 1, (N,)."""
    kin = ~may_contrast(Batch(family, clan), family, clan)
    weight = 1 / kin.sum(1).to(torch.float64)
    return weight / weight.sum()
