"""Families → embeddings: the mean over the members, of their vectors or of their residues in each column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.embed.batching import windows
from phylocli.embed.embedder import Embedder
from phylocli.embed.inputs import Survey, are_files
from phylocli.formats import Sequence, read_families
from phylocli.formats.embeddings import unit
from phylocli.formats.family import Family
from phylocli.formats.nucleotides import OTHER_MODEL, NucleotideCheck
from phylocli.formats.sequences.fasta import DuplicatePolicy, OnDuplicate, policy_report, shorten
from phylocli.formats.streams import PathLike, recording_inputs

FloatArray = npt.NDArray[np.float32]

Places = npt.NDArray[np.int64]


def embed_families(families: Iterable[Family], embedder: Embedder) -> Iterator[tuple[list[str], list[int], FloatArray, int]]:
    """Yield (names, lengths, embeddings, residues) in blocks, in input order, in bounded memory.

    The embedding of a family is the mean of the unit vectors of its members, scaled to unit length: what members do not
    share cancels out.

    Args:
        families: with at least one member each.
        embedder: an embedder with the model.

    Yields:
        accessions (or names) of N families, their numbers of match columns (the mean length of members without an
        alignment), float32 unit vectors (N, D), and the number of residues of all members.

    Raises:
        BadInputError: a family without members, or a letter that is not a residue.

    Examples:
        >>> embedder = phylocli.load_model("default")
        >>> families = phylocli.read_families("examples/families.sto")
        >>> names, lengths, vectors, residues = next(phylocli.embed.embed_families(families, embedder))
        >>> len(names), vectors.shape
        (14, (14, 1024))
    """
    for block in windows(families, 64 * embedder.max_tokens, residues_of):
        members = [members_of(family, embedder.model.alphabet) for family in block]
        letters = [residues for of in members for residues in of]
        starts = np.cumsum([0, *map(len, members[:-1])])
        vectors = unit(np.add.reduceat(unit(embedder.pooled(letters)), starts))
        yield [family.label for family in block], [_length(family) for family in block], vectors, sum(map(len, letters))


def embed_family_residues(families: Iterable[Family], embedder: Embedder) -> Iterator[tuple[Sequence, FloatArray]]:
    """Yield the first member of each family, under the name of the family, and the embeddings of its residues, (L, D).

    These are means over all members, see `column_means`.

    Raises:
        BadInputError: a family that is not aligned, or a letter that is not a residue.
    """
    for family in families:
        members = members_of(family, embedder.model.alphabet)
        residues = residues_in_blocks(members, embedder)
        yield Sequence(family.label, members[0], family.description, family.where), column_means(family, residues)


def residues_in_blocks(sequences: SequenceOf[str], embedder: Embedder) -> Iterator[FloatArray]:
    """Yield the residue embeddings of each sequence, (L, D), in bounded memory."""
    for block in windows(sequences, 4 * embedder.max_tokens, len):
        yield from embedder.residues(block)


def places_in_first(family: Family) -> list[Places]:
    """Return the residue of the first member in the same match column, or -1, for each residue of each member.

    Other columns have insertions, which are not aligned: there, a residue of the first member has itself only.

    Returns:
        One array for each member, (its residues,).

    Raises:
        BadInputError: the family is not aligned.
    """
    aligned = family.as_aligned()
    first, *others = aligned.residue_columns()
    place = np.full(aligned.columns, -1)
    place[first] = np.arange(len(first))
    place[~aligned.match_columns()] = -1
    return [np.arange(len(first)), *(place[columns] for columns in others)]


def column_means(family: Family, values: Iterable[FloatArray]) -> FloatArray:
    """Return the means of values of residues over the members that have one in the same match column, (L, K).

    Args:
        family: the aligned family.
        values: those of the residues of each member, (its residues, K).

    Returns:
        One row for each of the L residues of the first member, see `places_in_first`.

    Raises:
        BadInputError: the family is not aligned.
    """
    return means_and_counts(places_in_first(family), values)[0]


def means_and_counts(places: Iterable[Places], values: Iterable[FloatArray]) -> tuple[FloatArray, Places]:
    """Return the means of values of residues over the members that have one in the same match column, and their numbers.

    Args:
        places: those of `places_in_first`; of a single sequence, its own positions.
        values: those of the residues of each member, (its residues, K).

    Returns:
        Means (L, K) and numbers (L,), with one row for each of the L residues of the first member.
    """
    _, *others = places
    given = iter(values)
    total = next(given).astype(np.float64)
    count = np.ones(len(total), dtype=np.int64)
    for own, place in zip(given, others, strict=True):
        shared = place >= 0
        total[place[shared]] += own[shared]
        count[place[shared]] += 1
    return (total / count[:, None]).astype(np.float32), count


def residues_of(family: Family) -> int:
    """Return the number of residues of all members."""
    return sum(len(row) - row.count("-") - row.count(".") for row in family.rows)


def members_of(family: Family, alphabet: str) -> list[str]:
    """Return the unaligned members.

    Raises:
        BadInputError: there are none, or one has no residues, or a letter that is not one.
    """
    if not len(family):
        raise BadInputError(f"{family.label} has no members", fix="leave it out")
    found = []
    for name, row in zip(family.ids, family.rows, strict=True):
        found.append(Sequence(name, row, where=family.where).unaligned(alphabet))
        if not found[-1]:
            raise BadInputError(f"{family.label}: {shorten(name)!r} has no residues", fix="leave it out")
    return found


def _length(family: Family) -> int:
    if family.aligned:
        return int(family.match_columns().sum())
    return round(residues_of(family) / len(family))


def read_all_families(
    sources: SequenceOf[PathLike | None],
    *,
    on_duplicate: OnDuplicate = "error",
    letters: str = "protein",
    report: bool = True,
) -> Iterator[Family]:
    """Yield the families of files, whose names must be unique, as must be the ids of members within a family.

    A name becomes an id, so white space in it, as in that of a file, is replaced by `_`.

    Args:
        sources: files, or None for standard input.
        on_duplicate: of names, and of ids within a family.
        letters: the alphabet.
        report: log the families that were dropped or renamed.

    Raises:
        BadInputError: two families of one name, or a file that cannot be read.
    """
    policy = DuplicatePolicy(on_duplicate, fix="give each family (or file, if it has no names) a name of its own")
    check = NucleotideCheck(letters, OTHER_MODEL)
    for source in sources:
        for family in check.families(read_families(source, on_duplicate=on_duplicate)):
            name = policy.accept("_".join(family.label.split()), family.where or family.label)
            if name is not None:
                yield family if name == family.label else replace(family, accession=name)
    if report:
        policy_report(policy)


def survey_families(
    sources: SequenceOf[PathLike | None], *, on_duplicate: OnDuplicate = "error", letters: str = "protein"
) -> Survey | None:
    """Scan files of families, and return the number of families and of residues; None for pipes and URLs. See `survey`.

    Raises:
        BadInputError: as `read_all_families` and `members_of`.
    """
    if not are_files(sources):
        return None
    families = residues = names = rows = 0
    with recording_inputs():
        for family in read_all_families(sources, on_duplicate=on_duplicate, letters=letters):
            members = members_of(family, letters)
            families += 1
            residues += sum(map(len, members))
            rows += len(members[0])
            names += len(family.label)
    return Survey(families, residues, names, rows=rows)
