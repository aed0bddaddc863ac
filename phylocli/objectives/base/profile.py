"""A background of the profiles of families: each sequence has the probability that its own family's profile HMM gives it.

Matches M_1 … M_M emit residues with the weighted frequencies of the family's alignment, insertions those of all families,
and deletions are silent. Half of the sequences begin at the first match and half end after the last one, others anywhere,
because views are often crops. The probabilities of insertions and deletions are constants. log p(x) is the sum over all
paths, by the forward algorithm; the probabilities of all sequences sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phylocli.core.alphabet import AMINO_ACIDS, FIRST_RESIDUE, MISSING, UNKNOWN
from phylocli.core.errors import UsageError
from phylocli.views.pssm import position_weights

INSERT_OPEN, INSERT_EXTEND, DELETE_OPEN, DELETE_EXTEND = 0.02, 0.4, 0.02, 0.5
PSEUDOCOUNT = 1.0
"""Sequences of the mean composition of all families, added to each column."""


def match_states(tokens: Sequence[npt.NDArray[np.uint8]], columns: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.uint8]:
    """Return the residues of members at the match columns of their family, (members, M): 0–19, 20 for a gap.

    Args:
        tokens: of each member.
        columns: match column of each residue, or −1 for an insertion.
    """
    widest = max((int(at.max(initial=-1)) for at in columns), default=-1) + 1
    states = np.full((len(tokens), widest), MISSING, dtype=np.uint8)
    for row, (letters, at) in enumerate(zip(tokens, columns, strict=True)):
        inside = (at >= 0) & (letters >= FIRST_RESIDUE) & (letters < UNKNOWN)
        states[row, at[inside]] = letters[inside] - FIRST_RESIDUE
    return states


class FamilyProfiles(nn.Module):
    """log p(x | family) for the families of a corpus. Without weights: nothing is part of a checkpoint.

    Args:
        alignments: residues at the match states of the members of each family, (members, M) each: 0–19, 20 for a gap.

        labels: of the families, for messages.

    Raises:
        UsageError: a family has no match state with a residue.
    """

    emissions: Tensor
    inserted: Tensor
    matches: Tensor

    def __init__(self, alignments: Sequence[npt.NDArray[np.uint8]], labels: Sequence[str] = ()) -> None:
        super().__init__()
        letters = len(AMINO_ACIDS)
        total = np.bincount(np.concatenate([states.ravel() for states in alignments]), minlength=letters + 1)[:letters] + 1.0
        mean = total / total.sum()
        widest = max(states.shape[1] for states in alignments)
        emissions = np.zeros((len(alignments), widest, letters), dtype=np.float32)
        for code, states in enumerate(alignments):
            if not (states != MISSING).any():
                raise UsageError(
                    f"{labels[code] if labels else 'a family'} has no match column with a residue, so it has no profile",
                    why="a match column has residues in most members, and no member of training has one there",
                    fix="align the family, or leave it out, or set decoder.background=unigram",
                )
            weights = position_weights(states) * len(states)
            counts = np.stack([weights @ (states == letter) for letter in range(letters)], axis=1) + PSEUDOCOUNT * mean
            emissions[code, : states.shape[1]] = counts / counts.sum(1, keepdims=True)
        tables = {
            "emissions": emissions,
            "inserted": mean.astype(np.float32),
            "matches": np.array([states.shape[1] for states in alignments]),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    @torch.no_grad()
    def forward(self, letters: Tensor, lengths: Tensor, family: Tensor) -> Tensor:
        """Return log p(x) in nats, (N,), for letters (N, L), -1 where there is none or an unknown one, lengths and family
        codes (N,). An unknown letter stands for any of the twenty: its probability is 1."""
        m = self.matches[family]
        widest = int(m.max())
        emissions = self.emissions[family, :widest]
        place = torch.arange(widest, device=family.device)
        exists = (place < m[:, None]).float()
        begin = 0.5 * exists / m[:, None] + 0.5 * (place == 0)
        stop = (1 - 0.5 ** (1 / m))[:, None] * exists  # half of the sequences go on at every match to the last
        move = _moves(widest, family.device)
        here = torch.cat([begin, torch.zeros_like(begin)], dim=1)
        state = torch.arange(2 * widest, device=family.device) % widest
        inside = (state < m[:, None]).float()
        total = letters.new_zeros(len(letters), dtype=torch.float32)
        ended = torch.zeros_like(total)
        stays = torch.cat([1 - stop, torch.ones_like(stop)], dim=1)
        for t in range(letters.shape[1]):
            letter = letters[:, t]
            unknown = (letter < 0)[:, None]
            index = letter.clamp(min=0)
            matched = emissions.gather(2, index[:, None, None].expand(-1, widest, 1))[..., 0]
            emitted = torch.cat([matched, self.inserted[index][:, None].expand_as(matched)], dim=1)
            here = here * emitted.masked_fill(unknown, 1) * inside
            scale = here.sum(1)
            present = lengths > t
            total = total + scale.log().masked_fill(~present, 0)
            here = here / scale[:, None].clamp(min=1e-30)
            onward = ((here * stays) @ move) * inside
            last = lengths == t + 1
            ended = ended + (1 - onward.sum(1)).clamp(min=1e-30).log().masked_fill(~last, 0)
            here = onward
        return total + ended


def _moves(m: int, device: torch.device) -> Tensor:
    """Return the probabilities of the next emitting state, (2M, 2M), of matches and then insertions; the rest is the end.

    They are the same for profiles of all lengths: what moves beyond the last match of a shorter one has ended.
    """
    place = torch.arange(m, device=device)
    step = place[None] - place[:, None]
    skipped = DELETE_OPEN * (1 - DELETE_EXTEND) * DELETE_EXTEND ** (step - 2).clamp(min=0).float()
    matched = (1 - INSERT_OPEN) * (skipped * (step >= 2) + (1 - DELETE_OPEN) * (step == 1))
    inserts = torch.eye(m, device=device)
    back = (1 - INSERT_EXTEND) * (step == 1).float()
    return torch.cat([torch.cat([matched, INSERT_OPEN * inserts], dim=1), torch.cat([back, INSERT_EXTEND * inserts], dim=1)])
