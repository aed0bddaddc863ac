"""One critic a file: two batches a (N, D) and b (M, D) → scores (N, M), the higher the likelier they are a true pair."""

from __future__ import annotations

from typing import Any

from torch import nn

from phylocli import registry
from phylocli.errors import UsageError


def build_critic(name: str, dimension: int, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return the critic `name` for vectors of `dimension` features.

    Raises:
        UsageError: no such critic, or a parameter that it does not have.
    """
    try:
        return registry.load("critics", name).Critic(dimension, **(parameters or {}))
    except TypeError as error:
        raise UsageError(f"the critic {name!r} does not take these parameters", why=str(error)) from error


__all__ = ["build_critic"]
