"""A Gaussian decoder: the log density of b given a."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from phylocli.critics.base.decoder import Decoder
from phylocli.critics.base.layers import perceptron, quieten

LOG_2_PI = math.log(2 * math.pi)


class Critic(Decoder):
    """s(a, b) = log N(b; μ(a), diag σ²(a)), with μ and log σ computed by a perceptron (Barber & Agakov 2003; Poole et al.
    2019).

    Not symmetric in a and b. The distance is expanded into matrix products, so no vector is copied for every pair.

    Args:
        dimension: features of a.
        hidden: features of the hidden layers.
        other: features of b; 0: the same as a.
    """

    MOST = 7.0  # |log σ|: limits the density of a few points

    def __init__(self, dimension: int, *, hidden: int = 256, other: int = 0) -> None:
        super().__init__()
        self.size = other or dimension
        self.decoder = perceptron(dimension, hidden, 2 * self.size)
        quieten(self.decoder[-1])  # initially independent of a: the decoder starts as the marginal
        self.mean = nn.Parameter(torch.zeros(self.size))
        self.log_scale = nn.Parameter(torch.zeros(self.size))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): log densities (N, M)."""
        shift, log_scale = self.decoder(a).split(self.size, dim=1)
        return _log_density(self.mean + shift, self._bounded(self.log_scale + log_scale), b)

    def marginal(self, b: Tensor) -> Tensor:
        """Return log N(b; m, diag s²), (M,), with learned m and s: a decoder independent of a."""
        return _log_density(self.mean[None], self._bounded(self.log_scale[None]), b)[0]

    @torch.no_grad()
    def fit_marginal(self, b: Tensor) -> None:
        """Set m and s to the mean and standard deviation of b (M, D)."""
        self.mean.copy_(b.mean(0))
        log_scale = b.std(0, correction=0).clamp(min=1e-6).log().clamp(-0.99 * self.MOST, 0.99 * self.MOST)
        self.log_scale.copy_(self.MOST * torch.atanh(log_scale / self.MOST))

    def _bounded(self, log_scale: Tensor) -> Tensor:
        return self.MOST * torch.tanh(log_scale / self.MOST)


def _log_density(mean: Tensor, log_scale: Tensor, b: Tensor) -> Tensor:
    precision = (-2 * log_scale).exp()
    squared = precision @ (b * b).T - 2 * (precision * mean) @ b.T + (precision * mean * mean).sum(1, keepdim=True)
    return -squared / 2 - log_scale.sum(1, keepdim=True) - b.shape[1] / 2 * LOG_2_PI
