"""The base class of the decoders: what a likelihood is the sum of."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phylocli.core.alphabet import FIRST_RESIDUE
from phylocli.core.errors import UsageError

Tokens = npt.NDArray[np.uint8]


def full_precision(x: Tensor) -> Tensor:
    """Return x as float32, or as float64 if it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class SequenceDecoder(nn.Module):
    """A distribution q(x | z) over sequences x of 1 to `max_length` residues.

    A decoder may give part of its probability to longer sequences, as `aligned` does. Letters other than the alphabet's (X,
    ambiguous nucleotides) are missing data: their own step is summed over all letters. In a decoder that reads the letters
    before, as `autoregressive` does, later steps are given that such a letter is unknown.

    Args:
        latent: features Z of z.
        letters: number of letters K, whose tokens are `FIRST_RESIDUE` … `FIRST_RESIDUE` + K - 1.
        max_length: the largest number of residues.

    Attributes:
        draws: uniform random numbers that `sample` uses for one sequence.

    Raises:
        UsageError: a size below 1.
    """

    draws: int

    def __init__(self, latent: int, letters: int, max_length: int) -> None:
        super().__init__()
        if min(latent, letters, max_length) < 1:
            raise UsageError("a decoder needs at least one latent feature, one letter and a max_length of 1")
        self.latent, self.letters, self.max_length = latent, letters, max_length

    @abstractmethod
    def steps(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the log probability of each step in nats, (N, S), whose sum over S is log q(x | z); 0 where there is none.

        Args:
            z: (N, Z).
            tokens: (N, L) int64.
            mask: (N, L) bool, True on residues, which fill each row from the left; at least one a row.

        Raises:
            UsageError: L is larger than `max_length`.
        """

    @abstractmethod
    def sample(self, z: Tensor, uniform: Tensor, temperature: float = 1.0) -> list[Tokens]:
        """Return one sequence per row of z (N, Z), as tokens, each of (L,) uint8.

        Args:
            z: (N, Z).
            uniform: random numbers in [0, 1), (N, `draws`), see `uniform_numbers`. A sequence depends on its own row only.
            temperature: 1 samples from q; 0 takes the most probable outcome of each step and ignores the numbers.
        """

    def log_likelihood(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return log q(x | z) in nats, (N,); arguments as in `steps`."""
        return self.steps(z, tokens, mask).sum(1)

    def states(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the letter of each token, 0 … K - 1, and which tokens are known letters, both of the shape of `tokens`."""
        states = tokens - FIRST_RESIDUE
        known = (states >= 0) & (states < self.letters)
        return states.masked_fill(~known, 0), known

    def check_length(self, length: int) -> None:
        """Raise a UsageError if sequences of this length have no probability."""
        if length > self.max_length:
            raise UsageError(
                f"a sequence has {length} residues, but the decoder's max_length is {self.max_length}",
                fix="shorten or omit such sequences, or train with a larger decoder.max_length",
            )


class LengthModel(nn.Module):
    """A distribution over lengths 1 … `max_length`: a logistic density of the logarithm, normalised over them.

    Args:
        latent: features of z.
        max_length: the largest length.
    """

    log_lengths: Tensor

    def __init__(self, latent: int, max_length: int) -> None:
        super().__init__()
        self.parameters_of = nn.Linear(latent, 2)
        nn.init.zeros_(self.parameters_of.weight)
        with torch.no_grad():
            self.parameters_of.bias.copy_(torch.tensor([math.log(max_length) / 2, 0.0]))
        self.register_buffer("log_lengths", torch.arange(1, max_length + 1).double().log().float(), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """Return the log probabilities of the lengths 1 … `max_length`, (N, `max_length`), for z (N, Z)."""
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 does not tell neighbouring lengths apart
            location, log_scale = self.parameters_of(full_precision(z)).unsqueeze(2).unbind(1)
            distance = (self.log_lengths - location) * (-log_scale.clamp(-7, 7)).exp()
            return torch.log_softmax(-distance - 2 * nn.functional.softplus(-distance), dim=1)
