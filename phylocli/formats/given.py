"""Sequences as callers give them: in memory, or as the path of a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from phylocli.core.errors import BadInputError
from phylocli.formats import Sequence, read_sequences
from phylocli.formats.nucleotides import Translator
from phylocli.formats.sequences.fasta import DuplicatePolicy, shorten
from phylocli.formats.streams import PathLike

Sequences = PathLike | Iterable[str | Sequence | tuple[str, str]]
"""Sequences in memory, or the path of a sequence file."""


def as_sequences(
    given: Sequences, letters: str = "protein", genetic_code: int | None = None, *, report: bool = True
) -> Iterator[Sequence]:
    """Yield unaligned, checked sequences: those of a file, or letters, `Sequence`s and (id, letters) pairs.

    With a genetic code, coding DNA is translated, and logged where it may not be in frame unless `report` is false; see
    `read_sequences`.

    Raises:
        BadInputError: a letter that is not a residue, an empty sequence, duplicate ids, a file that cannot be read.
    """
    if isinstance(given, str | os.PathLike):
        if isinstance(given, str) and given.isalpha() and not Path(given).exists():
            raise BadInputError(f"there is no file {shorten(given, 40)!r}", fix="give a single sequence as a list, too")
        yield from read_sequences(given, letters=letters, report=report, genetic_code=genetic_code)
        return
    policy = DuplicatePolicy(fix="give each sequence a unique id")
    translator = None if genetic_code is None else Translator(genetic_code)
    for number, one in enumerate(given, start=1):
        if isinstance(one, Sequence):
            sequence = one
        else:
            name, residues = (f"seq{number}", one) if isinstance(one, str) else one
            sequence = Sequence(name, residues, where=f"sequence {number}")
        if translator is not None:
            sequence = translator(sequence)
        letters_only = sequence.unaligned(letters)
        if not letters_only:
            raise BadInputError(f"{shorten(sequence.id)!r} has no residues", fix="leave it out")
        policy.accept(sequence.id, sequence.where or f"sequence {number}")
        yield Sequence(sequence.id, letters_only, sequence.description, sequence.where)
    if translator is not None and report:
        translator.report()
