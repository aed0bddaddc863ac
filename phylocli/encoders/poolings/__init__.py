"""One pooling per file: residues (N, L, D) → one vector per sequence (N, D), independent of padding."""

from __future__ import annotations

from typing import Any

from torch import nn

from phylocli.core.plugins import POOLINGS


def build_pooling(name: str, dimension: int, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return a pooling for residues of `dimension` features.

    Raises:
        UsageError: no such pooling, an unknown parameter, or a value out of range.
    """
    made = POOLINGS.load(name).Pooling
    return POOLINGS.make(name, made, dimension, parameters=parameters)


__all__ = ["build_pooling"]
