"""A categorical decoder (a classifier): the log probability of the label b given a."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.critics.base.decoder import Decoder
from phylocli.critics.base.layers import perceptron, quieten


class Critic(Decoder):
    """s(a, b) = log softmax(f(a)) · b for b one-hot (classes,), f a perceptron or linear.

    Args:
        dimension: features of a.
        hidden: features of the hidden layers; 0: a linear classifier (multinomial logistic regression).
        other: number of classes; 0: the number of features of a.
    """

    def __init__(self, dimension: int, *, hidden: int = 256, other: int = 0) -> None:
        super().__init__()
        classes = other or dimension
        layers = perceptron(dimension, hidden, classes) if hidden else nn.Sequential(nn.Linear(dimension, classes))
        quieten(layers[-1])  # initially independent of a: the decoder starts as the marginal
        self.decoder = layers
        self.frequency = nn.Parameter(torch.zeros(classes))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, classes): log probabilities (N, M)."""
        return torch.log_softmax(self.frequency + self.decoder(a), dim=1) @ b.T

    def marginal(self, b: Tensor) -> Tensor:
        """Return the learned log frequency of the labels b (M, classes), (M,): a decoder independent of a."""
        return b @ torch.log_softmax(self.frequency, dim=0)

    @torch.no_grad()
    def fit_marginal(self, b: Tensor) -> None:
        """Set the frequencies to those of the labels b (M, classes), with a pseudocount of one half per class."""
        self.frequency.copy_(((b.sum(0) + 0.5) / (len(b) + 0.5 * b.shape[1])).log())
