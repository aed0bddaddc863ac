"""Upsampling convolutions: all residues at once, independent of each other given z and the length.

    q(x | z) = q(L | z) · Π_i q(x_i | z, L)

z becomes a short row of `grid` vectors, which is resized to L residues by linear interpolation and refined by the residual
blocks of the encoder `convolutional`. Resizing and then convolving avoids the checkerboard patterns of transposed
convolutions (Odena, Dumoulin & Olah 2016, doi:10.23915/distill.00003). Fast, and good at reconstruction; samples have no
correlations beyond those that z carries.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from phylocli.core.alphabet import FIRST_RESIDUE
from phylocli.core.errors import UsageError
from phylocli.decoders.base.sampling import draw
from phylocli.decoders.base.sequence_decoder import LengthModel, SequenceDecoder, Tokens, full_precision
from phylocli.encoders.base.batch import Layout
from phylocli.encoders.convolutional import Block


class Decoder(SequenceDecoder):
    """Upsampling convolutions.

    Args:
        latent: features of z.
        letters: of the alphabet.
        max_length: the largest number of residues.
        width: features of a residue.
        depth: number of blocks.
        kernel: number of residues that a block takes as input, odd.
        max_dilation: the dilations are 1, 2, 4, … up to this, then start again.
        grid: vectors before upsampling.

    Raises:
        UsageError: an even kernel, or a size below 1.
    """

    HARMONICS = 8  # of the position within a cell of the grid

    def __init__(
        self,
        latent: int,
        *,
        letters: int,
        max_length: int = 1024,
        width: int = 128,
        depth: int = 4,
        kernel: int = 5,
        max_dilation: int = 8,
        grid: int = 16,
    ) -> None:
        super().__init__(latent, letters, max_length)
        if kernel % 2 == 0 or min(width, depth, kernel, max_dilation, grid) < 1:
            raise UsageError("the kernel must be odd, and width, depth, max_dilation and grid at least 1")
        self.draws = 1 + max_length
        self.grid, self.width = grid, width
        self.length = LengthModel(latent, max_length)
        self.cells = nn.Linear(latent, grid * width)
        self.position = nn.Linear(2 * self.HARMONICS + 2, width, bias=False)
        cycle = max_dilation.bit_length()
        self.blocks = nn.ModuleList(Block(width, width, kernel, 2 ** (i % cycle), depth) for i in range(depth))
        self.norm = nn.LayerNorm(width)
        self.residue = nn.Linear(width, letters)

    def steps(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the log probabilities of the length and of each residue, (N, 1 + L)."""
        self.check_length(tokens.shape[1])
        length = self.length(z).gather(1, mask.sum(1, keepdim=True) - 1)
        states, known = self.states(tokens)
        chosen = self.logits(z, mask).log_softmax(2).gather(2, states[..., None])[..., 0]
        return torch.cat([length, chosen.masked_fill(~(known & mask), 0)], dim=1)

    def logits(self, z: Tensor, mask: Tensor) -> Tensor:
        """Return the logits of the letters at each residue, (N, L, K), for lengths given by the mask (N, L)."""
        layout = Layout(mask)
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 does not tell neighbouring residues apart
            x = self._resized(full_precision(z), layout)
        for block in self.blocks:
            x = block(x, layout)
        with torch.autocast(z.device.type, enabled=False):
            return layout.unflatten(self.residue(self.norm(x)))

    def _resized(self, z: Tensor, layout: Layout) -> Tensor:
        """Return the cells of the grid, resized to the length of each sequence, and positions, (T, width)."""
        cells = self.cells(z).view(-1, self.width)
        position = layout.position.to(cells.dtype)
        from_end = (layout.length - layout.position).clamp(min=1).to(cells.dtype)  # of padding: any finite number
        relative = (position + 0.5) / layout.length.clamp(min=1)  # of each residue, 0 to 1
        place = (relative * self.grid - 0.5).clamp(0, self.grid - 1)
        left = place.floor().long()
        right = (left + 1).clamp(max=self.grid - 1)
        sequence = torch.arange(layout.batch, device=z.device)[:, None].expand(layout.batch, layout.width)
        row = layout.flatten(sequence) * self.grid
        x = torch.lerp(cells.index_select(0, row + left), cells.index_select(0, row + right), (place - left)[:, None])
        wave = torch.arange(1, self.HARMONICS + 1, device=z.device) * (2 * math.pi * relative * self.grid)[:, None]
        ends = torch.stack([position + 1, from_end], dim=1).log()
        return x + self.position(torch.cat([wave.sin(), wave.cos(), ends], dim=1))

    @torch.no_grad()
    def sample(self, z: Tensor, uniform: Tensor, temperature: float = 1.0) -> list[Tokens]:
        """Return one sequence per row of z."""
        if not len(z):
            return []
        lengths = draw(self.length(z), uniform[:, 0], temperature) + 1
        most = int(lengths.max())
        mask = torch.arange(most, device=z.device) < lengths[:, None]
        states = draw(self.logits(z, mask), uniform[:, 1 : 1 + most], temperature)
        tokens = (states + FIRST_RESIDUE).cpu().numpy().astype(np.uint8)
        return [row[:length] for row, length in zip(tokens, lengths.tolist(), strict=True)]
