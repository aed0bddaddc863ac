"""One critic per file: two batches a (N, D) and b (M, D) → scores (N, M), higher for more likely positive pairs."""

from __future__ import annotations

from typing import Any

from torch import nn

from phylocli.core.plugins import CRITICS


def build_critic(name: str, dimension: int, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return the critic `name` for vectors of `dimension` features.

    Raises:
        UsageError: no such critic, an unknown parameter, or a value out of range.
    """
    return CRITICS.make(name, CRITICS.load(name).Critic, dimension, parameters=parameters)


__all__ = ["build_critic"]
