"""One pooling a file: residues (N, L, D) → one vector a sequence (N, D), blind to padding."""

from __future__ import annotations

from typing import Any

from torch import nn

from phylocli.core.plugins import POOLINGS


def build_pooling(name: str, dimension: int, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return a pooling for residues of `dimension` features.

    Raises:
        UsageError: no such pooling, a parameter that it does not have, or a value out of range.
    """
    made = POOLINGS.load(name).Pooling
    return POOLINGS.make(name, made, dimension, parameters=parameters)


__all__ = ["build_pooling"]
