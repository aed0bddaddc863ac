"""Critics whose scores are log densities of b given a."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Decoder(nn.Module):
    """A critic with scores log q(b | a), and a density m(b) of the same kind that is independent of a."""

    def marginal(self, b: Tensor) -> Tensor:
        """Return log m(b), (M,), for b (M, D)."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_marginal(self, b: Tensor) -> None:
        """Fit m to b (M, D) by maximum likelihood, if all of b is available before training."""
        raise NotImplementedError
