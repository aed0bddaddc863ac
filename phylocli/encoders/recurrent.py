"""Gated recurrent units reading in both directions (CPCProt's line).

Each layer normalises, reads the sequence with one GRU (Cho et al. 2014, arXiv 1406.1078) from either end, and adds what
they say, side by side, to the stream. CPCProt (Lu et al. 2020, doi:10.1101/2020.09.04.283929) reads in one direction,
because it predicts what comes next; an embedding may look both ways. Steps follow each other, so it is slow for its
size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from phylocli.alphabet import VOCABULARY_SIZE
from phylocli.encoders._recompute import through
from phylocli.errors import UsageError

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 64, "depth": 2},  # 0.04 M parameters
    "small": {"width": 192, "depth": 4},  # 0.7 M
    "medium": {"width": 512, "depth": 5},  # 5.9 M
    "large": {"width": 1024, "depth": 8},  # 38 M
}


class Encoder(nn.Module):
    """Stacked bidirectional GRUs with residual connections.

    Args:
        width: features D of a residue, even: half from each direction.
        depth: number of layers.
        dropout: share of features zeroed after the token embedding and before the last normalisation, in training only.

    Raises:
        UsageError: an odd width, or a size below 1.
    """

    PRESETS = PRESETS
    recompute = False  # activations are computed again in the backward pass, layer by layer

    def __init__(self, *, width: int = 192, depth: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if width % 2 or min(width, depth) < 1:
            raise UsageError("the width must be even, and width and depth at least 1")
        self.dimension = width
        self.depth = depth
        self.embed = nn.Embedding(VOCABULARY_SIZE, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.readers = nn.ModuleList(nn.GRU(width, width // 2, batch_first=True, bidirectional=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    @property
    def blocks(self) -> nn.ModuleList:
        """Where nearly all weights are."""
        return self.readers

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues; arguments and result as in `convolutional`."""
        # Packed, so that the reading from the right starts at each sequence's own end.
        lengths = mask.sum(1).clamp(min=1).cpu()
        with torch.autocast(tokens.device.type, enabled=False):  # the recurrence adds up rounding over hundreds of steps
            x = self.dropout(self.embed(tokens))
            for norm, reader in list(zip(self.norms, self.readers, strict=True))[:layer]:
                x = through(_read, x, lengths, norm, reader, recompute=self.recompute)
            return self.norm(self.dropout(x))


def _read(x: Tensor, lengths: Tensor, norm: nn.Module, reader: nn.Module) -> Tensor:
    """Return the stream (N, L, width) after a layer."""
    packed = pack_padded_sequence(norm(x), lengths, batch_first=True, enforce_sorted=False)
    return x + pad_packed_sequence(reader(packed)[0], batch_first=True, total_length=x.shape[1])[0]
