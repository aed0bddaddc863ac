"""Base of the heads: their targets, their losses, and the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError

UNKNOWN = -1
"""Code of a residue whose state is not known."""

Targets = npt.NDArray[np.int8] | npt.NDArray[np.float16]
"""Of the residues of one sequence: codes of states, (L,), or probabilities, (L, K); unknown ones are `UNKNOWN`, or zero."""


@dataclass(frozen=True)
class Head(ABC):
    """What is predicted for each residue.

    Attributes:
        name: in settings and model folders.
        column: of a table of residue labels.
        states: a letter for each of the K outputs.
        title: for messages.
    """

    name: str
    column: str
    states: str
    title: str

    @abstractmethod
    def targets(self, value: Any) -> Targets:
        """Return the targets of a sequence from a cell of the table.

        Raises:
            ValueError: a cell of another kind, or an unknown letter.
        """

    def targets_of(self, value: Any, length: int) -> Targets:
        """Return the targets of a sequence of this length; a cell without a value gives unknown ones.

        Raises:
            ValueError: see `targets`.
        """
        return self.unknown(length) if value is None or (isinstance(value, str) and not value) else self.targets(value)

    @abstractmethod
    def unknown(self, length: int) -> Targets:
        """Return the targets of that many residues of which nothing is known."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss in nats of the residues with known targets, a scalar; 0 if there are none.

        Args:
            logits: (T, K).
            targets: of the same residues, (T,) int64 or (T, K) float32.
        """

    @abstractmethod
    def correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the fraction of residues with known targets whose most probable state is predicted, a scalar."""


@dataclass(frozen=True)
class Categorical(Head):
    """One state for each residue; the loss is the cross-entropy.

    Attributes:
        synonyms: further letters of the table, and the states that they stand for.
        missing: letters for residues whose state is not known.
    """

    synonyms: dict[str, str] = field(default_factory=dict)
    missing: str = ".?"

    def targets(self, value: Any) -> Targets:
        """Return the codes of a text with one letter for each residue."""
        if not isinstance(value, str):
            raise ValueError(f"{self.column} must be text with one letter for each residue")
        places = {state: code for code, state in enumerate(self.states)}
        codes = {**places, **{letter: places[state] for letter, state in self.synonyms.items()}}
        codes |= dict.fromkeys(self.missing, UNKNOWN)
        unknown = sorted(set(value.upper()) - codes.keys())
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a state of {self.title}; known are {self.states}, and . for unknown")
        return np.array([codes[letter] for letter in value.upper()], dtype=np.int8)

    def unknown(self, length: int) -> Targets:
        """Return unknown codes."""
        return np.full(length, UNKNOWN, dtype=np.int8)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy."""
        total = F.cross_entropy(logits, targets, ignore_index=UNKNOWN, reduction="sum")
        return total / (targets != UNKNOWN).sum().clamp(min=1)

    def correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the accuracy."""
        known = targets != UNKNOWN
        return ((logits.argmax(1) == targets) & known).sum() / known.sum().clamp(min=1)


@dataclass(frozen=True)
class Distribution(Head):
    """A distribution over states for each residue; the loss is the Kullback–Leibler divergence."""

    def targets(self, value: Any) -> Targets:
        """Return the probabilities of a list with K numbers for each residue, in the order of the states; rows of zeros are
        unknown."""
        try:
            rows = np.asarray(value, dtype=np.float32).reshape(-1, len(self.states))
        except (ValueError, TypeError):
            raise ValueError(f"{self.column} must be a list of {len(self.states)} numbers for each residue") from None
        if not np.isfinite(rows).all() or (rows < 0).any():
            raise ValueError(f"{self.column} has a number that is negative or not finite")
        total = rows.sum(axis=1, keepdims=True)
        return np.divide(rows, total, out=np.zeros_like(rows), where=total > 0).astype(np.float16)

    def unknown(self, length: int) -> Targets:
        """Return rows of zeros."""
        return np.zeros((length, len(self.states)), dtype=np.float16)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the divergence from the targets."""
        return divergence(logits, targets)

    def correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return how often the most probable states agree."""
        known = targets.sum(1) > 0
        return ((logits.argmax(1) == targets.argmax(1)) & known).sum() / known.sum().clamp(min=1)


def divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """Return Σ p (log p - log q) in nats, with p the targets and q the prediction: the mean over rows that are not all zero.

    Args:
        logits: of q, (T, K).
        targets: p up to a factor, (T, K).
    """
    total = targets.sum(1, keepdim=True)
    known = total[:, 0] > 0
    p = targets / total.clamp(min=torch.finfo(targets.dtype).tiny)  # float16 leaves rows that sum to nearly 1
    found = (torch.special.xlogy(p, p) - p * logits.log_softmax(1)).sum(1)
    return found.masked_fill(~known, 0).sum() / known.sum().clamp(min=1)


class HeadNetwork(nn.Module):
    """A convolution over residue vectors and a linear map; or the linear map alone.

    Args:
        features: D of a residue vector.
        states: K, the outputs.
        hidden: channels of the convolution; 0: no convolution.
        kernel: residues that it sees, odd.
        groups: of channels and features; a channel sees the features of its group only. Those of an ensemble have one for
            each member.

    Raises:
        UsageError: an even kernel, or groups that do not divide the features and the channels.
    """

    MOST_HIDDEN: ClassVar[int] = 4096  # of a group

    def __init__(self, features: int, states: int, *, hidden: int = 0, kernel: int = 1, groups: int = 1) -> None:
        super().__init__()
        if groups < 1 or features % groups or hidden % groups:
            raise UsageError(
                f"a head cannot divide {features} features and {hidden} hidden units into {groups} groups",
                fix="use a divisor of both",
            )
        if kernel % 2 == 0 or kernel < 1:
            raise UsageError(f"a head cannot have a kernel of {kernel}", fix="use an odd kernel")
        if not 0 <= hidden // groups <= self.MOST_HIDDEN:
            raise UsageError(
                f"a head cannot have {hidden // groups} hidden units", fix=f"give 0, or at most {self.MOST_HIDDEN}"
            )
        self.convolution = nn.Conv1d(features, hidden, kernel, padding=kernel // 2, groups=groups) if hidden else None
        self.states = nn.Linear(hidden or features, states)

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Return logits, (N, L, K), from residue vectors (N, L, D) and their mask (N, L); padding has no influence."""
        if self.convolution is not None:
            inside = residues.masked_fill(~mask[..., None], 0)
            residues = F.gelu(self.convolution(inside.transpose(1, 2))).transpose(1, 2)
        logits: Tensor = self.states(residues)
        return logits
