"""Alignments of homologs: which are kept, and the family that they make."""

import numpy as np
import pytest

from phylocli.formats import Sequence
from phylocli.homologs.alignments import Homolog, chosen, family_of
from phylocli.mmseqs import aligned_pairs

QUERY = "ACDEFGHIKL"


def homolog(residues: str, pairs: list[tuple[int, int]], evalue: float = 1e-9, target: int = 0, start: int = 0) -> Homolog:
    return Homolog(target, start, residues, np.array(pairs), evalue)


def whole(residues: str, evalue: float = 1e-9) -> Homolog:
    return homolog(residues, [(i, i) for i in range(len(residues))], evalue)


def test_a_family_has_the_residues_of_the_query_as_match_columns():
    inserted = homolog("CDWWEF", [(1, 0), (2, 1), (3, 4), (4, 5)])  # WW between D and E
    deleted = homolog("CDGHY", [(1, 0), (2, 1), (5, 2), (6, 3), (7, 4)])  # no E, no F
    other = homolog("DWE", [(2, 0), (3, 2)])
    family = family_of(Sequence("q", QUERY, "described"), [inserted, deleted, other], ["a/1-6", "b/1-5", "c/1-3"])
    assert family.name == "q" and family.description == "described"
    assert family.ids == ["q", "a/1-6", "b/1-5", "c/1-3"]
    assert list(family.rows) == ["ACD..EFGHIKL", "-CDwwEF-----", "-CD..--GHY--", "--Dw.E------"]
    assert family.column_features["RF"] == "xxx..xxxxxxx"
    assert [s.residues for s in family.sequences()] == [QUERY, "CDWWEF", "CDGHY", "DWE"]
    assert family.match_positions()[1].tolist() == [1, 2, -1, -1, 3, 4]


def test_a_query_without_homologs_is_a_family_of_one():
    family = family_of(Sequence("q", QUERY), [], [])
    assert list(family.rows) == [QUERY] and family.column_features["RF"] == "x" * 10


def test_homologs_are_chosen_at_equal_intervals_from_the_closest_to_the_most_distant():
    letters = "MNPQRSTVWY"
    found = [whole(QUERY[:-1] + letter, 10.0 ** (k - 20)) for k, letter in enumerate(letters)]
    kept = chosen(QUERY, found, number=4, coverage=0.5)
    assert [h.residues[-1] for h in kept] == ["M", "Q", "T", "Y"]
    assert chosen(QUERY, found, number=10, coverage=0.5) == found
    assert chosen(QUERY, found, number=1, coverage=0.5) == found[:1]


def test_copies_and_short_alignments_are_left_out():
    part = homolog("CDEFG", [(i + 1, i) for i in range(5)])
    copy = homolog("ACDEFGHIK", [(i, i) for i in range(9)])  # of a part of the query
    near = whole("ACDEFGHIKV")
    assert chosen(QUERY, [whole(QUERY), copy, near, near, part], number=9, coverage=0.5) == [near]
    part = homolog("CDEFW", [(i + 1, i) for i in range(5)])
    assert chosen(QUERY, [part], number=9, coverage=0.5) == [part]
    assert chosen(QUERY, [part], number=9, coverage=0.51) == []


def test_gaps_count_for_the_coverage_of_the_query():
    gapped = homolog("AL", [(0, 0), (9, 1)])
    assert gapped.span == 10 and chosen(QUERY, [gapped], number=9, coverage=1.0) == [gapped]


@pytest.mark.parametrize(
    ("start", "cigar", "pairs"),
    [
        (0, "3M", [(0, 0), (1, 1), (2, 2)]),
        (4, "1M2I1M", [(4, 0), (7, 1)]),  # two residues of the query without a partner
        (0, "1M2D1M1I1M", [(0, 0), (1, 3), (3, 4)]),
    ],
)
def test_pairs_of_mmseqs(start, cigar, pairs):
    assert aligned_pairs(start, cigar).tolist() == [list(pair) for pair in pairs]
