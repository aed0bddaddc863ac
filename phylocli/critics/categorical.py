"""A categorical decoder, that is a classifier: the log probability of the label b given a."""

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
        other: classes; 0: as many as a has features.
    """

    def __init__(self, dimension: int, *, hidden: int = 256, other: int = 0) -> None:
        super().__init__()
        classes = other or dimension
        layers = perceptron(dimension, hidden, classes) if hidden else nn.Sequential(nn.Linear(dimension, classes))
        quieten(layers[-1])  # at first a tells nothing, and the decoder is the marginal
        self.decoder = layers
        self.frequency = nn.Parameter(torch.zeros(classes))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, classes): log probabilities (N, M)."""
        return torch.log_softmax(self.frequency + self.decoder(a), dim=1) @ b.T

    def marginal(self, b: Tensor) -> Tensor:
        """Return the log frequency of the labels b (M, classes), (M,), as learned: the decoder that sees no a."""
        return b @ torch.log_softmax(self.frequency, dim=0)

    @torch.no_grad()
    def fit_marginal(self, b: Tensor) -> None:
        """Take the frequencies of the labels b (M, classes), half a label added to each so that none has none."""
        self.frequency.copy_(((b.sum(0) + 0.5) / (len(b) + 0.5 * b.shape[1])).log())
