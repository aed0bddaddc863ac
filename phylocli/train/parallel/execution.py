"""How a step is computed: processes, precision, and memory-saving options."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from phylocli.train.parallel.world import ALONE, World


@dataclass
class Execution:
    """How a step is computed. Results are the same up to rounding and the random numbers of dropout.

    Attributes:
        max_tokens: that go through the encoder at once, padding included; lowered when memory runs out.
        grad_cache: whether gradients are cached, see `phylocli.train.parallel.grad_cache`; set when memory runs out.
        precision: of the encoder's matrix products.
        world: the processes that share each batch in training.
        sharded: whether each of them has only a part of the encoder's weights, see `phylocli.train.parallel.fsdp`.
    """

    max_tokens: int = 16384
    grad_cache: bool = False
    precision: torch.dtype = torch.float32
    world: World = ALONE
    sharded: bool = False


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of the encoder's products; `auto` is bfloat16 if the device multiplies it faster."""
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32
    return torch.float32
