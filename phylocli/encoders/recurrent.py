"""Bidirectional gated recurrent units (as in CPCProt).

Each layer normalises, reads the sequence with one GRU (Cho et al. 2014, arXiv 1406.1078) per direction, and adds the
concatenated outputs to the residual stream. CPCProt (Lu et al. 2020, doi:10.1101/2020.09.04.283929) reads in one direction,
because it predicts the following residues; an embedding may use both. The recurrence is sequential, so this encoder is slow
for its size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from phylocli.core.alphabet import VOCABULARY_SIZE
from phylocli.core.errors import UsageError
from phylocli.encoders.base.activation_checkpointing import checkpointed

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"width": 64, "depth": 2},  # 0.04 M parameters
    "small": {"width": 192, "depth": 4},  # 0.7 M
    "medium": {"width": 512, "depth": 5},  # 5.9 M
    "large": {"width": 1024, "depth": 8},  # 38 M
}


class Reader(nn.Module):
    """One GRU per direction, outputs concatenated.

    Padding follows the residues in both directions, so it has no influence, and the host needs to know no length.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.forwards = nn.GRU(width, width // 2, batch_first=True)
        self.backwards = nn.GRU(width, width // 2, batch_first=True)
        self.register_load_state_dict_pre_hook(_from_one_module)

    def forward(self, x: Tensor, mirrored: Tensor) -> Tensor:
        """Return (N, L, width) from x (N, L, width); `mirrored` (N, L) is the position of each residue from the other
        end."""
        turned = mirrored[..., None]
        back = self.backwards(x.gather(1, turned.expand_as(x)))[0]
        return torch.cat([self.forwards(x)[0], back.gather(1, turned.expand_as(back))], dim=2)


def _from_one_module(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Convert weights of models of version 0.1, where both directions were one bidirectional GRU."""
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        if f"{prefix}{name}" in state:
            state[f"{prefix}forwards.{name}"] = state.pop(f"{prefix}{name}")
            state[f"{prefix}backwards.{name}"] = state.pop(f"{prefix}{name}_reverse")


class Encoder(nn.Module):
    """Stacked bidirectional GRUs with residual connections.

    Args:
        width: features D of a residue, even: half from each direction.
        depth: number of layers.
        dropout: fraction of features zeroed after the token embedding and before the last normalisation, in training only.

    Raises:
        UsageError: an odd width, or a size below 1.
    """

    PRESETS = PRESETS
    activation_checkpointing = False  # layer by layer

    def __init__(self, *, width: int = 192, depth: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if width % 2 or min(width, depth) < 1:
            raise UsageError("the width must be even, and width and depth at least 1")
        self.dimension = width
        self.depth = depth
        self.embed = nn.Embedding(VOCABULARY_SIZE, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.readers = nn.ModuleList(Reader(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, which contain nearly all weights."""
        return self.readers

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues; arguments and result as in `convolutional`."""
        place, lengths = torch.arange(tokens.shape[1], device=tokens.device), mask.sum(1, keepdim=True)
        mirrored = torch.where(mask, lengths - 1 - place, place)  # (N, L): positions from the end; padding unchanged
        with torch.autocast(tokens.device.type, enabled=False):  # rounding errors accumulate over hundreds of steps
            x = self.dropout(self.embed(tokens))
            for norm, reader in list(zip(self.norms, self.readers, strict=True))[:layer]:
                x = checkpointed(_read, x, mirrored, norm, reader, enabled=self.activation_checkpointing)
            return self.norm(self.dropout(x))


def _read(x: Tensor, mirrored: Tensor, norm: nn.Module, reader: nn.Module) -> Tensor:
    """Return the residual stream (N, L, width) after a layer."""
    return x + reader(norm(x), mirrored)
