"""Activation checkpointing: a block's activations are dropped and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def checkpointed(block: Callable[..., Tensor], *inputs: Any, enabled: bool) -> Tensor:
    """Return the output of one of an encoder's blocks.

    Args:
        block: of the encoder.
        inputs: of the block.
        enabled: keep only the inputs for the backward pass (Chen et al. 2016, arXiv 1604.06174): memory for one block's
            activations instead of all blocks', for one more forward pass, with the random state of the first.
    """
    if enabled and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
