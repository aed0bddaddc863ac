"""Types of training data: sources of pairs, and batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from phylocli.train.data.residue_labels import LabelledBatch
from phylocli.train.data.teachers import TeacherBatch
from phylocli.views import Prepared, Tokens


@dataclass
class Members:
    """Full-length sequences of a family.

    Attributes:
        tokens: tokens of each member, without gaps.
        columns: match column of each residue of each member, from 0, or -1 for an insertion; None if the family is not
            aligned.
    """

    tokens: list[Tokens]
    columns: list[npt.NDArray[np.int32]] | None


@dataclass
class FamilySource:
    """A family of the corpus.

    Attributes:
        label: accession or name.
        clan: accession of the clan; empty if there is none.
        size: number of training members.
        training: source of training pairs.
        held_out: source of validation pairs; None if no members are held out.
        members: returns the training members.
        input: number of the input that contains the family, from 0.
    """

    label: str
    clan: str
    size: int
    training: Prepared
    held_out: Prepared | None
    members: Callable[[], Members]
    input: int = 0


def clan_codes(families: Sequence[FamilySource]) -> npt.NDArray[np.int64]:
    """Return a code for each family's clan, -1 if it has none."""
    clans = {clan: code for code, clan in enumerate(sorted({f.clan for f in families if f.clan}))}
    return np.array([clans.get(f.clan, -1) for f in families], dtype=np.int64)


class TrainingBatch(Protocol):
    """What the training loop needs of a batch of N items."""

    def __len__(self) -> int:
        """Return N."""

    def content(self) -> bytes:
        """Return the content, to compare batches of several processes."""

    @property
    def longest(self) -> int:
        """Number of positions of the longest sequence."""

    @property
    def residues(self) -> int:
        """Total number of positions."""


class BatchSource(Protocol):
    """Batches as functions of the seed and the step."""

    def batch(self, step: int) -> Any:
        """Return the batch of a step, counted from 0: a `TrainingBatch`."""


@dataclass
class PairBatch:
    """A batch of N pairs.

    Attributes:
        a, b: token arrays of the first and the second views, N each.
        distance: evolutionary distance of each pair in substitutions per site, (N,), NaN where undefined.
        family: family code of each pair, (N,) int64.
        clan: clan code of each pair, (N,) int64, -1 if it has no clan.
        negatives: which pairs are negatives of each other: `clan`, `family` or `pair`, see `Corpus`.
        more: the third and further views, N token arrays each, if required by the objective.
        first: index of the first pair among all pairs of the run.
        labelled: sequences with residue labels, for the residue heads; None without them.
        taught: the teachers' vectors for the first two views; None without teachers.
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
    taught: TeacherBatch | None = None

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
            taught=None if self.taught is None else self.taught.first_pairs(n),
        )

    def content(self) -> bytes:
        """Return the tokens of the first two views, to compare batches of several processes."""
        return b"".join(tokens.tobytes() for tokens in self.a + self.b)

    @property
    def longest(self) -> int:
        """Number of residues of the longest sequence."""
        return max(len(tokens) for view in self._sequences() for tokens in view)

    @property
    def residues(self) -> int:
        """Total number of residues of all views and labelled sequences."""
        return sum(len(tokens) for view in self._sequences() for tokens in view)

    def _sequences(self) -> list[list[Tokens]]:
        return [self.a, self.b, *self.more, *([] if self.labelled is None else [self.labelled.tokens])]


def chunks_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Group sequences of similar length.

    Args:
        lengths: length of each sequence.
        tokens: maximum size of a group in tokens, including padding; a longer sequence forms its own group.

    Returns:
        Indices of the sequences of each group, in ascending length.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = []
    for i in order:  # in ascending length, so lengths[i] is the width of the group
        if groups and (len(groups[-1]) + 1) * lengths[i] <= tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
