"""Types of the training data: sources of pairs, and batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from phylocli.train.data.residue_labels import LabelledBatch
from phylocli.views import Prepared, Tokens


@dataclass
class Members:
    """Whole sequences of a family.

    Attributes:
        tokens: of each, without gaps.
        columns: the match column of each residue of each sequence, from 0, and -1 for none; None if the family is not
            aligned.
    """

    tokens: list[Tokens]
    columns: list[npt.NDArray[np.int32]] | None


@dataclass
class FamilySource:
    """One family of the corpus.

    Attributes:
        label: accession or name.
        clan: accession; empty without one.
        size: members that training sees.
        training: source of training pairs.
        held_out: source of validation pairs; None if the family is too small to hold out members.
        members: returns the training members.
        input: number of the input that it comes from, from 0.
    """

    label: str
    clan: str
    size: int
    training: Prepared
    held_out: Prepared | None
    members: Callable[[], Members]
    input: int = 0


@dataclass
class PairBatch:
    """N pairs ready for the model.

    Attributes:
        a, b: token arrays of the N first and the N second views.
        distance: evolutionary distance of each pair, substitutions per site, (N,), NaN where undefined.
        family: code of each pair's family, (N,) int64.
        clan: code of each pair's clan, (N,) int64, -1 without one.
        negatives: `clan`, `family` or `pair`: who may be contrasted.
        more: the third and further views, N token arrays each, if required by the objective.
        first: number of the first pair among all pairs of the run.
        labelled: sequences with residue labels, for the heads.
    """

    a: list[Tokens]
    b: list[Tokens]
    distance: npt.NDArray[np.float64]
    family: npt.NDArray[np.int64]
    clan: npt.NDArray[np.int64]
    negatives: str = "clan"
    more: list[list[Tokens]] = field(default_factory=list)
    first: int = 0
    labelled: LabelledBatch | None = None

    def __len__(self) -> int:
        return len(self.a)

    def first_pairs(self, n: int) -> PairBatch:
        """Return the first n pairs, and as many of the labelled sequences."""
        return replace(
            self,
            a=self.a[:n],
            b=self.b[:n],
            more=[view[:n] for view in self.more],
            distance=self.distance[:n],
            family=self.family[:n],
            clan=self.clan[:n],
            labelled=None if self.labelled is None else self.labelled.first_sequences(n),
        )

    @property
    def longest(self) -> int:
        """Residues of the longest sequence."""
        return max(len(tokens) for view in self._sequences() for tokens in view)

    @property
    def residues(self) -> int:
        """Residues of all views, and of the labelled sequences."""
        return sum(len(tokens) for view in self._sequences() for tokens in view)

    def _sequences(self) -> list[list[Tokens]]:
        return [self.a, self.b, *self.more, *([] if self.labelled is None else [self.labelled.tokens])]


def chunks_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Return indices in groups of similar length, each at most `tokens` with padding (a longer sequence on its own)."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = []
    for i in order:  # ascending, so that the newest sequence is the widest of its group
        if groups and (len(groups[-1]) + 1) * lengths[i] <= tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
