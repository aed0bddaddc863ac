"""Overlapping families: which is absorbed, and where its members go."""

import pytest
from scipy.sparse import csr_array

from phylocli.families.grouping import Grouping
from phylocli.families.growth import Grown
from phylocli.families.pool import Pool
from phylocli.families.residue_assignment import Group, ResidueAssignment
from phylocli.families.searching import Hit, Region, Searcher, Settings
from phylocli.formats.sequences.fasta import Sequence


class Length:
    """A stub profile that has only a length."""

    def __init__(self, length):
        self.M = length


def hit(sequence, start, end, score=10.0):
    return Hit(Region(sequence, start, end), score, 1e-9, 1, end - start + 1, b"A" * (end - start + 1))


@pytest.fixture
def grouping():
    """Twelve sequences of 200 residues, and a family of the first six, whole."""
    pool = Pool(Sequence(f"s{i:02d}", "MKVLAWGH"[i % 8] * 199 + "ACDEFGHIKLMN"[i]) for i in range(12))
    assert len(pool) == 12
    assignment = ResidueAssignment(pool, Settings())
    assignment.take(Group(Length(200), [hit(i, 1, 200) for i in range(6)]))
    return Grouping(assignment, Searcher(pool, Settings()), csr_array((12, 12), dtype=int))


def commit(grouping, members, claims, length=200):
    """Commit what a seed at the end of the last sequence has grown to; return the members of each family, by sequence."""
    grouping._commit(Region(11, 1, 200), Grown(Length(length), members, {0: claims} if claims else {}))
    return [sorted(h.region.sequence for h in group.members) for group in grouping.assignment.groups.values()]


def test_larger_family_that_finds_half_of_another_absorbs_it(grouping):
    families = commit(grouping, [hit(i, 1, 200) for i in (8, 9, 10, 11)], [hit(i, 1, 200) for i in range(4)])
    assert families == [[0, 1, 2, 3, 8, 9, 10, 11]]
    assert grouping.assignment.free_residues(4) == grouping.assignment.free_residues(5) == 200


def test_family_that_finds_less_than_half_of_another_does_not_absorb_it(grouping):
    families = commit(grouping, [hit(i, 1, 200) for i in (8, 9, 10, 11)], [hit(i, 1, 200) for i in range(2)])
    assert families == [[0, 1, 2, 3, 4, 5], [8, 9, 10, 11]]


def test_family_that_would_not_be_larger_does_not_absorb_another(grouping):
    assert commit(grouping, [hit(10, 1, 200), hit(11, 1, 200)], [hit(i, 1, 200) for i in range(4)])[0] == [0, 1, 2, 3, 4, 5]


PARTS = [hit(i, 1, 80) for i in range(6)]


def test_a_part_of_the_members_is_not_cut_out_where_it_is_hardly_seen_alone(grouping):
    assert commit(grouping, [hit(10, 1, 80), hit(11, 1, 80)], PARTS, 80) == [[0, 1, 2, 3, 4, 5], [10, 11]]


def test_a_part_of_the_members_is_cut_out_where_it_is_seen_alone(grouping):
    assert commit(grouping, [hit(i, 1, 80) for i in (7, 8, 9)], PARTS, 80) == [[0, 1, 2, 3, 4, 5, 7, 8, 9]]
    for i in range(6):
        assert [(r.start, r.end) for r in grouping.assignment.free_regions(i)] == [(81, 200)]


def test_seed_whose_members_were_taken_in_its_batch_is_grown_again(grouping):
    families = commit(grouping, [hit(3, 1, 200), hit(10, 1, 200), hit(11, 1, 200)], [])
    assert families == [[0, 1, 2, 3, 4, 5]]
    grouping.assignment.dissolve(0)
    assert commit(grouping, [hit(10, 1, 200), hit(11, 1, 200)], [hit(0, 1, 200)]) == []  # a claim on a family that has gone


def test_a_lone_hit_is_no_family(grouping):
    assert commit(grouping, [hit(11, 1, 200)], []) == [[0, 1, 2, 3, 4, 5]]
