"""The sequences to be grouped, in an order that depends on nothing but themselves."""

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
    """Distinct sequences, longest first, equal ones kept once with all their ids.

    The order is by length, then by letters: the order and the multiplicity of the input leave no trace in any result.

    Attributes:
        residues: one string a distinct sequence, upper case.
        ids: the ids of each distinct sequence, sorted.
        lengths: residues of each, shape (n,).
        offsets: where each starts in the text of all of them, shape (n + 1,).
    """

    def __init__(self, sequences: Iterable[Sequence]) -> None:
        found: dict[str, list[str]] = {}
        for sequence in sequences:
            if len(sequence.residues) > LONGEST:
                raise BadInputError(
                    f"{sequence.where}: {sequence.id!r} has {len(sequence.residues)} residues",
                    why=f"a profile search takes sequences of up to {LONGEST} residues",
                    fix="cut the sequence into parts, or leave it out",
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
        """Return sequences as HMMER's search takes them; a sequence's name is its index here."""
        from pyhmmer import easel

        return easel.DigitalSequenceBlock(amino(), [self._digital[i] for i in members])

    def segment(self, index: int, start: int, end: int, name: str = "query") -> easel.DigitalSequence:
        """Return a part of a sequence, 1-based and inclusive, in HMMER's format."""
        return digital(self.residues[index][start - 1 : end], name)

    def letters(self, index: int) -> bytes:
        """Return a whole sequence as HMMER reads it: the 20 amino acids and `X`."""
        return plain(self.residues[index]).encode("ascii")

    def text_of(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the letters of a whole sequence, shape (length,)."""
        return np.frombuffer(self.residues[index].encode("ascii"), dtype=np.uint8)

    def text(self) -> npt.NDArray[np.uint8]:
        """Return the letters of all sequences, one after another, shape (residues,)."""
        return np.frombuffer("".join(self.residues).encode("ascii"), dtype=np.uint8)
