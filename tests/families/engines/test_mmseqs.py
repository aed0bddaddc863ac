"""Alignments as MMseqs2 writes them."""

import pytest

from phylocli.families.engines.mmseqs import Alignment


@pytest.mark.parametrize(
    ("start", "target_start", "cigar", "row"),
    [
        (0, 0, "6M", b"ACDEFG--"),
        (1, 2, "2M1I2M", b"-DE-FG--"),  # the representative's fourth residue has no partner
        (0, 1, "2M2D1M", b"CDG-----"),  # the member's E and F have none
        (5, 0, "3M", b"-----ACD"),
    ],
)
def test_rows_have_the_letters_of_the_member_at_the_positions_of_the_representative(start, target_start, cigar, row):
    assert Alignment(50.0, 1e-9, start, target_start, cigar).row(b"ACDEFG", 8) == row
