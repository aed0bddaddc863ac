"""Critics whose scores are log densities of b given a."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Decoder(nn.Module):
    """A critic with scores log q(b | a), and beside it a density m(b) of the same kind that sees no a."""

    def marginal(self, b: Tensor) -> Tensor:
        """Return log m(b), (M,), for b (M, D)."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_marginal(self, b: Tensor) -> None:
        """Give m the parameters that make b (M, D) likeliest, where all of b is at hand before training."""
        raise NotImplementedError
