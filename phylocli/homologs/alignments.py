"""Homologs of a sequence: their local alignments with it, the choice of some, and their family."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.formats.family import Family
from phylocli.formats.sequences.fasta import Sequence


@dataclass(frozen=True)
class Homolog:
    """The local alignment of a sequence (the query) with a sequence of the database.

    Attributes:
        target: index of the sequence in the database.
        start: its first aligned residue, from 0.
        residues: its residues from the first to the last aligned one.
        pairs: positions of the aligned residues in the query, and in `residues`, from 0, increasing; (n, 2), n ≥ 1.
        evalue: E-value for a search of the whole database.
    """

    target: int
    start: int
    residues: str
    pairs: npt.NDArray[np.int64]
    evalue: float

    @property
    def span(self) -> int:
        """Number of residues of the query from the first to the last aligned one."""
        return int(self.pairs[-1, 0] - self.pairs[0, 0]) + 1

    def is_copy(self, query: str) -> bool:
        """Return whether the residues are those of the query, or of a part of it."""
        return self.residues == query[self.pairs[0, 0] : self.pairs[-1, 0] + 1]


def chosen(query: str, found: SequenceOf[Homolog], *, number: int, coverage: float) -> list[Homolog]:
    """Return some of the homologs of a query: the closest, the most distant, and others at equal intervals between.

    Close homologs are many and resemble each other; distant ones differ most, and say most about what is conserved.
    Copies of the query or of another homolog are left out.

    Args:
        query: the unaligned query.
        found: its homologs, best first.
        number: maximum number.
        coverage: minimum fraction of the query between the first and the last aligned residue.
    """
    distinct: dict[str, Homolog] = {}
    for homolog in found:
        if homolog.span >= coverage * len(query) and not homolog.is_copy(query):
            distinct.setdefault(homolog.residues, homolog)
    kept = list(distinct.values())
    if len(kept) <= number:
        return kept
    return [kept[i] for i in np.linspace(0, len(kept) - 1, number).round().astype(int)]


def family_of(query: Sequence, homologs: SequenceOf[Homolog], names: SequenceOf[str]) -> Family:
    """Return a query and its homologs as an aligned family: the residues of the query are its match columns.

    Residues of a homolog between two match columns are insertions: lower case, aligned to the left.

    Args:
        query: the query, first of the members.
        homologs: its homologs.
        names: the id of each, unique.
    """
    length = len(query.residues)
    inserted = [_insertions(homolog) for homolog in homologs]
    widths: dict[int, int] = {}
    for insertions in inserted:
        for place, insertion in insertions.items():
            widths[place] = max(widths.get(place, 0), len(insertion))

    def row(letters: list[str], insertions: dict[int, str]) -> str:
        for place, width in widths.items():
            letters[place] += insertions.get(place, "").lower().ljust(width, ".")
        return "".join(letters)

    rows = [row(list(query.residues), {})]
    for homolog, insertions in zip(homologs, inserted, strict=True):
        letters = ["-"] * length
        for i, j in homolog.pairs.tolist():
            letters[i] = homolog.residues[j].upper()
        rows.append(row(letters, insertions))
    return Family(
        [query.id, *names],
        rows,
        name=query.id,  # an accession would lose its version, as in NP_000549.1
        description=query.description,
        column_features={"RF": row(["x"] * length, {})},
        where=query.where,
    )


def _insertions(homolog: Homolog) -> dict[int, str]:
    """Return the residues of a homolog that follow each position of the query without being aligned."""
    found = {}
    pairs = homolog.pairs
    for place in np.flatnonzero(np.diff(pairs[:, 1]) > 1).tolist():
        found[int(pairs[place, 0])] = homolog.residues[pairs[place, 1] + 1 : pairs[place + 1, 1]]
    return found
