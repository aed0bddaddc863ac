"""What an objective may request besides the vectors of two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class Removal:
    """Residues that the encoder does not see.

    Attributes:
        fraction: of a sequence's residues.
        span: residues that are removed together, at most.
    """

    fraction: float
    span: int

    def count(self, length: int) -> int:
        """Return how many residues of a sequence are removed; at least one is left."""
        return min(round(self.fraction * length), length - 1)


@dataclass(frozen=True)
class Requirements:
    """The requirements of an objective, in its attribute `requirements`; the default is the two vectors a and b.

    Attributes:
        views: which views are embedded: the `pair`, the `first` view only (b is then a), `all` views (`Batch.more`), or
            `none` (a and b are then (N, 0)).
        momentum: b comes from a momentum encoder, an exponential moving average of encoder and head with this coefficient,
            without gradient. None: both views use the same encoder.
        residues: the residue vectors of the first view are provided.
        segments: the first view is cut into segments of this many residues, each encoded separately. 0: none.
        removal: what is removed from the first view before it is encoded, see `Batch.removed`; its residues are then those
            that remain.
        classes: the method `set_classes` is called with the clan of each family of the training data, and `Batch.family`
            numbers these families.
        decoder: the first view is decoded from its latent vector, see `Batch.decoded`; the run must have a decoder.
        negatives: the pairs of a batch are contrasted with each other, so at least two of them must be unrelated. False if
            negatives come from elsewhere (a memory bank, decoys, other positions of the sequence), or if there are none.
    """

    views: Literal["none", "first", "pair", "all"] = "pair"
    momentum: float | None = None
    residues: bool = False
    segments: int = 0
    removal: Removal | None = None
    classes: bool = False
    decoder: bool = False
    negatives: bool = True


def requirements_of(objective: nn.Module) -> Requirements:
    """Return the requirements of an objective: its attribute `requirements`, or the default (two views)."""
    found = getattr(objective, "requirements", None)
    return found if isinstance(found, Requirements) else Requirements()
