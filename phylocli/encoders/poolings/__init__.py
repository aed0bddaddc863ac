"""Poolings, one a file: residues (N, L, D) → one vector a sequence (N, D), independent of padding."""

from __future__ import annotations

from typing import Any

from torch import nn

from phylocli.core import plugins
from phylocli.core.plugins import POOLINGS
from phylocli.encoders.poolings._residue_mean import mean_of


def build_pooling(name: str, dimension: int, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return a pooling for residues of `dimension` features.

    Raises:
        UsageError: an unknown pooling or parameter, or a value out of range.
    """
    return plugins.make("pooling", name, POOLINGS.load(name).Pooling, dimension, parameters=parameters or {})


__all__ = ["build_pooling", "mean_of"]
