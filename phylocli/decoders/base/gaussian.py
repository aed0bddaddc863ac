"""A decoder of continuous inputs: the squared loss of autoencoders as a log density."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError


class GaussianDecoder(nn.Module):
    """q(x | z) = N(x; μ(z), σ² I): minus the squared error over 2σ², and a constant.

    With σ fixed, maximising it is minimising the squared error, as in Sinha, Song & Ermon 2021; with σ learned, the value is
    a bound in nats whatever the unit of x.

    Args:
        mean: μ, z (N, Z) → (N, D).
        sigma: σ, or its initial value.
        learned: train log σ.

    Raises:
        UsageError: σ is not above 0.
    """

    def __init__(self, mean: nn.Module, *, sigma: float = 1.0, learned: bool = False) -> None:
        super().__init__()
        if not sigma > 0:
            raise UsageError(f"sigma must be above 0, not {sigma}")
        self.mean = mean
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)), requires_grad=learned)

    def log_likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        """Return log q(x | z) in nats, (N,), for z (N, Z) and x (N, D)."""
        squared = (x - self.mean(z)).square().sum(1)
        constant = x.shape[1] * (self.log_sigma + math.log(2 * math.pi) / 2)
        return -squared / 2 * (-2 * self.log_sigma).exp() - constant
