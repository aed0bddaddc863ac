"""Inputs to embed: files, patterns and pipes as one stream, and their size, if it can be known."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from phylocli.core.errors import BadInputError
from phylocli.formats import Sequence, read_sequences
from phylocli.formats.sequences.fasta import OnDuplicate
from phylocli.formats.streams import STDIO, PathLike, display_name, is_url, recording_inputs
from phylocli.formats.streams.remote import matches

logger = logging.getLogger(__name__)

Sources = PathLike | SequenceOf[PathLike | None] | None


@dataclass(frozen=True)
class Survey:
    """The size of the input.

    Attributes:
        sequences: number of sequences, or of families.
        residues: number of residues that are embedded.
        id_letters: number of letters of ids.
        checksum: of ids and residues.
        rows: rows of a table of residues, if not one for each: of families, one for each residue of the first member.
    """

    sequences: int
    residues: int
    id_letters: int
    checksum: str = ""
    rows: int | None = None


class Checksum:
    """A checksum of ids and residues in order, which identifies the input of an embedding table."""

    def __init__(self) -> None:
        self._found = hashlib.blake2b(digest_size=16)

    def add(self, sequence: Sequence) -> None:
        """Add the next sequence."""
        self._found.update(f"{sequence.id}\n{sequence.residues}\n".encode())

    def __str__(self) -> str:
        return self._found.hexdigest()


def expand(sources: Sources) -> list[PathLike | None]:
    """Return the inputs one by one, with patterns such as `genomes/*.faa.gz` replaced by the matching files, sorted by name.

    The name of an existing file is never treated as a pattern.

    Raises:
        BadInputError: a pattern that matches nothing.
    """
    given = cast("SequenceOf[PathLike | None]", sources if isinstance(sources, list | tuple) else [sources])
    found: list[PathLike | None] = []
    for source in given:
        text = STDIO if source is None else os.fspath(source)
        if is_url(text):
            files = matches(text) if glob.has_magic(text) and not text.startswith("http") else [text]
        elif text == STDIO or not glob.has_magic(text) or Path(text).exists():
            found.append(source)
            continue
        else:
            files = sorted(glob.glob(text, recursive=True))  # noqa: PTH207  patterns may be absolute
        if not files:
            raise BadInputError(f"no file matches {display_name(text)!r}", fix="check the pattern")
        found += files
    return found or [None]


def are_files(sources: SequenceOf[PathLike | None]) -> bool:
    """Return whether all inputs are files, which can be read twice, and none a pipe or URL."""
    return not any(source is None or is_url(source) or not Path(source).is_file() for source in sources)


def survey(
    sources: SequenceOf[PathLike | None],
    *,
    on_duplicate: OnDuplicate = "error",
    letters: str = "protein",
    genetic_code: int | None = None,
) -> Survey | None:
    """Scan files without computing, and return their size; None for pipes and URLs, which are read only once.

    Errors in the input are found here, before hours of work, and what `read_sequences` reports is logged here.
    Reading takes far less time than embedding.

    Raises:
        BadInputError: as `read_sequences`.
    """
    if not are_files(sources):
        return None
    sequences = residues = id_letters = 0
    checksum = Checksum()
    with recording_inputs():  # separate: inputs of the run are recorded when they are read for embedding
        found = read_sequences(sources, on_duplicate=on_duplicate, letters=letters, genetic_code=genetic_code)
        for sequence in found:
            sequences += 1
            residues += len(sequence.residues)
            id_letters += len(sequence.id)
            checksum.add(sequence)
    logger.debug(f"{sequences:,} sequences, {residues:,} residues")
    return Survey(sequences, residues, id_letters, str(checksum))
