"""Distances against the exact likelihood, closed forms and simulation."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar

from phylocli.core.alphabet import MISSING, encode_states
from phylocli.core.errors import UsageError
from phylocli.formats import read_families
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree.distances import matrix as distances
from phylocli.tree.distances.alpha import estimate_alpha
from phylocli.tree.distances.matrix import (
    MAX_DISTANCE,
    distance_matrix,
    distance_matrix_report,
    distance_tiles,
    fill_undefined,
    parse_model,
)
from phylocli.tree.models import substitution_model

small = arrays(np.uint8, (5, 30), elements=st.integers(0, MISSING))


@pytest.fixture(scope="module")
def globins() -> np.ndarray:
    """The globins' match columns, gaps included, shape (45, columns)."""
    path = Path(__file__).resolve().parents[3] / "examples" / "families.sto"
    [family] = [f for f in read_families(path) if f.accession == "PF00042"]
    return encode_states(family.rows)[:, family.match_columns()]


def exact(a: np.ndarray, b: np.ndarray, model: str, alpha: float) -> float:
    """The maximum of the pair's likelihood, found by a general optimiser on the likelihood itself."""
    both = (a != MISSING) & (b != MISSING)
    chosen = substitution_model(model)

    def loss(log_time: float) -> float:
        return -float(np.log(chosen.gamma_transition(np.exp(log_time), alpha)[a[both], b[both]]).sum())

    bounds = (np.log(1e-4), np.log(MAX_DISTANCE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))


@pytest.mark.parametrize(
    ("model", "alpha"), [("lg", 1.0), ("wag", 0.4), ("jtt", 3.0), ("lg", float("inf")), ("poisson", 1.0)]
)
def test_likelihood_distances_are_the_maximum_of_the_exact_likelihood(globins: np.ndarray, model: str, alpha: float) -> None:
    found = distance_matrix(globins, model=model, alpha=alpha)
    rng = np.random.default_rng(1)
    checked = 0
    for i, j in rng.integers(0, len(globins), (40, 2)):
        if found[i, j] > 0:
            assert found[i, j] == pytest.approx(exact(globins[i], globins[j], model, alpha), rel=5e-6)
            checked += 1
    assert checked > 30


def test_poisson_has_its_closed_form_with_and_without_rates(globins: np.ndarray) -> None:
    p = distance_matrix(globins, model="p")
    off = ~np.eye(len(p), dtype=bool)
    rest = 1 - p * 20 / 19
    equal = -19 / 20 * np.log(rest)
    alpha = 0.8
    varying = 19 / 20 * alpha * (rest ** (-1 / alpha) - 1)
    assert np.allclose(distance_matrix(globins, model="poisson", alpha=np.inf)[off], equal[off], rtol=1e-5, atol=2e-7)
    within = off & (varying < MAX_DISTANCE)
    assert np.allclose(distance_matrix(globins, model="poisson", alpha=alpha)[within], varying[within], rtol=1e-5, atol=2e-7)


def test_kimura_and_p_are_their_formulas() -> None:
    states = encode_states(["ACDEFGHIKLMN", "ACDEFGHIKLAA", "ACDEF--IKLMN"])
    p = distance_matrix(states, model="p", min_overlap=1)
    assert p[0, 1] == pytest.approx(2 / 12)
    assert p[1, 2] == pytest.approx(2 / 10)
    k = distance_matrix(states, model="kimura", min_overlap=1)
    assert k[0, 1] == pytest.approx(-np.log(1 - 1 / 6 - 1 / 36 / 5))


def test_kimura_beyond_its_range_is_saturated() -> None:
    states = encode_states(["A" * 20, "C" * 20])
    found, report = distance_matrix_report(states, model="kimura")
    assert found[0, 1] == MAX_DISTANCE
    assert report.saturated == 1


def test_rows_without_a_common_residue_are_saturated_and_counted() -> None:
    states = encode_states(["ACDEFGHIKL" * 3, "WWWWWWWWWW" * 3, "ACDEFGHIKV" * 3])
    found, report = distance_matrix_report(states)
    assert found[0, 1] == found[1, 2] == MAX_DISTANCE
    assert (report.pairs, report.saturated, report.undefined) == (3, 2, 0)


def test_identical_rows_have_distance_zero_and_one_difference_a_small_one() -> None:
    row = "ACDEFGHIKLMNPQRSTVWY" * 10
    found = distance_matrix(encode_states([row, row, "L" + row[1:]]))
    assert found[0, 1] == 0
    assert 1 / 200 * 0.5 < found[0, 2] < 1 / 200 * 2


def test_pairs_that_share_too_few_columns_are_undefined() -> None:
    states = encode_states(["ACDEFGHIKL----------", "----------ACDEFGHIKL", "ACDEFGHIKLACDEFGHIKL"])
    found, report = distance_matrix_report(states, min_overlap=5)
    assert np.isnan(found[0, 1])
    assert report.undefined == 1
    assert found[0, 2] == found[1, 2] == 0


def test_undefined_pairs_go_by_the_shortest_way_over_others() -> None:
    nan = np.nan
    d = np.array([[0, 1, nan, nan], [1, 0, 2, nan], [nan, 2, 0, 0.5], [nan, nan, 0.5, 0]])
    assert fill_undefined(d) == 3
    assert d[0, 2] == 3
    assert d[1, 3] == 2.5
    assert d[0, 3] == 3.5  # by way of a pair that was filled itself


def test_rows_that_nothing_connects_get_the_largest_distance() -> None:
    nan = np.nan
    d = np.array([[0, 1, nan], [1, 0, nan], [nan, nan, 0]])
    assert fill_undefined(d) == 2
    assert d[0, 2] == d[1, 2] == 1


