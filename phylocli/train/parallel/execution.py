"""Execution settings of a step: processes, precision, and memory-saving options."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from phylocli.train.parallel.world import ALONE, World


@dataclass
class Execution:
    """Execution settings of a step. They affect results only by rounding and the random numbers of dropout.

    Attributes:
        max_tokens: maximum number of tokens encoded at once, including padding; reduced when memory runs out.
        grad_cache: whether gradients are cached, see `phylocli.train.parallel.grad_cache`; set when memory runs out.
        precision: type of the encoder's matrix products.
        world: the processes that share each batch in training.
        sharded: whether the encoder's weights are sharded among the processes, see `phylocli.train.parallel.fsdp`.
    """

    max_tokens: int = 16384
    grad_cache: bool = False
    precision: torch.dtype = torch.float32
    world: World = ALONE
    sharded: bool = False


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type of the encoder's matrix products; `auto` is bfloat16 if the device has instructions for it."""
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32
    return torch.float32
