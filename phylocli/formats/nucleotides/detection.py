"""Detection of nucleotide sequences where proteins are expected."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf

from phylocli.core.alphabet import NUCLEOTIDE_CODES, is_nucleotide_sequence, looks_like_nucleotides
from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.formats.sequences.fasta import Sequence, shorten

logger = logging.getLogger(__name__)

TRANSLATE = "translate coding sequences with --translate"
TRANSLATE_FIRST = "translate coding sequences first, with 'phylocli align --translate'"
OTHER_MODEL = "translate coding sequences with --translate, or use a model of nucleotides"
SAY_DNA = "set the alphabet to dna"

_ROWS = 100
"""Number of sequences to examine."""


def check_translatable(inputs: Iterable[Iterable[Sequence]], what: str) -> None:
    """Check that there are nucleotides among the first hundred sequences of some input, before inputs are translated.

    Args:
        inputs: the sequences of each input, unaligned.
        what: names of the inputs, for the message.

    Raises:
        UsageError: there are none.
    """
    letters = {*NUCLEOTIDE_CODES, "N", "U"}
    first = itertools.chain.from_iterable(itertools.islice(sequences, _ROWS) for sequences in inputs)
    if not any(letters.issuperset(sequence.residues) for sequence in first):
        raise UsageError(f"there are no nucleotides to translate in {what}", fix="omit --translate")


def nucleotides_among(sequences: SequenceOf[Sequence]) -> list[Sequence]:
    """Return the sequences that are nucleotides: all, if together they look like them, or each that does by itself."""
    if looks_like_nucleotides([sequence.residues for sequence in sequences]):
        return list(sequences)
    return [sequence for sequence in sequences if is_nucleotide_sequence(sequence.residues)]


class NucleotideCheck:
    """Warns once about sequences that look like nucleotides but are read as proteins.

    Args:
        alphabet: alphabet of the sequences; with `dna` nothing is checked.
        fix: suggested fix for the message.
    """

    def __init__(self, alphabet: str = "protein", fix: str = TRANSLATE_FIRST) -> None:
        self._fix = fix
        self._open = alphabet == "protein"

    def check(self, rows: SequenceOf[str], label: str) -> None:
        """Warn if these sequences, aligned or not, look like nucleotides."""
        if self._open and looks_like_nucleotides(rows):
            self.warn(shorten(label))

    def warn(self, label: str) -> None:
        """Warn about sequences that are known to look like nucleotides."""
        if self._open:
            self._open = False
            logger.warning(f"{label} looks like nucleotides but is read as protein; {self._fix}")

    def families(self, families: Iterable[Family]) -> Iterator[Family]:
        """Yield families, checking each."""
        for family in families:
            self.check(family.rows, family.label)
            yield family

    def sequences(self, sequences: Iterable[Sequence]) -> Iterator[Sequence]:
        """Yield sequences, checking the first hundred together, and each by itself."""
        first: list[str] = []
        alone: list[str] = []
        label = "the input"
        for sequence in sequences:
            if self._open:
                if is_nucleotide_sequence(sequence.residues):
                    alone.append(sequence.id)
                if len(first) < _ROWS:
                    if not first:
                        label = sequence.where.split(", ")[0] or label
                    first.append(sequence.residues[:1000])
                    if len(first) == _ROWS:
                        self._check_together(first, alone, label)
                elif alone:
                    self._warn_of(alone, label)
            yield sequence
        if len(first) < _ROWS:
            self._check_together(first, alone, label)

    def _check_together(self, rows: SequenceOf[str], alone: SequenceOf[str], label: str) -> None:
        self.check(rows, label)
        if alone:
            self._warn_of(alone, label)

    def _warn_of(self, alone: SequenceOf[str], label: str) -> None:
        others = f" (and {len(alone) - 1:,} more)" if len(alone) > 1 else ""
        self.warn(f"{shorten(alone[0])}{others} in {shorten(label)}")
