"""What an objective may ask for besides the vectors of two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class Requirements:
    """What an objective asks for, in its attribute `requirements`; without that attribute it gets a and b.

    Attributes:
        views: whose vectors are computed: those of the `pair`, of the `first` view only (b is then a), of `all` that the
            view offers (`Batch.more`), or of `none` (a and b are then (N, 0)).
        momentum: b comes from a momentum encoder, a copy of encoder and head that follows them as an exponential moving
            average with this coefficient and takes no gradient. None: both views go through the same encoder.
        residues: the first view's residues come too.
        segments: the first view is cut into segments of this many residues, which are encoded one by one. 0: it is not.
        negatives: the pairs of a batch are contrasted with each other, so at least two of them must not be homologs. False
            where negatives come from elsewhere (a memory bank, decoys, other places of the sequence), or there are none.
    """

    views: Literal["none", "first", "pair", "all"] = "pair"
    momentum: float | None = None
    residues: bool = False
    segments: int = 0
    negatives: bool = True


def requirements_of(objective: nn.Module) -> Requirements:
    """Return the requirements of an objective: its attribute `requirements`, or two views where it has none."""
    found = getattr(objective, "requirements", None)
    return found if isinstance(found, Requirements) else Requirements()
