"""Trimming and coverage, against the original rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.align.trim import KEPT_TAG, Trim, coverage, drop_uncovered, parse_trim, trim_columns
from phylocli.core.alphabet import degap
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree

columns = st.lists(st.lists(st.sampled_from("ACDEFW-"), min_size=3, max_size=3), min_size=1, max_size=25)


def family() -> Family:
    return Family(
        ["a", "b", "c"],
        ["MKvlAAG", "MK..A-G", "M-v.--G"],
        accession="PF1",
        tree=NewickTree("(a:1,b:1,c:1);"),
        column_features={"RF": "xx..xxx", "SS": "HHccEEE"},
        residue_features={"a": {"PP": "9876543"}},
        sequence_features={"b": [("OS", "Homo sapiens")]},
    )


def test_match_trimming_keeps_match_columns_and_their_annotation() -> None:
    done = trim_columns(family(), Trim(match=True))
    assert done.rows == ["MKAAG", "MKA-G", "M---G"]
    assert done.column_features == {"RF": "xxxxx", "SS": "HHEEE"}
    assert done.residue_features == {"a": {"PP": "98543"}}
    assert done.sequence_features == {
        "a": [(KEPT_TAG, "1-2,5-7")],
        "b": [("OS", "Homo sapiens")],
        "c": [(KEPT_TAG, "1-1,3-3")],
    }
    assert done.tree is None
    assert done.notes == ["trim match columns: 5 of 7"]


def test_gappy_trimming_drops_columns_above_the_fraction() -> None:
    done = trim_columns(family(), parse_trim("gappy=0.5"))
    assert done.rows == ["MKvAG", "MK.AG", "M-v-G"]


@given(columns)
def test_residue_ranges_give_the_remaining_residues(found: list[list[str]]) -> None:
    rows = ["".join(column[i] for column in found) for i in range(3)]
    reference = "".join("x" if column[0] != "-" else "." for column in found)
    if "x" not in reference:
        return
    whole = Family(["a", "b", "c"], rows, column_features={"RF": reference})
    done = trim_columns(whole, Trim(match=True))
    for name, before, after in zip(whole.ids, rows, done.rows, strict=True):
        items = dict(done.sequence_features.get(name, []))
        sequence = degap(before)
        if KEPT_TAG not in items:
            assert degap(after) == sequence
        elif items[KEPT_TAG] == "-":
            assert degap(after) == ""
        else:
            spans = [tuple(map(int, part.split("-"))) for part in items[KEPT_TAG].split(",")]
            assert degap(after) == "".join(sequence[first - 1 : last] for first, last in spans)


def test_nothing_to_trim_leaves_the_family_as_it_is() -> None:
    whole = family()
    assert trim_columns(whole, Trim()) is whole
    assert trim_columns(whole, Trim(max_gaps=1.0)) is whole


def test_trimming_everything_is_an_error() -> None:
    with pytest.raises(BadInputError, match="no columns left"):
        trim_columns(Family(["a", "b"], ["M-", "-K"]), Trim(max_gaps=0.0))


@pytest.mark.parametrize("text", ["some", "gappy", "gappy=x", "gappy=1.5", "match=1"])
def test_invalid_trimming_rules_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="unknown trimming"):
        parse_trim(text)


def test_coverage_counts_match_columns_only() -> None:
    assert coverage(family()).tolist() == pytest.approx([1.0, 0.8, 0.4])


def test_members_under_the_coverage_go_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    done = drop_uncovered(family(), 0.5)
    assert done.ids == ["a", "b"]
    assert "left out 1 of 3 members" in capsys.readouterr().err
    assert done.notes == ["coverage at least 0.5: left out 1 of 3"]
    assert drop_uncovered(family(), 0.4).ids == ["a", "b", "c"]
    with pytest.raises(BadInputError, match="no member covers 1"):
        drop_uncovered(Family(["a"], ["M-"], column_features={"RF": "xx"}), 1.0)
    with pytest.raises(UsageError, match="coverage"):
        drop_uncovered(family(), 1.1)
