"""A gated recurrent unit that reads the residues so far: each residue depends on z and on all before it.

    q(x | z) = Π_i q(x_i | z, x_1 … x_{i-1}) · q(end | z, x)

As in the language-model decoder of Bowman et al. 2016 (arXiv 1511.06349). Such a decoder can predict residues from their
neighbours alone and ignore z; replacing some of the residues that it reads by a mask in training (`dropout`, their word
dropout) makes it use z. Sampling is sequential, one residue after the other for all sequences of a batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from phylocli.core.alphabet import BOS, FIRST_RESIDUE, MASK, VOCABULARY_SIZE
from phylocli.core.errors import UsageError
from phylocli.decoders.base.sampling import draw
from phylocli.decoders.base.sequence_decoder import SequenceDecoder, Tokens


class Decoder(SequenceDecoder):
    """A gated recurrent unit conditioned on z.

    Args:
        latent: features of z.
        letters: of the alphabet.
        max_length: the largest number of residues; a sequence that is as long ends there.
        width: features of the state.
        depth: number of layers.
        dropout: fraction of the preceding residues that are masked, in training only.

    Raises:
        UsageError: a size below 1, or a dropout that is not below 1.
    """

    def __init__(
        self, latent: int, *, letters: int, max_length: int = 1024, width: int = 256, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(latent, letters, max_length)
        if min(width, depth) < 1 or not 0 <= dropout < 1:
            raise UsageError("width and depth must be at least 1, and dropout at least 0 and below 1")
        self.draws = max_length + 1
        self.depth, self.width, self.dropout = depth, width, dropout
        self.embed = nn.Embedding(VOCABULARY_SIZE, width)
        self.condition = nn.Linear(latent, width)
        self.start = nn.Linear(latent, depth * width)
        self.reader = nn.GRU(width, width, depth, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.outcome = nn.Linear(width, letters + 1)  # the last one ends the sequence

    def steps(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the log probabilities of each residue and, after the last one, of the end, (N, L + 1)."""
        n, length = tokens.shape
        self.check_length(length)
        before = torch.cat([tokens.new_full((n, 1), BOS), tokens], dim=1)
        if self.training and self.dropout:
            masked = torch.rand(before.shape, device=z.device) < self.dropout
            before = torch.where(masked & (before != BOS), MASK, before)
        with torch.autocast(z.device.type, enabled=False):  # rounding errors accumulate over hundreds of steps
            hidden = self.reader(self._inputs(z, before), self._start(z))[0]
            log_probability = self._log_probability(hidden, torch.arange(length + 1, device=z.device))
        states, known = self.states(tokens)
        inside = log_probability[:, :-1]
        letter = inside.gather(2, states[..., None])[..., 0]
        any_letter = inside[..., :-1].logsumexp(2)  # a letter that is not known
        residues = torch.where(known, letter, any_letter).masked_fill(~mask, 0)
        ending = torch.arange(length + 1, device=z.device) == mask.sum(1, keepdim=True)
        end = log_probability[..., -1].masked_fill(~ending, 0)
        return nn.functional.pad(residues, (0, 1)) + end

    def _inputs(self, z: Tensor, before: Tensor) -> Tensor:
        return self.embed(before) + self.condition(z)[:, None]

    def _start(self, z: Tensor) -> Tensor:
        return self.start(z).view(len(z), self.depth, self.width).transpose(0, 1).tanh().contiguous()

    def _log_probability(self, hidden: Tensor, position: Tensor) -> Tensor:
        """Return the log probabilities of the outcomes, (N, S, K + 1), at positions (S,) counted from 0."""
        logits = self.outcome(self.norm(hidden))
        ends = torch.arange(self.letters + 1, device=logits.device) == self.letters
        first, last = (position == 0)[:, None], (position >= self.max_length)[:, None]
        return logits.masked_fill((first & ends) | (last & ~ends), torch.finfo(logits.dtype).min).log_softmax(2)

    @torch.no_grad()
    def sample(self, z: Tensor, uniform: Tensor, temperature: float = 1.0) -> list[Tokens]:
        """Return one sequence per row of z."""
        token = torch.full((len(z), 1), BOS, device=z.device)
        hidden = self._start(z)
        lengths = torch.full((len(z),), self.max_length, device=z.device)
        going = torch.ones(len(z), dtype=torch.bool, device=z.device)
        columns: list[Tensor] = []
        for i in range(self.max_length + 1):
            out, hidden = self.reader(self._inputs(z, token), hidden)
            position = torch.tensor([i], device=z.device)
            outcome = draw(self._log_probability(out, position)[:, 0], uniform[:, i], temperature)
            ended = going & (outcome == self.letters)
            lengths = torch.where(ended, i, lengths)
            going &= ~ended
            if not going.any():
                break
            token = (outcome.clamp(max=self.letters - 1) + FIRST_RESIDUE)[:, None]
            columns.append(token)
        if not columns:
            return []
        tokens = torch.cat(columns, dim=1).cpu().numpy().astype(np.uint8)
        return [row[:length] for row, length in zip(tokens, lengths.tolist(), strict=True)]
