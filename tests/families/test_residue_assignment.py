"""Assignment of residues to families, and merging of families."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from phylocli.families.grouping import non_overlapping
from phylocli.families.merging import adjacent_families, merge_fragments
from phylocli.families.pool import Pool
from phylocli.families.profiles import Builders
from phylocli.families.residue_assignment import FREE, Group, ResidueAssignment
from phylocli.families.searching import Hit, Region, Searcher, Settings
from phylocli.formats import read_families
from phylocli.formats.sequences.fasta import Sequence


class Length:
    """A stub profile that has only a length."""

    def __init__(self, length):
        self.M = length


def hit(sequence, start, end, score=10.0, first=1, last=None):
    last = end - start + first if last is None else last
    return Hit(Region(sequence, start, end), score, 1e-9, first, last, b"A" * (last - first + 1))


@pytest.fixture
def assignment():
    return ResidueAssignment(Pool([Sequence("a", "MKV" * 50), Sequence("b", "LIV" * 40)]), Settings())


def test_family_includes_short_flanks_and_leaves_possible_domains_free(assignment):
    number = assignment.take(Group(Length(100), [hit(0, 8, 107)]))
    (member,) = assignment.groups[number].members
    assert member.region == Region(0, 1, 107)  # 7 residues before it, 43 behind it
    assert assignment.free_regions(0) == [Region(0, 108, 150)]
    assert assignment.free_residues(0) == 43 and assignment.free_residues(1) == 120


def test_flank_explained_by_missing_profile_positions_is_included(assignment):
    number = assignment.take(Group(Length(150), [hit(0, 41, 140, first=35, last=134)]))
    assert assignment.groups[number].members[0].region == Region(0, 1, 150)


def test_free_residues_are_those_without_a_family(assignment):
    number = assignment.take(Group(Length(60), [hit(0, 51, 110)]))
    assert assignment.free_part(Region(0, 1, 50)) == (Region(0, 1, 50), FREE)
    assert assignment.free_part(Region(0, 1, 60)) == (Region(0, 1, 50), number)
    assert assignment.free_part(Region(0, 40, 110)) == (None, number)
    assignment.dissolve(number)
    assert (assignment.owner == FREE).all() and not assignment.groups


def test_restore_undoes_dissolve(assignment):
    number = assignment.take(Group(Length(60), [hit(0, 51, 110), hit(1, 11, 70)]))
    before = assignment.owner.copy()
    assignment.restore(number, assignment.dissolve(number))
    assert (assignment.owner == before).all() and list(assignment.groups) == [number]


def test_of_overlapping_hits_the_better_keeps_the_overlap(assignment):
    members, claimed = assignment.partition([hit(0, 41, 100, 50.0), hit(0, 1, 50, 40.0), hit(0, 60, 90, 5.0)])
    assert [m.region for m in members] == [Region(0, 41, 100), Region(0, 1, 40)]
    assert claimed == {}


def test_hits_in_residues_of_a_family_are_claims(assignment):
    number = assignment.take(Group(Length(100), [hit(0, 1, 100)]))
    members, claimed = assignment.partition([hit(0, 5, 95), hit(1, 1, 100)])
    assert [m.region.sequence for m in members] == [1]
    assert [h.region.sequence for h in claimed[number]] == [0]


def test_added_member_is_equivalent_to_an_initial_one(assignment):
    number = assignment.take(Group(Length(100), [hit(0, 1, 100)]))
    assignment.add(number, hit(1, 11, 110))
    assert [m.region for m in assignment.groups[number].members] == [Region(0, 1, 100), Region(1, 1, 120)]
    assert (assignment.owners(Region(1, 1, 120)) == number).all()


def test_non_overlapping_keeps_the_best_of_overlapping_hits():
    kept = non_overlapping([hit(0, 1, 50, 5.0), hit(0, 40, 90, 9.0), hit(0, 91, 120, 1.0), hit(1, 1, 50, 2.0)])
    assert [(h.region.sequence, h.region.start) for h in kept] == [(0, 40), (1, 1), (0, 91)]


def side_by_side(number, alone=0):
    """Return two families of which the members of one follow those of the other in so many sequences."""
    left = Group(Length(100), [hit(i, 1, 100) for i in range(number + alone)])
    right = Group(Length(80), [hit(i, 110, 189) for i in range(number)])
    return {3: left, 7: right}


def test_families_that_are_always_adjacent_are_merged_and_others_are_not():
    ((left, right, together),) = adjacent_families(side_by_side(10))
    assert (left, right, len(together)) == (3, 7, 10)
    assert adjacent_families(side_by_side(10, alone=1))  # ten of eleven
    assert adjacent_families(side_by_side(10, alone=3)) == []
    far = {1: Group(Length(100), [hit(0, 1, 100)]), 2: Group(Length(100), [hit(0, 400, 499)])}
    assert adjacent_families(far) == []


def cut_in_two(members):
    """Return an assignment with each member of an aligned family split at the middle column between two families."""
    columns = members.match_columns()
    rows = list(members.rows)
    sequences = [Sequence(s.id, s.residues) for s in members.sequences()]
    pool = Pool(sequences)
    index = {name: i for i, ids in enumerate(pool.ids) for name in ids}
    assignment, builders = ResidueAssignment(pool, Settings()), Builders()
    middle = int(np.flatnonzero(columns)[columns.sum() // 2])
    for low, high in ((0, middle), (middle, len(columns))):
        aligned, hits = [], []
        for s, row in zip(sequences, rows, strict=True):
            text = "".join(c for c, match in zip(row[low:high], columns[low:high], strict=True) if match)
            text = text.upper().replace(".", "-")
            start = sum(c.isalpha() for c in row[:low]) + 1
            end = sum(c.isalpha() for c in row[:high])
            aligned.append(text.encode())
            hits.append(Hit(Region(index[s.id], start, end), 50.0, 1e-9, 1, len(text), text.encode()))
        assignment.take(Group(builders.profile(aligned, fixed=True), hits))
    return assignment


@pytest.fixture(scope="module")
def cyclins(examples):
    (family,) = [f for f in read_families(examples / "families.sto") if f.name == "Cyclin_N"]
    return family


def test_two_halves_of_one_domain_are_joined(cyclins):
    assignment = cut_in_two(cyclins)
    assert len(assignment.groups) == 2
    with ThreadPoolExecutor(1) as executor:
        merge_fragments(assignment, Searcher(assignment.pool, Settings()), executor)
    (group,) = assignment.groups.values()
    assert len(group.members) >= 0.9 * len(cyclins)
    for member in group.members:
        assert member.region.length >= 0.8 * assignment.pool.lengths[member.region.sequence]


def test_pieces_that_no_profile_finds_together_stay_as_they_are(cyclins):
    assignment = cut_in_two(cyclins)
    before = {number: len(group.members) for number, group in assignment.groups.items()}
    owner = assignment.owner.copy()
    with ThreadPoolExecutor(1) as executor:
        merge_fragments(assignment, Searcher(assignment.pool, Settings(evalue=1e-300)), executor)
    assert {number: len(group.members) for number, group in assignment.groups.items()} == before
    assert (assignment.owner == owner).all()
