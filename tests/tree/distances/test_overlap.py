"""Families of few columns, and members that share too few of them: distances that mean something, an error or a warning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from phylocli.core.alphabet import AMINO_ACIDS, MISSING
from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.pairs import PairSampler
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import infer_trees
from phylocli.tree.distances import overlap as _overlap
from phylocli.tree.distances.overlap import least_overlap, overlap_groups

LETTERS = np.array(list(AMINO_ACIDS + "-"))
DISTANCES = ["bme", "nj"]


def as_family(states: np.ndarray) -> Family:
    return Family([f"m{k}" for k in range(len(states))], ["".join(row) for row in LETTERS[states]], accession="PF1")


def tree_distances(family: Family) -> dict[tuple[str, str], float]:
    tree = family.require_tree()
    names = tree.tip_names()
    i, j = np.triu_indices(len(names), 1)
    found = PairSampler(tree).distance(i, j).tolist()
    return {
        (min(pair), max(pair)): d
        for pair, d in zip(((names[a], names[b]) for a, b in zip(i, j, strict=True)), found, strict=True)
    }


@given(
    st.integers(1, 9).flatmap(
        lambda columns: st.lists(st.lists(st.booleans(), min_size=columns, max_size=columns), min_size=1, max_size=14)
    ),
    st.integers(1, 4),
    st.sampled_from([1, 7, 20_000_000]),
)
def test_groups_are_the_connected_components_of_the_overlaps(rows: list[list[bool]], least: int, cells: int) -> None:
    present = np.array(rows, dtype=bool)
    states = np.where(present, 3, MISSING).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_overlap, "_CELLS", cells)  # small ones make many blocks
        group = overlap_groups(states, least)
    _, expected = connected_components(present.astype(int) @ present.T.astype(int) >= least)
    first = {label: int(np.flatnonzero(expected == label)[0]) for label in expected}
    assert group.tolist() == [first[label] for label in expected]


@pytest.mark.parametrize(
    ("wanted", "columns", "least"),
    [(10, 300, 10), (10, 20, 10), (10, 19, 10), (10, 8, 4), (21, 20, 10), (10, 1, 1), (0, 50, 1)],
)
def test_a_pair_must_share_no_more_than_half_of_the_columns(wanted: int, columns: int, least: int) -> None:
    assert least_overlap(wanted, columns) == least


@pytest.mark.parametrize("engine", DISTANCES)
@pytest.mark.parametrize("columns", [1, 2, 3, 5, 8, 9, 12, 19])
def test_short_families_get_the_distances_of_their_columns(engine: str, columns: int) -> None:
    rng = np.random.default_rng(columns)
    states = np.unique(simulate_states(random_tree(9, rng), columns, rng), axis=0)
    family = as_family(states)
    [done] = infer_trees([family], engine=engine, refine=False)
    [expected] = infer_trees([family], engine=engine, refine=False, min_overlap=1)
    assert done.tree.to_newick() == expected.tree.to_newick()
    assert max(tree_distances(done).values()) > 0.1
    assert "too few columns" not in done.notes[-1]


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("columns", [1, 4, 9])
def test_two_or_three_short_members_are_apart(n: int, columns: int) -> None:
    rows = ["ACDEFGHIK"[:columns], "RCDEFGHIK"[:columns], "WCDEFGHIK"[:columns]][:n]
    [done] = infer_trees([Family(list("abc")[:n], rows)])
    assert min(tree_distances(done).values()) > 0.01


@pytest.mark.parametrize("engine", [*DISTANCES, pytest.param("veryfasttree", marks=pytest.mark.needs("veryfasttree"))])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_members_of_which_no_two_share_a_column_are_an_error(engine: str, n: int) -> None:
    rows = ["-" * 12 * k + "ACDEFGHIKLMN" + "-" * 12 * (n - 1 - k) for k in range(n)]
    with pytest.raises(BadInputError, match="PF1: no two different members share") as caught:
        list(infer_trees([Family([f"m{k}" for k in range(n)], rows, accession="PF1")], engine=engine, columns="all"))
    assert "--min-overlap" not in str(caught.value)  # which would not help
    assert "--columns" not in str(caught.value)  # all are used


def test_halves_of_a_family_that_share_too_few_columns_are_an_error() -> None:
    rows = ["ACDEFGHIKLMN" + "-" * 12, "ACDEFGHIKLMV" + "-" * 12, "-" * 9 + "LMNACDEFGHIKLMN", "-" * 9 + "LMNACDEFGHIKLVV"]
    family = Family(list("abcd"), rows)
    with pytest.raises(
        BadInputError, match="fall into 2 groups that do not share 10 columns, the largest of 2 among 4"
    ) as caught:
        list(infer_trees([family], engine="bme", columns="all"))
    assert "lower --min-overlap (now 10)" in str(caught.value)
    [done] = infer_trees([family], engine="bme", columns="all", min_overlap=3)  # the advice works
    assert sorted(done.require_tree().tip_names()) == list("abcd")


@pytest.mark.parametrize("engine", DISTANCES)
def test_a_fragment_that_cannot_be_compared_is_left_out_with_a_warning(
    engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    states = simulate_states(random_tree(8, rng), 60, rng)
    states[2, 5:] = MISSING
    states[6, :55] = MISSING
    twin = np.concatenate([states, states[2:3]])  # a copy of a fragment does not provide more columns
    family = as_family(twin)
    [done] = infer_trees([family], engine=engine, columns="all")
    said = " ".join(capsys.readouterr().err.split())
    assert "PF1: excluded 3 of 9 members that do not share 10 columns with the others, first 'm2'" in said
    assert "lower --min-overlap (now 10)" in said
    assert done.ids == ["m0", "m1", "m3", "m4", "m5", "m7"]
    [without] = infer_trees([family.subset(done.ids)], engine=engine, columns="all")
    assert done.tree.to_newick() == without.tree.to_newick()
    [all_] = infer_trees([family], engine=engine, columns="all", min_overlap=5)
    assert len(all_) == 9


@pytest.mark.needs("veryfasttree")
def test_a_likelihood_engine_needs_one_shared_column_only() -> None:
    rng = np.random.default_rng(1)
    states = simulate_states(random_tree(8, rng), 60, rng)
    states[2, 5:] = MISSING
    [done] = infer_trees([as_family(states)], engine="veryfasttree", columns="all")
    assert len(done) == 8


@pytest.mark.parametrize("engine", DISTANCES)
def test_distances_through_other_members_exist_for_every_pair(engine: str) -> None:
    rng = np.random.default_rng(3)
    states = simulate_states(random_tree(6, rng), 60, rng)
    states[0, 25:] = MISSING
    states[1, :35] = MISSING
    [done] = infer_trees([as_family(states)], engine=engine, refine=False, columns="all")
    assert "1 of 15 pairs share too few columns (distance via other rows)" in done.notes[-1]
