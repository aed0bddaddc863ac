"""Bytes ⇄ records: Stockholm, FASTA, Newick, tables; compression by content, atomic writes, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING, Any, cast

from phylocli.formats import fasta, records, stockholm
from phylocli.formats.family import Family
from phylocli.formats.fasta import OnDuplicate, Sequence
from phylocli.formats.streams import PathLike, display_name, open_input, open_text_output, text_lines

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Family", "Sequence", "read_families", "read_sequences", "write_families"]


def _is_stockholm(stream: BinaryIO) -> bool:
    # BZ2File, GzipFile and BufferedReader can peek; zstd's reader cannot, so it is wrapped by the caller.
    return cast(Any, stream).peek(16).lstrip().startswith(b"# STOCKHOLM")


def _peekable(stream: BinaryIO) -> BinaryIO:
    import io

    return stream if hasattr(stream, "peek") else cast("BinaryIO", io.BufferedReader(cast(Any, stream)))


def read_families(source: PathLike | None, *, on_duplicate: OnDuplicate = "error") -> Iterator[Family]:
    """Yield the families of a file or pipe: the records of Stockholm, or a FASTA file as one family.

    A FASTA family is taken as aligned when it has gaps and all rows have one length; its name is the file's.

    Args:
        source: path, or `-`/None for standard input; compressed or not.
        on_duplicate: what to do with an id that was there before in its family.

    Raises:
        BadInputError: neither format, empty, cut short, duplicate ids.
    """
    name = display_name(source)
    with open_input(source) as raw:
        stream = _peekable(raw)
        if _is_stockholm(stream):
            yield from stockholm.read_stream(stream, name, on_duplicate=on_duplicate)
            return
        members = list(fasta.read_stream(stream, name, on_duplicate=on_duplicate))
    rows = [member.residues for member in members]
    one_length = len({len(row) for row in rows}) == 1
    aligned = one_length and any("-" in row or "." in row for row in rows)
    title = "" if name == "standard input" else str(source).rsplit("/", 1)[-1].split(".", 1)[0]
    yield Family([m.id for m in members], rows, name=title, aligned=aligned, where=name)


def read_sequences(
    source: PathLike | SequenceOf[PathLike | None] | None,
    *,
    on_duplicate: OnDuplicate = "error",
    letters: str = "protein",
    report: bool = True,
) -> Iterator[Sequence]:
    """Yield unaligned sequences of files or a pipe: checked, upper case, without gaps.

    Args:
        source: FASTA, Stockholm, FASTQ or GenBank, known by content, compressed or not; `-`/None is standard input. Several
            are read one after the other, as if they were one file.
        on_duplicate: what to do with an id that was there before.
        letters: `protein` or `dna`: of GenBank's nucleotide records, their proteins or themselves are taken.
        report: say on stderr which duplicates were dropped or renamed.

    Raises:
        BadInputError: none of these formats, empty, a letter that is no residue, duplicate ids.
    """
    policy = fasta.DuplicatePolicy(on_duplicate)
    for one in source if isinstance(source, list | tuple) else [source]:
        yield from _read_one(cast("PathLike | None", one), policy, letters)
    if report:
        fasta.policy_report(policy)


def _read_one(source: PathLike | None, policy: fasta.DuplicatePolicy, letters: str) -> Iterator[Sequence]:
    name = display_name(source)
    with open_input(source) as raw:
        count = 0
        for sequence in _records(_peekable(raw), name, letters):
            count += 1
            kept = policy.accept(sequence.id, sequence.where)
            if kept is None:
                continue
            residues = sequence.unaligned()
            if not residues:
                from phylocli.errors import BadInputError

                raise BadInputError(f"{sequence.where}: {fasta.shorten(sequence.id)!r} holds gaps only, no residue")
            yield Sequence(kept, residues, sequence.description, sequence.where)
    if count == 0:
        raise fasta.empty_input(name)


def _records(stream: BinaryIO, name: str, letters: str) -> Iterable[Sequence]:
    """Return the records of a stream, the format known by how it starts."""
    head = cast(Any, stream).peek(16).lstrip()
    if head.startswith(b"# STOCKHOLM"):
        # Within a record a name is unique; across records the same rule holds as in FASTA.
        return (s for f in stockholm.read_stream(stream, name) for s in f.sequences())
    if head.startswith(b"@"):
        return records.fastq(stream, name)
    if head.startswith(b"LOCUS "):
        return records.genbank(stream, name, letters)
    return fasta.parse(text_lines(stream, name), name)


def write_families(families: Iterable[Family], target: PathLike | None) -> int:
    """Write families as Stockholm records to a path (atomically) or, for `-`/None, to standard output; return how many."""
    count = 0
    with open_text_output(target) as stream:
        for family in families:
            stockholm.write_family(family, stream)
            if target is None:
                stream.flush()  # the next stage of a pipe can start on it
            count += 1
    return count
