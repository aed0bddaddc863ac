"""Activation checkpointing: what a block computed is forgotten and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def through(block: Callable[..., Tensor], *inputs: Any, recompute: bool) -> Tensor:
    """Return what a block makes of its inputs.

    Args:
        block: one of an encoder's.
        inputs: what it takes.
        recompute: keep only the inputs for the backward pass (Chen et al. 2016, arXiv 1604.06174): memory for one block's
            activations instead of all blocks', for one more forward pass. The random state is that of the first pass.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
