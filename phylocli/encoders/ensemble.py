"""Convolutional encoders side by side, as a deep ensemble: the residue vectors of all of them, concatenated.

Networks of one architecture that were trained from different initial weights make different errors (Hansen & Salamon 1990,
doi:10.1109/34.58871; Lakshminarayanan, Pritzel & Blundell 2017, arXiv 1612.01474). Averages of their predictions are better
than those of each. Vectors are concatenated, so the dot product of two sequences is the sum of the members' (and the cosine
gives members with longer vectors more weight, until a whitening is fitted). Members can be trained on different machines at
different times: `phylocli.models.ensemble` joins them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.alphabet import VOCABULARY_SIZE
from phylocli.core.errors import UsageError
from phylocli.encoders import convolutional
from phylocli.encoders.base.activation_checkpointing import checkpointed

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"members": 2, **convolutional.PRESETS["tiny"]},  # 0.2 M parameters
    "small": {"members": 2, "width": 96, "hidden": 96, "depth": 6, "kernel": 5, "max_dilation": 32},  # 0.7 M
    "medium": {"members": 4, "width": 192, "hidden": 192, "depth": 8, "kernel": 5, "max_dilation": 16},  # 7.1 M
    "large": {"members": 4, "width": 320, "hidden": 320, "depth": 16, "kernel": 5, "max_dilation": 128},  # 39 M
}


class Encoder(nn.Module):
    """Dilated residual convolutions, several times.

    Args:
        members: number of encoders M; the vector of a residue has M · width features.
        width, hidden, depth, kernel, max_dilation, dropout: of each of them, as in `convolutional`.
        vocabulary: number of tokens.
        inputs: numbers per position, in place of tokens; 0: tokens.

    Raises:
        UsageError: no member, an even kernel, or a size below 1.
    """

    PRESETS = PRESETS
    activation_checkpointing = False  # member by member

    def __init__(
        self,
        *,
        members: int = 2,
        width: int = 128,
        hidden: int = 128,
        depth: int = 6,
        kernel: int = 5,
        max_dilation: int = 32,
        dropout: float = 0.0,
        vocabulary: int = VOCABULARY_SIZE,
        inputs: int = 0,
    ) -> None:
        super().__init__()
        if members < 1:
            raise UsageError(f"an ensemble cannot have {members} members", fix="give at least one")
        self.members = nn.ModuleList(
            convolutional.Encoder(
                width=width,
                hidden=hidden,
                depth=depth,
                kernel=kernel,
                max_dilation=max_dilation,
                dropout=dropout,
                vocabulary=vocabulary,
                inputs=inputs,
            )
            for _ in range(members)
        )
        self.dimension = members * width
        self.depth = depth

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks of all members, which training can shard one by one."""
        return [block for member in self.members for block in member.blocks]  # type: ignore[union-attr]

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues; arguments and result as in `convolutional`."""
        enabled = self.activation_checkpointing
        return torch.cat([checkpointed(member, tokens, mask, layer, enabled=enabled) for member in self.members], dim=-1)
