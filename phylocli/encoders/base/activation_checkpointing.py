"""Activation checkpointing: activations of a block are discarded and recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


def checkpointed(block: Callable[..., T], *inputs: Any, enabled: bool) -> T:
    """Return the output of one of an encoder's blocks.

    Args:
        block: of the encoder.
        inputs: of the block.
        enabled: keep only the inputs for the backward pass (Chen et al. 2016, arXiv 1604.06174). This needs memory for the
            activations of one block instead of all, and one more forward pass, with the same random state.
    """
    if enabled and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
