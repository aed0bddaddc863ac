"""The distinct sequences to be grouped, in canonical order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import Sequence
from phylocli.hmmer import amino, digital, plain

if TYPE_CHECKING:
    from pyhmmer import easel

# HMMER's own limit on the length of a target sequence.
LONGEST = 100_000


class Pool:
    """Distinct sequences, sorted by decreasing length, then alphabetically.

    Results therefore depend neither on the order of the input nor on how often a sequence occurs.

    Attributes:
        residues: residues of each distinct sequence, upper case.
        ids: ids of each distinct sequence, sorted.
        lengths: length of each sequence in residues, shape (n,).
        offsets: start of each sequence in the concatenation of all, and its end, shape (n + 1,).
    """

    def __init__(self, sequences: Iterable[Sequence]) -> None:
        found: dict[str, list[str]] = {}
        for sequence in sequences:
            if len(sequence.residues) > LONGEST:
                raise BadInputError(
                    f"{sequence.where}: {sequence.id!r} has {len(sequence.residues)} residues",
                    why=f"the maximum length for a profile search is {LONGEST} residues",
                    fix="split the sequence into parts, or remove it",
                )
            found.setdefault(sequence.residues, []).append(sequence.id)
        self.residues = sorted(found, key=lambda text: (-len(text), text))
        self.ids = [sorted(found[text]) for text in self.residues]
        self.lengths: npt.NDArray[np.int64] = np.array([len(text) for text in self.residues], dtype=np.int64)
        self.offsets: npt.NDArray[np.int64] = np.concatenate(([0], np.cumsum(self.lengths)))
        self._digital = [digital(text, str(i)) for i, text in enumerate(self.residues)]

    def __len__(self) -> int:
        return len(self.residues)

    def block(self, members: Iterable[int]) -> easel.DigitalSequenceBlock:
        """Return sequences as a block for HMMER; the name of a sequence is its index in the pool."""
        from pyhmmer import easel

        return easel.DigitalSequenceBlock(amino(), [self._digital[i] for i in members])

    def segment(self, index: int, start: int, end: int, name: str = "query") -> easel.DigitalSequence:
        """Return a region of a sequence (1-based, inclusive) in HMMER's format."""
        return digital(self.residues[index][start - 1 : end], name)

    def letters(self, index: int) -> bytes:
        """Return a whole sequence in the letters used for HMMER: the 20 amino acids and `X`."""
        return plain(self.residues[index]).encode("ascii")

    def text_of(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the letters of a whole sequence in ASCII, shape (length,)."""
        return np.frombuffer(self.residues[index].encode("ascii"), dtype=np.uint8)

    def text(self) -> npt.NDArray[np.uint8]:
        """Return the letters of all sequences in ASCII, concatenated, shape (residues,)."""
        return np.frombuffer("".join(self.residues).encode("ascii"), dtype=np.uint8)
