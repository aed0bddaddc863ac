"""A profile HMM whose match states depend on z: insertions and deletions are summed over, no alignment is needed.

    q(x | z) = Σ over paths π of Π q(π_t | π_{t-1}) · q(x_t | π_t, z)

The states are those of a family's alignment, M matches M_1 … M_M with an insertion I_k after each; deletions are silent. z
decides the emissions of the matches, where a sequence begins and where it ends (so that fragments are likely, too);
insertions and deletions have probabilities of their own at each state. This is the structured observation distribution of
Weinstein & Marks 2021 (MuE; Proceedings of ICML, PMLR 139:11068) on the profile HMM of Krogh et al. 1994
(doi:10.1006/jmbi.1994.1104). The sum is the forward algorithm, scaled at each residue; the factors of the scale are the
steps of the likelihood. For one family, or for several of one architecture.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.alphabet import AMINO_ACIDS, FIRST_RESIDUE
from phylocli.core.errors import BadInputError, UsageError
from phylocli.decoders.base.sampling import draw
from phylocli.decoders.base.sequence_decoder import SequenceDecoder, Tokens, full_precision
from phylocli.formats.hmm import read_hmms


class Paths(NamedTuple):
    """The probabilities of paths; states are M_1 … M_M, I_1 … I_M.

    Attributes:
        begin: of the first state, a match, (N, M).
        stay: of not ending after a match by the choice of z, (N, M).
        move: of the next emitting state after that, (2M, 2M).
        end: of no further emitting state after that, (2M,); a row of `move` and its `end` sum to 1.
    """

    begin: Tensor
    stay: Tensor
    move: Tensor
    end: Tensor


class Decoder(SequenceDecoder):
    """A profile HMM conditioned on z.

    Args:
        latent: features of z.
        letters: of the alphabet.
        max_length: a sampled sequence that is as long is cut there.
        match_states: M.
        hidden: features between z and the emissions.
        profile: a file with a HMMER3 profile that gives M, and the initial emissions and probabilities; only read once.

    Raises:
        UsageError: a size below 1, or a profile for nucleotides.
        BadInputError: the profile cannot be read.
    """

    def __init__(
        self,
        latent: int,
        *,
        letters: int,
        max_length: int = 1024,
        match_states: int = 128,
        hidden: int = 64,
        profile: str = "",
    ) -> None:
        super().__init__(latent, letters, max_length)
        hmm = None
        if profile:
            hmm = next(read_hmms(profile), None)
            if hmm is None:
                raise BadInputError(f"{profile} contains no profile", fix="name a file of hmmbuild")
            if letters != len(AMINO_ACIDS):
                raise UsageError("decoder.profile is of proteins", fix="use decoder.match_states for nucleotides")
            match_states = hmm.M
        if min(match_states, hidden) < 1:
            raise UsageError("match_states and hidden must be at least 1")
        self.draws = 2 * max_length
        self.match_states, self.hidden = match_states, hidden
        emissions = nn.Linear(hidden, match_states * letters)
        self.shift = nn.Sequential(nn.Linear(latent, hidden), nn.GELU(), emissions)
        self.match = nn.Parameter(torch.zeros(match_states, letters))
        self.insertion = nn.Parameter(torch.zeros(letters))
        self.begin = nn.Linear(latent, match_states)
        self.stop = nn.Linear(latent, match_states)
        for name, logit in (("insert_open", -4.0), ("insert_extend", -0.5), ("delete_open", -4.0), ("delete_extend", -0.5)):
            self.register_parameter(name, nn.Parameter(torch.full((match_states,), logit)))
        with torch.no_grad():
            for layer in (self.begin, self.stop):
                nn.init.zeros_(layer.weight)
            self.begin.bias.zero_()
            self.begin.bias[0] = float(np.log(match_states))  # half of the sequences begin at the first match
            self.stop.bias.fill_(-4.0)
            nn.init.normal_(emissions.weight, std=0.1 * hidden**-0.5)
            nn.init.zeros_(emissions.bias)
            if hmm is not None:
                self._start_from(hmm)

    @property
    def description(self) -> dict[str, int | str]:
        """The parameters that build it again without the profile."""
        return {"max_length": self.max_length, "match_states": self.match_states, "hidden": self.hidden}

    def _start_from(self, hmm: Any) -> None:
        emissions = np.asarray(hmm.match_emissions)[1:]
        self.match.copy_(torch.from_numpy(emissions.copy()).clamp(min=1e-4).log())
        inserted = np.asarray(hmm.insert_emissions)[1:].mean(0)
        self.insertion.copy_(torch.from_numpy(inserted).clamp(min=1e-4).log())
        # HMMER's order: M→M, M→I, M→D, I→M, I→I, D→M, D→D.
        moves = torch.from_numpy(np.asarray(hmm.transition_probabilities)[1:].copy()).clamp(1e-4, 1 - 1e-4)
        self.get_parameter("insert_open").copy_(moves[:, 1].logit())
        self.get_parameter("delete_open").copy_((moves[:, 2] / (1 - moves[:, 1])).clamp(1e-4, 1 - 1e-4).logit())
        self.get_parameter("insert_extend").copy_(moves[:, 4].logit())
        # HMMER's node k has D_k→D_{k+1}, and `delete_extend` of a state has the probability of entering its deletion.
        self.get_parameter("delete_extend")[1:] = moves[:-1, 6].logit()

    def emissions(self, z: Tensor) -> Tensor:
        """Return the log probabilities of the letters at each match, (N, M, K)."""
        return (self.match + self.shift(z).view(len(z), *self.match.shape)).log_softmax(2)

    def paths(self, z: Tensor) -> Paths:
        """Return the probabilities of paths for z (N, Z)."""
        m = self.match_states
        insert, more, delete, further = (
            self.get_parameter(name).sigmoid() for name in ("insert_open", "insert_extend", "delete_open", "delete_extend")
        )
        # Deletion of the states k + 1 … j - 1: opened at k + 1, extended at each k + 2 … j - 1, ended at j.
        extended = F.logsigmoid(self.get_parameter("delete_extend")).cumsum(0)
        at = torch.arange(m, device=z.device)
        source, target = at[:, None], at[None]
        run = extended[(target - 1).clamp(min=0)] - extended[(source + 1).clamp(max=m - 1)]
        skipped = run.masked_fill(target < source + 2, -torch.inf).exp() * (1 - further)
        neighbour = (target == source + 1).to(skipped.dtype)
        matched = (1 - insert)[:, None] * (neighbour * (1 - delete)[:, None] + skipped * delete[:, None])
        to_end = (1 - insert) * torch.where(
            at == m - 1, 1.0, delete * (extended[-1] - extended[(at + 1).clamp(max=m - 1)]).exp()
        )
        move = torch.cat(
            [
                torch.cat([matched, torch.diag(insert)], dim=1),
                torch.cat([neighbour * (1 - more)[:, None], torch.diag(more)], dim=1),
            ]
        )
        end = torch.cat([to_end, torch.where(at == m - 1, 1 - more, 0.0)])
        return Paths(self.begin(z).softmax(1), 1 - self.stop(z).sigmoid(), move, end)

    def steps(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the log probabilities of each residue given those before it and, last, of the end, (N, L + 1)."""
        self.check_length(tokens.shape[1])
        with torch.autocast(z.device.type, enabled=False):
            z = full_precision(z)
            begin, stay, move, end = self.paths(z)
            states, known = self.states(tokens)
            index = states[:, None].expand(-1, self.match_states, -1)
            emitted = self.emissions(z).exp().gather(2, index)  # (N, M, L)
            inserted = self.insertion.softmax(0)[states][:, None].expand_as(emitted)
            every = torch.where(known[:, None], torch.cat([emitted, inserted], dim=1), 1.0)
            here = F.pad(begin, (0, self.match_states)) * every[..., 0]
            stays = F.pad(stay, (0, self.match_states), value=1.0)
            steps = []
            for t in range(tokens.shape[1]):
                if t:
                    following = (here * stays) @ move * every[..., t]
                    here = torch.where(mask[:, t : t + 1], following, here)
                total = here.sum(1, keepdim=True)
                here = here / total
                steps.append(total.log())  # of padding: here sums to 1 already, so the step is 0 up to rounding
            last = (here * (1 - stays + stays * end)).sum(1, keepdim=True).log()
            inside = torch.cat(steps, dim=1).masked_fill(~mask, 0)
            return torch.cat([inside, last], dim=1)

    @torch.no_grad()
    def sample(self, z: Tensor, uniform: Tensor, temperature: float = 1.0) -> list[Tokens]:
        """Return one sequence per row of z."""
        if not len(z):
            return []
        m = self.match_states
        begin, stay, move, end = self.paths(z)
        stays = F.pad(stay, (0, m), value=1.0)
        inserted = self.insertion.log_softmax(0).expand(len(z), m, -1)
        letters = torch.cat([self.emissions(z), inserted], dim=1)
        rows = torch.arange(len(z), device=z.device)
        state = draw(begin.log(), uniform[:, 0], temperature)
        going = torch.ones(len(z), dtype=torch.bool, device=z.device)
        lengths = torch.full((len(z),), self.max_length, device=z.device)
        columns: list[Tensor] = []
        for i in range(self.max_length):
            columns.append(draw(letters[rows, state], uniform[:, 2 * i + 1], temperature))
            if i + 1 == self.max_length:
                break
            on = stays[rows, state][:, None]
            following = torch.cat([on * move[state], 1 - on + on * end[state][:, None]], dim=1)
            outcome = draw(following.log(), uniform[:, 2 * i + 2], temperature)
            ended = going & (outcome == 2 * m)
            lengths = torch.where(ended, i + 1, lengths)
            going &= ~ended
            if not going.any():
                break
            state = outcome.clamp(max=2 * m - 1)
        tokens = (torch.stack(columns, dim=1) + FIRST_RESIDUE).cpu().numpy().astype(np.uint8)
        return [row[:length] for row, length in zip(tokens, lengths.tolist(), strict=True)]