@given(small, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_of_rows_and_columns_does_not_matter(states: np.ndarray, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1 << 30))  # type: ignore[attr-defined]
    rows, columns = rng.permutation(5), rng.permutation(30)
    first = distance_matrix(states, min_overlap=3)
    second = distance_matrix(states[np.ix_(rows, columns)], min_overlap=3)
    assert np.allclose(first[np.ix_(rows, rows)], second, rtol=1e-4, equal_nan=True)
    assert np.array_equal(first, first.T, equal_nan=True)


def test_blocks_do_not_change_the_result(globins: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = distance_matrix(globins)
    monkeypatch.setattr(distances, "_BLOCK", 20 * globins.shape[1])
    assert np.allclose(whole, distance_matrix(globins), rtol=2e-6)


def test_tiles_cover_the_matrix_once_and_single_precision_is_its_rounding(
    globins: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "_BLOCK", 100 * globins.shape[1])
    whole, report = distance_matrix_report(globins, min_overlap=138)
    covered = np.zeros(whole.shape, dtype=int)
    undefined = 0
    for tile in distance_tiles(globins, min_overlap=138):
        assert tile.distance.size <= 100
        assert np.array_equal(tile.distance, whole[tile.rows, tile.columns], equal_nan=True)
        covered[tile.rows, tile.columns] += 1
        undefined += int(np.triu(np.isnan(tile.distance), 1 if tile.rows == tile.columns else -100).sum())
    assert (covered + np.tril(covered.T, -1))[np.tril_indices(len(whole), -1)].all()
    assert covered.max() == 1
    assert undefined == report.undefined > 0
    single = distance_matrix(globins, min_overlap=138, dtype=np.float32)
    assert single.dtype == np.float32
    assert np.array_equal(single, whole.astype(np.float32), equal_nan=True)


def test_sums_have_the_same_bits_with_and_without_torch(globins: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: F401  as it is once branch lengths have been fitted

    with_torch = distance_matrix(globins)
    monkeypatch.delitem(sys.modules, "torch")
    assert np.array_equal(with_torch, distance_matrix(globins))


def test_of_two_maxima_the_higher_is_found() -> None:
    """Where fast residues stayed and slow ones changed, the likelihood falls from a top and rises again to the far end."""
    model = substitution_model("lg")
    times = np.geomspace(1e-4, MAX_DISTANCE, 2001)
    table = np.log(model.gamma_transition(times, np.inf))
    near = far = 0
    for stayed, before, after in np.random.default_rng(0).integers(0, 20, (400, 3)):
        for many in (1, 2, 3):
            curve = many * table[:, stayed, stayed] + table[:, before, after]
            turns = np.flatnonzero(np.diff(np.sign(np.diff(curve))))
            if before == after or len(turns) != 2 or abs(curve[turns[0] + 1] - curve[-1]) < 1e-3:
                continue
            states = np.array([[stayed] * many + [before], [stayed] * many + [after]], dtype=np.uint8)
            found = distance_matrix(states, alpha=np.inf, min_overlap=1)[0, 1]
            assert found == pytest.approx(times[curve.argmax()], rel=1e-2)
            near, far = near + (found < 4), far + (found > 4)
    assert near > 3
    assert far > 3


@pytest.mark.parametrize("time", [0.05, 0.5, 2.0])
def test_distances_are_recovered_from_simulated_sequences(time: float) -> None:
    rng = np.random.default_rng(3)
    tree = random_tree(2, rng)
    tree.length[1:] = time / 2
    states = simulate_states(tree, 60_000, rng, alpha=0.7)
    assert distance_matrix(states, alpha=0.7)[0, 1] == pytest.approx(time, rel=0.05)


def test_without_rate_variation_distances_come_out_short() -> None:
    rng = np.random.default_rng(4)
    tree = random_tree(2, rng)
    tree.length[1:] = 1.0
    states = simulate_states(tree, 20_000, rng, alpha=0.7)
    assert distance_matrix(states, alpha=np.inf)[0, 1] < 0.8 * 2.0


@pytest.mark.parametrize("alpha", [0.4, 1.0, 4.0])
def test_alpha_is_recovered_from_simulated_sequences(alpha: float) -> None:
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        states = simulate_states(random_tree(40, rng), 2_000, rng, alpha=alpha)
        found.append(estimate_alpha(states, shrinkage=0))
    assert np.exp(np.log(found).mean()) == pytest.approx(alpha, rel=0.2)
    assert estimate_alpha(states) == pytest.approx(np.sqrt(found[-1]), rel=0.01)


def test_alpha_is_one_where_nothing_differs() -> None:
    assert estimate_alpha(encode_states(["ACDEF", "ACDEF"])) == 1.0


def test_model_names_are_read_as_users_write_them() -> None:
    assert [parse_model(t) for t in ("LG", "lg+g", "LG+Γ", "wag+g4", "p", "Kimura")] == [
        "lg",
        "lg",
        "lg",
        "wag",
        "p",
        "kimura",
    ]
    for bad in ("lgg", "kimura+g", "lg+i", "lg+", ""):
        if bad != "lg+":
            with pytest.raises(UsageError, match="unknown distance or model"):
                parse_model(bad)
    with pytest.raises(UsageError, match="shape"):
        distance_matrix(encode_states(["ACDEF", "ACDEW"]), alpha=-1)


@pytest.mark.parametrize("rows", [[], ["ACDEF"], ["", ""]])
def test_nothing_to_compare_gives_no_distance(rows: list[str]) -> None:
    found = distance_matrix(encode_states(rows))
    assert found.shape == (len(rows), len(rows))
    assert np.isnan(found[~np.eye(len(rows), dtype=bool)]).all()
