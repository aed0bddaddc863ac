"""Dilated residual convolutions (as in ByteNet and CARP): fast, linear in length.

Each block normalises, takes `kernel` residues spaced `dilation` apart, and adds its result to the residual stream:

    x ← x + W₂ · gelu(W₁ · [h(t - 2d) … h(t) … h(t + 2d)] + b₁) + b₂,   h = LayerNorm(x)

with the dilations 1, 2, 4, … repeating in cycles. This is ByteNet's residual block (Kalchbrenner et al. 2016, arXiv
1610.10099) as used by CARP for proteins (Yang, Fusi & Lu 2024, doi:10.1016/j.cels.2024.01.008), with the convolution and the
expansion merged into one wide product: two large matrix products per block instead of three narrow ones, and a third of the
normalisations, which is faster on CPUs. The convolution is a gather of shifted rows and one matrix product, on residues
only, so padding costs nothing. In training on a CPU it is done piece by piece (`base/convolution.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.alphabet import VOCABULARY_SIZE
from phylocli.core.errors import UsageError
from phylocli.encoders.base.activation_checkpointing import checkpointed
from phylocli.encoders.base.batch import Layout
from phylocli.encoders.base.convolution import residual_block
from phylocli.encoders.base.inputs import input_layer

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"width": 64, "hidden": 64, "depth": 4, "kernel": 5, "max_dilation": 8},  # 0.1 M parameters
    "small": {"width": 128, "hidden": 128, "depth": 6, "kernel": 5, "max_dilation": 32},  # 0.6 M
    "medium": {"width": 320, "hidden": 320, "depth": 10, "kernel": 5, "max_dilation": 16},  # 6.2 M
    "large": {"width": 640, "hidden": 640, "depth": 16, "kernel": 5, "max_dilation": 128},  # 39 M
}


class Block(nn.Module):
    """One residual block on flat residues (T, width)."""

    def __init__(self, width: int, hidden: int, kernel: int, dilation: int, depth: int) -> None:
        super().__init__()
        self.offsets = tuple((tap - kernel // 2) * dilation for tap in range(kernel))
        self.norm = nn.LayerNorm(width)
        self.look = nn.Linear(kernel * width, hidden)
        self.back = nn.Linear(hidden, width)
        # Keeps the variance of the residual stream near 1 at any depth.
        nn.init.normal_(self.back.weight, std=(hidden * depth) ** -0.5)
        nn.init.zeros_(self.back.bias)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Return the residual stream (T, width) after this block."""
        if layout.rows is not None and torch.is_grad_enabled():
            return residual_block(x, self.norm, self.look, self.back, layout.neighbours(self.offsets))
        h = self.norm(x)
        if torch.is_autocast_enabled(h.device.type):
            h = h.to(torch.get_autocast_dtype(h.device.type))  # halves the memory traffic of the gather
        h = F.pad(h, (0, 0, 0, 1))  # row T: positions beyond the ends of a sequence
        taps = F.embedding(layout.neighbours(self.offsets), h, padding_idx=len(layout))
        return x + self.back(F.gelu(self.look(taps.flatten(1))))


class Encoder(nn.Module):
    """Dilated residual convolutions.

    Args:
        width: features D of a residue.
        hidden: features inside a block.
        depth: number of blocks.
        kernel: number of residues that a block takes as input, odd.
        max_dilation: the dilations are 1, 2, 4, … up to this, then start again.
        dropout: fraction of features zeroed after the token embedding and before the last normalisation, in training only.
        vocabulary: number of tokens.
        inputs: numbers per position, in place of tokens; 0: tokens.

    Raises:
        UsageError: an even kernel, or a size below 1.
    """

    PRESETS = PRESETS
    activation_checkpointing = False  # block by block

    def __init__(
        self,
        *,
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
        if kernel % 2 == 0 or min(width, hidden, depth, kernel, max_dilation) < 1:
            raise UsageError("the kernel must be odd, and width, hidden, depth and max_dilation at least 1")
        self.dimension = width
        self.depth = depth
        self.embed = input_layer(width, vocabulary, inputs)
        cycle = max_dilation.bit_length()
        self.blocks = nn.ModuleList(Block(width, hidden, kernel, 2 ** (i % cycle), depth) for i in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues.

        Args:
            tokens: (N, L) int64.
            mask: (N, L) bool, True on residues, which fill each row from the left.
            layer: stop after this many blocks, 0 … depth; None is all of them.

        Returns:
            (N, L, D); the rows of a sequence do not depend on the rest of the batch. Rows of padding are undefined.
        """
        layout = Layout(mask)
        x = self.dropout(self.embed(layout.flatten(tokens)))
        for block in list(self.blocks)[:layer]:
            x = checkpointed(block, x, layout, enabled=self.activation_checkpointing)
        return layout.unflatten(self.norm(self.dropout(x)))
