"""Similarities with a temperature, fixed or learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError


class Scaled(nn.Module):
    """Holds log(1/τ), as a parameter or as a constant.

    Args:
        temperature: τ, or its initial value.
        learned: train log(1/τ); 1/τ is at most 100, as in CLIP (Radford et al. 2021, arXiv 2103.00020).

    Raises:
        UsageError: a temperature that is not above 0.
    """

    MOST = math.log(100.0)

    def __init__(self, temperature: float, learned: bool) -> None:
        super().__init__()
        if not temperature > 0:
            raise UsageError(f"the temperature must be above 0, not {temperature}")
        scale = torch.tensor(-math.log(temperature))
        if learned:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale)
        self.learned = learned

    def scaled(self, similarity: Tensor) -> Tensor:
        """Return similarities divided by the temperature, of the same shape."""
        return similarity * (self.log_scale.clamp(max=self.MOST) if self.learned else self.log_scale).exp()
