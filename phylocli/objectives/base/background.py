"""A distribution of sequences that knows nothing of them but composition and length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.alphabet import AMINO_ACIDS

LONGEST = 8192
"""Lengths have a probability from 1 to this number of residues; longer sequences have that of the last."""


class Unigram(nn.Module):
    """log p(x) = log p(L) + Σ_i log p(x_i), with the frequencies of the sequences that were counted.

    Lengths and letters share one pseudocount each, so before any count both are uniform. The counts are buffers: they are
    part of every checkpoint. They are integers, since adding 1 to a float32 of 2²⁴ changes nothing.
    """

    letter_counts: Tensor
    length_counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("letter_counts", torch.zeros(len(AMINO_ACIDS), dtype=torch.int64))
        self.register_buffer("length_counts", torch.zeros(LONGEST, dtype=torch.int64))

    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        """Return log p(x) in nats, (N,), for letters (N, L), -1 where there is none or an unknown one, and lengths
        (N,)."""
        counts = (self.letter_counts, self.length_counts)
        by_letter, by_length = ((n + 1 / len(n)).log() - (n.sum() + 1).log() for n in counts)
        residues = by_letter[letters.clamp(min=0)].masked_fill(letters < 0, 0).sum(1)
        return residues + by_length[lengths.clamp(max=LONGEST) - 1]

    @torch.no_grad()
    def count(self, letters: Tensor, lengths: Tensor) -> None:
        """Add sequences to the counts."""
        known = (letters >= 0).long()
        self.letter_counts.index_add_(0, letters.clamp(min=0).flatten(), known.flatten())
        self.length_counts.index_add_(0, lengths.clamp(max=LONGEST) - 1, torch.ones_like(lengths))
