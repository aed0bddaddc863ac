"""Two perceptrons and the dot product of their outputs."""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.critics.base.layers import perceptron


class Critic(nn.Module):
    """s(a, b) = g(a)ᵀ h(b) with perceptrons g and h (Poole et al. 2019, arXiv 1905.06922).

    Needs N + M evaluations of the perceptrons, regardless of the number of pairs.

    Args:
        dimension: features of a.
        hidden: features of the hidden layers.
        output: features of g(a) and h(b).
        other: features of b; 0: the same as a.
    """

    def __init__(self, dimension: int, *, hidden: int = 256, output: int = 32, other: int = 0) -> None:
        super().__init__()
        self.g = perceptron(dimension, hidden, output)
        self.h = perceptron(other or dimension, hidden, output)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M)."""
        return self.g(a) @ self.h(b).T
