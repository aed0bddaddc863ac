"""Correlated Gaussians: pairs with known mutual information, and their log density ratio, the optimal critic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from phylocli.core.errors import UsageError, unknown_name

TRANSFORMS = ("none", "cubic")
EULER_GAMMA = 0.5772156649015329


@dataclass(frozen=True)
class Gaussians:
    """Pairs (x, y) of vectors with standard normal components; corresponding components have correlation ρ, others 0.

    I(x; y) = -D/2 log(1 - ρ²). `cubic` replaces y by y³, component by component: a bijection, so the information is
    unchanged, but with heavy tails and no longer Gaussian (Poole et al. 2019, arXiv 1905.06922, section 3).

    Attributes:
        dimension: D.
        nats: the information.
        transform: `none` or `cubic`.

    Raises:
        UsageError: no components, negative information, or no such transform.
    """

    dimension: int
    nats: float
    transform: str = "none"

    def __post_init__(self) -> None:
        if self.dimension < 1 or not 0 <= self.nats < math.inf:
            raise UsageError(
                f"there are no Gaussians of {self.dimension} components that share {self.nats} nats",
                fix="give at least one component, and 0 or more nats",
            )
        if self.transform not in TRANSFORMS:
            raise unknown_name("unknown transform", self.transform, TRANSFORMS)

    @property
    def correlation(self) -> float:
        """ρ ≥ 0."""
        return math.sqrt(-math.expm1(-2 * self.nats / self.dimension))

    @property
    def entropy(self) -> float:
        """H(y) in nats, after the transform."""
        normal = 0.5 * math.log(2 * math.pi * math.e)
        # H(y³) = H(y) + E log 3y², and E log y² = -γ - log 2 for a standard normal y.
        stretch = math.log(3) - EULER_GAMMA - math.log(2) if self.transform == "cubic" else 0.0
        return self.dimension * (normal + stretch)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return n pairs: x and y (n, D), float32."""
        x = torch.randn(n, self.dimension, generator=generator)
        noise = torch.randn(n, self.dimension, generator=generator)
        y = self.correlation * x + math.exp(-self.nats / self.dimension) * noise
        return x, y**3 if self.transform == "cubic" else y

    def log_ratio(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(x, y) / p(x) p(y), (N, M), float64, for x (N, D) and y (M, D): the optimal critic."""
        x, y = x.double(), y.double()
        if self.transform == "cubic":
            y = y.sign() * y.abs() ** (1 / 3)
        rest = math.exp(-2 * self.nats / self.dimension)  # 1 - ρ²
        own = self.correlation**2 * ((x * x).sum(1)[:, None] + (y * y).sum(1)[None])
        return self.nats - (own - 2 * self.correlation * x @ y.T) / (2 * rest)
