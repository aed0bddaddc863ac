"""Transformer with rotary position embeddings and fused attention.

Pre-normalised blocks (Xiong et al. 2020, arXiv 2002.04745): attention with rotary position embeddings (Su et al. 2021, arXiv
2104.09864), then a perceptron. Attention uses PyTorch's fused kernels on padded rows; all else is computed on residues only.
Time and, without a fused kernel, memory are quadratic in the length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.alphabet import VOCABULARY_SIZE
from phylocli.core.errors import UsageError
from phylocli.encoders.base.activation_checkpointing import checkpointed
from phylocli.encoders.base.batch import Layout
from phylocli.encoders.base.inputs import input_layer

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"width": 64, "depth": 2, "heads": 4},  # 0.1 M parameters
    "small": {"width": 128, "depth": 4, "heads": 4},  # 0.8 M
    "medium": {"width": 320, "depth": 6, "heads": 10},  # 7.4 M
    "large": {"width": 512, "depth": 12, "heads": 8},  # 38 M
}


def rotary(length: int, features: int, device: torch.device, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary embeddings of positions 0 … length - 1, each (length, features / 2),
    float32."""
    rate = base ** (-torch.arange(0, features, 2, device=device, dtype=torch.float32) / features)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rate
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Return x (…, L, features) with the two halves of its features rotated as pairs by the angles of each position."""
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned.to(x.dtype)


class Block(nn.Module):
    """Attention and perceptron on flat residues (T, width)."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise UsageError(
                f"{width} features cannot be split among {heads} heads of an even size",
                fix="give a width that is a multiple of twice the number of heads",
            )
        self.heads = heads
        self.norm, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        for last, inputs in ((self.merge, width), (self.down, hidden)):
            nn.init.normal_(last.weight, std=(2 * inputs * depth) ** -0.5)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, layout: Layout, mask: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
        """Return the residual stream (T, width) after this block; mask is (N, L), positions as returned by `rotary`."""
        n, length = mask.shape
        split = layout.unflatten(self.query_key_value(self.norm(x))).view(n, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (N, heads, L, features)
        query, key = rotate(query, *positions), rotate(key, *positions)
        seen = mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.merge(layout.flatten(attended.transpose(1, 2).reshape(n, length, -1)))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Encoder(nn.Module):
    """Transformer.

    Args:
        width: features D of a residue.
        depth: number of blocks.
        heads: attention heads; width / heads must be even.
        expansion: features inside the perceptron, as a multiple of width.
        dropout: fraction of features zeroed after the token embedding and before the last normalisation, in training only.
        vocabulary: number of tokens.
        inputs: numbers per position, in place of tokens; 0: tokens.

    Raises:
        UsageError: the width cannot be divided among the heads.
    """

    PRESETS = PRESETS
    activation_checkpointing = False  # block by block

    def __init__(
        self,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        expansion: float = 4.0,
        dropout: float = 0.0,
        vocabulary: int = VOCABULARY_SIZE,
        inputs: int = 0,
    ) -> None:
        super().__init__()
        if min(width, depth, heads) < 1 or expansion <= 0:
            raise UsageError("width, depth and heads must be at least 1, and the expansion above 0")
        self.dimension = width
        self.depth = depth
        self.features = width // heads
        self.embed = input_layer(width, vocabulary, inputs)
        self.blocks = nn.ModuleList(Block(width, heads, int(expansion * width), depth) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues; arguments and result as in `convolutional`."""
        layout = Layout(mask)
        positions = rotary(tokens.shape[1], self.features, tokens.device)
        x = self.dropout(self.embed(layout.flatten(tokens)))
        for block in list(self.blocks)[:layer]:
            x = checkpointed(block, x, layout, mask, positions, enabled=self.activation_checkpointing)
        return layout.unflatten(self.norm(self.dropout(x)))
