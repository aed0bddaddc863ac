"""Validation of `Family` objects."""

import re

import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats import Family


@pytest.mark.parametrize(
    ("ids", "rows", "aligned", "said"),
    [
        (["a", "b"], ["MK"], True, "PF1 has 2 ids and 1 rows"),
        (["a", "b", "a"], ["MK", "MR", "MA"], True, "PF1: the id 'a' occurs twice"),
        (["a", "a"], ["MK", "MRV"], False, "PF1: the id 'a' occurs twice"),
        (["a", "b", "c"], ["MK", "M-", "MKV"], True, "the row of 'c' has 3 columns, that of 'a' has 2.*aligned=False"),
    ],
)
def test_members_that_are_no_family_are_refused_by_name(ids, rows, aligned, said):
    with pytest.raises(BadInputError, match=re.compile(said, re.DOTALL)):
        Family(ids, rows, accession="PF1", aligned=aligned)


def test_sequences_that_are_not_aligned_may_have_any_length():
    family = Family(["a", "b"], ["MK", "MKV"], aligned=False)
    assert [len(sequence.residues) for sequence in family.sequences()] == [2, 3]


def test_a_subset_is_checked_too():
    family = Family(["a", "b", "c"], ["MK", "M-", "MR"])
    assert family.subset(["c", "a"]).ids == ["a", "c"]
    with pytest.raises(BadInputError, match="no member 'd'"):
        family.subset(["a", "d"])
