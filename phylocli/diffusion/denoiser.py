"""The network of the diffusion model, which predicts v or the noise: a residual perceptron, given time and condition."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError


class Block(nn.Module):
    """x + W₂ · silu(W₁ · (LayerNorm(x) · (1 + scale) + shift)), with scale and shift given by time and condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.expand = nn.Linear(width, width)
        self.contract = nn.Linear(width, width)
        for layer in (self.modulate, self.contract):  # the block starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """Return (N, width) from x (N, width) and the embedding of time and condition (N, width)."""
        scale, shift = self.modulate(F.silu(known)).chunk(2, dim=1)
        return x + self.contract(F.silu(self.expand(self.norm(x) * (1 + scale) + shift)))


class Denoiser(nn.Module):
    """x_t (N, Z), times (N,) and conditions (N,) → a prediction (N, Z).

    Args:
        features: Z.
        conditions: number of conditions; code 0 is no condition, the others are 1 … `conditions`.
        width: hidden features.
        depth: number of blocks.

    Raises:
        UsageError: a size below 1, or an odd width.
    """

    def __init__(self, features: int, conditions: int = 0, *, width: int = 384, depth: int = 4) -> None:
        super().__init__()
        if min(features, width, depth) < 1 or conditions < 0 or width % 2:
            raise UsageError("features and depth must be at least 1, and the width even and at least 2")
        self.width = width
        self.input = nn.Linear(features, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Embedding(conditions + 1, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, features)
        nn.init.normal_(self.condition.weight, std=0.5)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, times: Tensor, conditions: Tensor) -> Tensor:
        """Return the prediction."""
        # Sinusoids of the time (Vaswani et al. 2017, arXiv 1706.03762).
        half = self.width // 2
        rate = torch.exp(torch.arange(half, device=x.device, dtype=x.dtype) * (-math.log(10000) / half))
        angle = times[:, None].to(x.dtype) * rate
        known = self.time(torch.cat([angle.sin(), angle.cos()], dim=1)) + self.condition(conditions)
        x = self.input(x)
        for block in self.blocks:
            x = block(x, known)
        predicted: Tensor = self.output(self.norm(x))
        return predicted
