"""Reading and writing of files: Stockholm, FASTA, Newick, tables; compression, atomic writes, provenance."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import cast

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import stockholm
from phylocli.formats.family import Family
from phylocli.formats.input_formats import A2M, EMPTY, FORMATS, SEQUENCE_FORMATS, STOCKHOLM, TEXT, InputFormat, sniff
from phylocli.formats.nucleotides import Translator
from phylocli.formats.output_formats import families_format
from phylocli.formats.sequences import a2m, fasta
from phylocli.formats.sequences.fasta import DuplicatePolicy, OnDuplicate, Sequence, shorten
from phylocli.formats.streams import (
    STDIO,
    Input,
    PathLike,
    decode_head,
    display_name,
    open_input,
    open_text_output,
    suffix_of,
    unpacked_name,
)

_PROTEINS = tuple(known for known in FORMATS if known.name in ("GenBank", "EMBL", "UniProt", "PDB", "mmCIF", "PIR"))
"""Formats that contain proteins, or annotate the proteins of coding sequences; never translated."""

__all__ = ["Family", "Sequence", "Sequences", "as_sequences", "read_families", "read_sequences", "write_families"]


def read_families(
    source: PathLike | None,
    *,
    on_duplicate: OnDuplicate = "error",
    on_failure: stockholm.OnFailure | None = None,
    genetic_code: int | None = None,
    report: bool = True,
) -> Iterator[Family]:
    """Read families from a file or pipe: the records of a Stockholm file, or any other file of sequences as one family.

    Except in Stockholm, the name of the family is the name of the file. A FASTA or PIR family is aligned if it has gaps and
    all rows have the same length; a Clustal, PHYLIP or NEXUS family is always aligned. A2M and A3M are detected by suffix,
    A3M also by rows of different lengths with the same number of match columns; their match columns are marked by `RF`.

    Args:
        source: path of a file, compressed or not; `-` or None is standard input.
        on_duplicate: policy for duplicate ids within a family.
        on_failure: called with the name and the error of an invalid Stockholm record (a duplicate id, rows of different
            lengths, …), which is then skipped. None raises the error.
        genetic_code: NCBI number of the genetic code for translating coding DNA, see `phylocli.formats.nucleotides`. None
            does not translate; Stockholm is never translated.
        report: whether to log coding sequences that may not be in frame.

    Yields:
        The families, in order.

    Raises:
        BadInputError: the input is not in a format of `read_sequences`, empty or truncated, or contains duplicate ids.

    Examples:
        >>> family = next(phylocli.read_families("examples/families.sto"))
        >>> family.accession, len(family)
        ('PF00041', 98)
    """
    name = display_name(source)
    with open_input(source) as stream:
        found = sniff(stream)
        if found is STOCKHOLM:
            yield from stockholm.read_stream(stream, name, on_duplicate=on_duplicate, on_failure=on_failure)
            return
        records = _records(stream, found, name)
        translator = None if genetic_code is None or found in _PROTEINS else Translator(genetic_code)
        if translator is not None:
            records = translator.family(records, aligned=found.aligned)
        members = list(fasta.accepted(records, name, on_duplicate, fasta.FAMILIES_FIX))
        if translator is not None and report:
            translator.report()
    ids = [member.id for member in members]
    rows = [member.residues for member in members]
    title = stem(source)
    if (suffix_of(name) in A2M.suffixes and a2m.has_match_columns(rows)) or a2m.is_a3m(rows):
        rows, reference = a2m.fill_inserts(ids, rows, name)
        yield Family(ids, rows, name=title, column_features={"RF": reference}, where=name)
        return
    one_length = len({len(row) for row in rows}) == 1
    aligned = one_length and (found.aligned or any("-" in row or "." in row for row in rows))
    yield Family(ids, rows, name=title, aligned=aligned, where=name)


def stem(source: PathLike | None) -> str:
    """Return the name of a file without compression suffix and last suffix: `gene.aln` for `gene.aln.fa.gz`.

    For a pipe, the result is empty.
    """
    if source is None or str(source) == STDIO:
        return ""
    return unpacked_name(display_name(source)).stem


def read_sequences(
    source: PathLike | SequenceOf[PathLike | None] | None,
    *,
    on_duplicate: OnDuplicate = "error",
    letters: str = "protein",
    report: bool = True,
    genetic_code: int | None = None,
    checked: bool = True,
) -> Iterator[Sequence]:
    """Read unaligned sequences from files or a pipe: validated, upper case, without gaps.

    Args:
        source: path of a file in any sequence format of `phylocli.formats.input_formats`, compressed or not; `-` or None is
            standard input. Several files are read as if they were concatenated.
        on_duplicate: policy for duplicate ids.
        letters: `protein` or `dna`; determines whether the proteins or the sequences of GenBank nucleotide records are read.
        report: whether to log dropped or renamed duplicates, and coding sequences that may not be in frame.
        genetic_code: see `read_families`.
        checked: False for letters of another kind, such as structural states: they are neither validated nor changed.

    Yields:
        The sequences, in order.

    Raises:
        BadInputError: an input is in another format or empty, or contains invalid residues or duplicate ids.

    Examples:
        >>> sequence = next(phylocli.read_sequences("examples/globins.fasta"))
        >>> sequence.id, len(sequence.residues)
        ('MYG_ESCGI', 153)
    """
    policy = fasta.DuplicatePolicy(on_duplicate)
    translator = None if genetic_code is None else Translator(genetic_code)
    for one in source if isinstance(source, list | tuple) else [source]:
        yield from _read_one(cast("PathLike | None", one), policy, letters, translator, checked)
    if report:
        fasta.policy_report(policy)
        if translator is not None:
            translator.report()


def _read_one(
    source: PathLike | None, policy: fasta.DuplicatePolicy, letters: str, translator: Translator | None, checked: bool
) -> Iterator[Sequence]:
    name = display_name(source)
    with open_input(source) as stream:
        count = 0
        found = sniff(stream)
        for sequence in _records(stream, found, name, letters):
            count += 1
            kept = policy.accept(sequence.id, sequence.where)
            if kept is None:
                continue
            if translator is not None and found not in _PROTEINS:
                sequence = translator(sequence)  # noqa: PLW2901
            residues = sequence.unaligned() if checked else sequence.residues
            if not residues:
                raise BadInputError(
                    f"{sequence.where}: {fasta.shorten(sequence.id)!r} has gaps only",
                    fix="remove the sequence, or supply its residues",
                )
            yield Sequence(kept, residues, sequence.description, sequence.where)
    if count == 0:
        raise fasta.empty_input(name)


def _records(stream: Input, found: InputFormat, name: str, letters: str = "protein") -> Iterable[Sequence]:
    """Return the records of an input in a given format.

    Raises:
        BadInputError: the input is empty, or the format contains no sequences.
    """
    if found.read is not None:
        return found.read(stream, name, letters)
    if found is EMPTY:
        raise fasta.empty_input(name)
    what = f"{name} looks like {found.phrase}, not sequences"
    if found is TEXT:
        start = decode_head(stream.peek()).strip().split("\n", 1)[0]
        what = f"{name} is in no known format of sequences; it starts with {fasta.shorten(start, 40)!r}"
    raise BadInputError(what, fix=f"give {SEQUENCE_FORMATS}")


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


def write_families(families: Iterable[Family], target: PathLike | None) -> int:
    """Write families as Stockholm records, and return their number.

    Args:
        families: the families.
        target: path of the output, written atomically; `-` or None is standard output. With a FASTA suffix (`.fasta`,
            `.afa`, …), the rows of a single family are written with their gaps.

    Raises:
        UsageError: the suffix is that of another format, or several families are written to FASTA.

    Examples:
        >>> phylocli.write_families(phylocli.read_families("examples/families.sto"), "copy.sto.gz")
        14
    """
    format = families_format(target)
    count = 0
    with open_text_output(target) as stream:
        for family in families:
            if format == "stockholm":
                stockholm.write_family(family, stream)
            elif count:
                raise UsageError(f"{target}: FASTA contains one family, but there are several", fix="use the suffix .sto")
            else:
                fasta.write(map(Sequence, family.ids, family.rows), stream)
            if target is None:
                stream.flush()  # so that the next stage of a pipe can start with it
            count += 1
    return count
