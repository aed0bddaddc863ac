"""Dilated convolutions with interspersed attention blocks: local patterns and their context.

The convolutions are those of `convolutional`, the attention is that of `transformer`. The convolutions encode positions, so
few attention blocks suffice.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.alphabet import VOCABULARY_SIZE
from phylocli.core.errors import UsageError
from phylocli.encoders import convolutional, transformer
from phylocli.encoders.base.activation_checkpointing import checkpointed
from phylocli.encoders.base.batch import Layout

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"width": 64, "depth": 3, "heads": 4},  # 0.1 M parameters
    "small": {"width": 128, "depth": 6, "heads": 4},  # 0.8 M
    "medium": {"width": 320, "depth": 9, "heads": 10},  # 7.4 M
    "large": {"width": 512, "depth": 18, "heads": 8},  # 38 M
}


class Encoder(nn.Module):
    """Alternating convolutions and attention.

    Args:
        width: features D of a residue.
        depth: number of blocks of both kinds.
        every: every n-th block is attention.
        heads: attention heads; width / heads must be even.
        kernel: number of residues that a convolution takes as input, odd.
        max_dilation: the dilations of the convolutions are 1, 2, 4, … up to this, then start again.
        dropout: fraction of features zeroed after the token embedding and before the last normalisation, in training only.

    Raises:
        UsageError: an even kernel, a size below 1, or a width that cannot be divided among the heads.
    """

    PRESETS = PRESETS
    activation_checkpointing = False  # block by block

    def __init__(
        self,
        *,
        width: int = 128,
        depth: int = 6,
        every: int = 3,
        heads: int = 4,
        kernel: int = 5,
        max_dilation: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or min(width, depth, every, heads, kernel, max_dilation) < 1:
            raise UsageError("the kernel must be odd, and all other sizes at least 1")
        self.dimension = width
        self.depth = depth
        self.features = width // heads
        self.embed = nn.Embedding(VOCABULARY_SIZE, width)
        cycle = max_dilation.bit_length()
        blocks: list[nn.Module] = []
        convolutions = 0
        for i in range(depth):
            if (i + 1) % every == 0:
                blocks.append(transformer.Block(width, heads, 4 * width, depth))
            else:
                blocks.append(convolutional.Block(width, width, kernel, 2 ** (convolutions % cycle), depth))
                convolutions += 1
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues; arguments and result as in `convolutional`."""
        layout = Layout(mask)
        positions = transformer.rotary(tokens.shape[1], self.features, tokens.device)
        x = self.dropout(self.embed(layout.flatten(tokens)))
        for block in list(self.blocks)[:layer]:
            further = (mask, positions) if isinstance(block, transformer.Block) else ()
            x = checkpointed(block, x, layout, *further, enabled=self.activation_checkpointing)
        return layout.unflatten(self.norm(self.dropout(x)))
