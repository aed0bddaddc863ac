"""FASTA: aligned or unaligned sequences, one record at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, Literal

from phylocli.core import alphabet
from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike, display_name, open_input, text_lines

logger = logging.getLogger(__name__)

ParseLines = Callable[[Iterable[tuple[int, str]], str], Iterator["Sequence"]]
"""Parses numbered lines, given the name of the input for messages."""

OnDuplicate = Literal["error", "keep-first", "rename"]


@dataclass(slots=True)
class Sequence:
    """A sequence.

    Attributes:
        id: the header up to the first space or tab.
        residues: the letters in the file, in any case and including gaps.
        description: the rest of the header.
        where: file and line of the header, for messages.

    Examples:
        >>> phylocli.Sequence("a", "MKV").residues
        'MKV'
    """

    id: str
    residues: str
    description: str = ""
    where: str = ""

    def unaligned(self, letters: str = "protein") -> str:
        """Return the residues in upper case without gaps, after validating them against the alphabet `letters`."""
        alphabet.check_residues(self.residues, self.id, self.where, letters)
        return alphabet.degap(self.residues)


def shorten(name: str, width: int = 80) -> str:
    """Truncate a name for a message."""
    return name if len(name) <= width else f"{name[: width - 3]}..."


class DuplicateIdError(BadInputError):
    """A duplicate id. If the command has an option for duplicates, the command line adds it to the fix."""

    OPTION_FIX = "make the ids unique, or use --on-duplicate keep-first or --on-duplicate rename"


FAMILIES_FIX = "make the ids unique; 'phylocli align --on-duplicate rename' does (with --engine none for aligned families)"


class DuplicatePolicy:
    """The policy for duplicate ids.

    `error` raises an error; `keep-first` drops later records; `rename` appends `.2`, `.3`, … to later ids.

    Attributes:
        seen: number, from 0, of each id so far, including new names.
        dropped: ids of dropped records.
        renamed: original id by new id.
    """

    def __init__(self, policy: OnDuplicate = "error", fix: str = "rename or remove one of the two") -> None:
        self.policy = policy
        self.fix = fix
        self.dropped: list[str] = []
        self.renamed: dict[str, str] = {}
        self.seen: dict[str, int] = {}

    def accept(self, name: str, where: str) -> str | None:
        """Return the id to use for a record, or None if the record is dropped.

        Raises:
            DuplicateIdError: the id is a duplicate and the policy is `error`.
        """
        if name not in self.seen:
            self.seen[name] = len(self.seen)
            return name
        if self.policy == "error":
            raise DuplicateIdError(
                f"{where}: the id {shorten(name)!r} occurs twice",
                why="results are joined by id, so two records of one id cannot be distinguished",
                fix=self.fix,
            )
        if self.policy == "keep-first":
            self.dropped.append(name)
            return None
        number = 2
        while f"{name}.{number}" in self.seen:
            number += 1
        new = f"{name}.{number}"
        self.seen[new] = len(self.seen)
        self.renamed[new] = name
        return new


def parse(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Sequence]:
    """Parse sequences from numbered lines; ids and letters are not validated.

    Raises:
        BadInputError: there is text before the first header, a header without an id, or a record without residues.
    """
    header: str | None = None
    header_line = 0
    parts: list[str] = []

    def record() -> Sequence:
        assert header is not None
        where = f"{name}, line {header_line}"
        words = header.replace("\t", " ").split(" ", 1)
        if not words[0]:
            raise BadInputError(f"{where}: the header has no id", fix="write '>id' directly, with no space after '>'")
        residues = "".join(parts)
        if not residues.strip(alphabet.GAPS):
            raise BadInputError(
                f"{where}: the record {shorten(words[0])!r} has no residues",
                fix="remove the empty record, or mend the file",
            )
        return Sequence(words[0], residues, words[1].strip() if len(words) > 1 else "", where)

    for number, line in lines:
        if line.startswith(">"):
            if header is not None:
                yield record()
            header, header_line, parts = line[1:], number, []
        elif header is None:
            if line.strip() and not line.startswith(("#", ";")):  # comments, such as the name line of A3M
                raise BadInputError(
                    f"{name}, line {number}: a FASTA file starts with '>', this one with {shorten(line.strip(), 40)!r}",
                    fix="begin each record with '>id'",
                )
        else:
            parts.append("".join(line.split()))
    if header is not None:
        yield record()


def read(source: PathLike | None, *, on_duplicate: OnDuplicate = "error") -> Iterator[Sequence]:
    """Read the sequences of a FASTA file or pipe, compressed or not.

    Raises:
        BadInputError: the input is not FASTA or empty, a record has no residues, or an id is a duplicate and the policy is
            `error`.
    """
    with open_input(source) as stream:
        yield from read_stream(stream, display_name(source), on_duplicate=on_duplicate)


def read_stream(stream: BinaryIO, name: str, *, on_duplicate: OnDuplicate = "error") -> Iterator[Sequence]:
    """Read the sequences of an open, decompressed stream; see `read`."""
    return accepted(parse(text_lines(stream, name), name), name, on_duplicate)


def accepted(
    sequences: Iterable[Sequence], name: str, on_duplicate: OnDuplicate = "error", fix: str | None = None
) -> Iterator[Sequence]:
    """Apply a duplicate policy to sequences, and log dropped and renamed ones.

    Raises:
        BadInputError: there are no sequences, or an id is a duplicate and the policy is `error`.
    """
    policy = DuplicatePolicy(on_duplicate) if fix is None else DuplicatePolicy(on_duplicate, fix)
    count = 0
    for sequence in sequences:
        count += 1
        kept = policy.accept(sequence.id, sequence.where)
        if kept is not None:
            sequence.id = kept
            yield sequence
    if count == 0:
        raise empty_input(name)
    policy_report(policy)


def policy_report(policy: DuplicatePolicy) -> None:
    """Log the dropped and renamed records of a duplicate policy."""

    if policy.dropped:
        logger.warning(f"dropped {len(policy.dropped)} records with duplicate ids, first {policy.dropped[0]!r}")
    if policy.renamed:
        new, old = next(iter(policy.renamed.items()))
        logger.warning(f"renamed {len(policy.renamed)} duplicate ids, first {old!r} to {new!r}")


def empty_input(name: str) -> BadInputError:
    """Return the error for an empty input."""
    return BadInputError(
        f"{name} is empty", why="it contains no sequence", fix="check the path, or the command before the pipe"
    )


def write(sequences: Iterable[Sequence], stream: IO[str], *, width: int = 80) -> None:
    """Write sequences as FASTA with `width` letters per line; 0 writes each sequence on a single line."""
    for sequence in sequences:
        head = f">{sequence.id} {sequence.description}".rstrip()
        body = sequence.residues
        lines = [body[i : i + width] for i in range(0, len(body), width)] if width else [body]
        stream.write(head + "\n" + "\n".join(lines) + "\n")
