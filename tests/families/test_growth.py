import numpy as np

from phylocli.families.growth import shared_region
from phylocli.families.searching import Hit, Region, chained


def hit(sequence, start, end, first, last, score=10.0):
    return Hit(Region(sequence, start, end), score, 1e-5, first, last, b"A" * (last - first + 1))


def agreed(intervals, length, coverage=0.6, shortest=1):
    starts, ends = np.array(intervals).T
    return shared_region(starts, ends, length, coverage, shortest)


def test_the_whole_query_is_the_stretch_where_hits_cover_it():
    assert agreed([(1, 200), (1, 200), (1, 200), (5, 198), (30, 190)], 200) == (1, 200)


def test_a_domain_that_many_hits_share_wins_over_a_protein_that_few_cover():
    assert agreed([(1, 400), *[(1, 200)] * 5], 400) == (1, 200)
    assert agreed([(1, 400), *[(201, 400)] * 5], 400) == (201, 400)
    assert agreed([(1, 220), *[(1, 150)] * 8], 220) == (1, 150)  # though they cover most of it
    assert agreed([*[(1, 400)] * 9, *[(1, 200)] * 2], 400) == (1, 400)


def test_no_stretch_is_shorter_than_the_shortest_but_a_short_query_may_be_all():
    assert agreed([(10, 20)] * 50, 100, shortest=30) == (1, 100)
    assert agreed([(3, 9)] * 50, 12, shortest=30) == (1, 12)


def test_pieces_of_one_domain_are_chained():
    (joined,) = chained([hit(0, 1, 50, 1, 50, 20), hit(0, 120, 180, 60, 120, 30)])
    assert joined.region == Region(0, 1, 180)
    assert (joined.profile_start, joined.profile_end, joined.score) == (1, 120, 50)
    assert joined.row == b"A" * 50 + b"-" * 9 + b"A" * 61


def test_chained_pieces_that_overlap_in_the_profile_have_each_position_once():
    (joined,) = chained([hit(0, 1, 50, 1, 50), hit(0, 55, 100, 41, 86)])
    assert len(joined.row) == 86


def test_repeats_distant_pieces_and_other_sequences_are_not_chained():
    repeats = [hit(0, 1, 100, 1, 100), hit(0, 101, 200, 1, 100)]
    distant = [hit(0, 1, 50, 1, 50), hit(0, 1050, 1100, 51, 100)]
    others = [hit(0, 1, 50, 1, 50), hit(1, 51, 100, 51, 100)]
    for hits in (repeats, distant, others):
        assert chained(hits) == hits
