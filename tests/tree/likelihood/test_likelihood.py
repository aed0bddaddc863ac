"""Likelihoods against sums over all inner states and IQ-TREE, derivatives against differences, fits against scipy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from phylocli.core.alphabet import MISSING, encode_states
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import newick, stockholm
from phylocli.formats.tree import Tree
from phylocli.tree.likelihood import branch_derivatives, log_likelihood, refine_trees, site_log_likelihoods
from phylocli.tree.likelihood.branches import rescale
from phylocli.tree.models import MODELS, discrete_gamma, substitution_model


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The arrays here are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SHAPES = [
    "(a:0.1,b:0.7);",
    "(a:0.3,b:0.1,c:0.9);",
    "((a:0.2,b:0.4):0.1,c:0.3);",
    "((a:0.2,b:0.4):0.15,(c:0.3,d:1.2):0.05);",
    "(a:0.3,b:0.1,c:0.9,d:0.2);",
    "(((a:0.2,b:0.4):0.15):0.25,c:0.3);",
    "((a:0.3,b:0.1,c:0.9):0.4,d:0.2,e:0.6);",
    "((((a:0.1,b:0.2):0.3,c:0.4):0.5,d:0.6):0.7,e:0.8);",
]


def random_states(rows: int, columns: int, seed: int, missing: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    states = rng.integers(0, 20, (rows, columns)).astype(np.uint8)
    states[rng.random(states.shape) < missing] = MISSING
    return states


def brute_force(tree: Tree, states: np.ndarray, model: str, alpha: float, categories: int = 4) -> np.ndarray:
    """Log likelihood of each column: the sum over every assignment of states to the inner nodes, term by term."""
    frequencies = substitution_model(model).frequencies
    inner = [int(i) for i in np.flatnonzero(~tree.is_tip)]
    found = np.zeros(states.shape[1])
    for rate in discrete_gamma(alpha, categories):
        change = substitution_model(model).transition(tree.length * rate)
        for column in range(states.shape[1]):
            observed = dict(zip(tree.tips().tolist(), states[:, column].tolist(), strict=True))
            free = [node for node in tree.tips().tolist() if observed[node] == MISSING]
            for node in free:  # a sum over a tip's states is one: leave the branch out
                del observed[node]
            total = 0.0
            for assignment in itertools.product(range(20), repeat=len(inner)):
                state = observed | dict(zip(inner, assignment, strict=True))
                term = frequencies[state[0]]
                for node in range(1, len(tree)):
                    if node in state:
                        term *= change[node, state[int(tree.parent[node])], state[node]]
                total += term
            found[column] += total / categories
    return np.log(found)


@pytest.mark.parametrize("text", SHAPES)
def test_likelihood_is_the_sum_over_all_inner_states(text: str) -> None:
    tree = newick.parse(text)
    inner = int((~tree.is_tip).sum())
    columns = {1: 6, 2: 4, 3: 2, 4: 1}[inner]
    states = random_states(len(tree.tips()), columns, seed=len(text), missing=0.15)
    if inner == 4:  # 160,000 assignments: one category of rates is enough
        expected = brute_force(tree, states, "lg", 1.0, categories=1)
        found = log_likelihood(tree, tree.tip_names(), states, alpha=1.0, categories=1)
    else:
        expected = brute_force(tree, states, "lg", 0.6)
        found = log_likelihood(tree, tree.tip_names(), states, alpha=0.6)
    assert found == pytest.approx(expected.sum(), abs=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_agrees_with_the_sum_over_inner_states(model: str) -> None:
    tree = newick.parse("((a:0.2,b:0.4):0.15,(c:0.3,d:1.2):0.05);")
    states = random_states(4, 1, seed=5)
    assert log_likelihood(tree, list("abcd"), states, model=model, alpha=1.7) == pytest.approx(
        brute_force(tree, states, model, 1.7).sum(), abs=1e-9
    )


def fn3_of(examples: Path, rows: int) -> tuple[Tree, list[str], np.ndarray]:
    """Rows of the example family fn3, joined in pairs in their order, with lengths from a rule."""
    family = next(f for f in stockholm.read(examples / "families.sto") if f.name == "fn3")
    names = [f"t{i}" for i in range(rows)]
    queue = [f"{name}:{0.05 + 0.07 * (i % 7):.2f}" for i, name in enumerate(names)]
    made = 0
    while len(queue) > 3:
        made += 1
        queue = [*queue[2:], f"({queue[0]},{queue[1]}):{0.02 + 0.05 * (made % 5):.2f}"]
    return newick.parse(f"({','.join(queue)});"), names, encode_states(family.rows[:rows])


IQTREE = [("lg", 0.7, -5023.9154), ("wag", 1.3, -5024.8717), ("jtt", 0.4, -5023.9273), ("lg", float("inf"), -5422.4730)]
"""Model, α and log likelihood of `fn3_of(24)` by IQ-TREE 2.0.7: `iqtree2 -s rows.fa -te tree.nwk -m LG+G4{0.7} -blfix`."""


@pytest.mark.parametrize(("model", "alpha", "expected"), IQTREE)
def test_likelihood_is_that_of_iqtree(examples: Path, model: str, alpha: float, expected: float) -> None:
    tree, names, states = fn3_of(examples, 24)
    assert log_likelihood(tree, names, states, model=model, alpha=alpha) == pytest.approx(expected, abs=1e-4)


def test_fit_reaches_the_maximum_that_iqtree_finds(examples: Path) -> None:
    # iqtree2 -s rows.fa -te tree.nwk -m LG+G4: log likelihood -4662.3678, alpha 1.4055, total tree length 34.1160
    tree, names, states = fn3_of(examples, 24)
    (found,) = refine_trees([tree], [names], [states], sweeps=60, tolerance=1e-4)
    assert found.converged
    assert found.log_likelihood == pytest.approx(-4662.3678, abs=0.01)
    assert found.alpha == pytest.approx(1.4055, abs=0.02)
    assert found.tree.length.sum() == pytest.approx(34.116, abs=0.1)
    assert log_likelihood(found.tree, names, states, alpha=found.alpha) == pytest.approx(found.log_likelihood, abs=0.01)


def test_fit_reaches_the_optimum_of_a_general_optimiser() -> None:
    tree = newick.parse("((a:0.2,b:0.4):0.15,(c:0.3,d:0.5):0.05,e:0.2);")
    states = simulate(tree, 200, seed=3)
    names = tree.tip_names()

    def loss(logs: np.ndarray) -> float:
        lengths = np.exp(np.concatenate([[0.0], logs[1:]]))
        return -log_likelihood(Tree(tree.parent, lengths, tree.names), names, states, alpha=float(np.exp(logs[0])))

    start = np.log(np.concatenate([[1.0], tree.length[1:]]))
    best = optimize.minimize(loss, start, method="L-BFGS-B", bounds=[(-2, 3)] + [(-9, 1)] * (len(tree) - 1))
    (found,) = refine_trees([tree], [names], [states], sweeps=60, tolerance=1e-6, precision="double")
    assert found.log_likelihood == pytest.approx(-best.fun, abs=1e-3)
    assert np.allclose(found.tree.length[1:], np.exp(best.x[1:]), atol=2e-3)


def simulate(tree: Tree, columns: int, seed: int, alpha: float = 1.0) -> np.ndarray:
    """An alignment drawn down the tree under LG with rates from Γ(α, 1/α), rows in the order of the tips."""
    rng = np.random.default_rng(seed)
    model = substitution_model("lg")
    rates = rng.gamma(alpha, 1 / alpha, columns)
    states = np.empty((len(tree), columns), dtype=np.int64)
    states[0] = rng.choice(20, columns, p=model.frequencies)
    for node in range(1, len(tree)):
        change = model.transition(tree.length[node] * rates)[np.arange(columns), states[tree.parent[node]]]
        states[node] = (change.cumsum(axis=1) < rng.random((columns, 1)) * change.sum(axis=1, keepdims=True)).sum(axis=1)
    return states[tree.tips()].astype(np.uint8)


def random_tree(tips: int, seed: int, mean: float = 0.1) -> Tree:
    rng = np.random.default_rng(seed)
    queue = [f"t{i}:{rng.exponential(mean):.6f}" for i in range(tips)]
    while len(queue) > 3:
        i, j = sorted(rng.choice(len(queue), 2, replace=False).tolist(), reverse=True)
        first, second = queue.pop(i), queue.pop(j)
        queue.append(f"({first},{second}):{rng.exponential(mean):.6f}")
    return newick.parse(f"({','.join(queue)});")


@pytest.mark.parametrize("text", SHAPES[1:])
def test_derivatives_are_the_limits_of_differences(text: str) -> None:
    tree = newick.parse(text)
    names, states = tree.tip_names(), random_states(len(tree.tips()), 30, seed=1)
    found = branch_derivatives(tree, names, states, alpha=0.6)
    for node in range(1, len(tree)):
        step = 1e-5
        lengths = np.repeat(tree.length[None], 2, axis=0)
        lengths[:, node] += step, -step
        up, down = (log_likelihood(Tree(tree.parent, at, tree.names), names, states, alpha=0.6) for at in lengths)
        assert found[node] == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-5)
    assert found[0] == 0


@settings(deadline=None, max_examples=20)
@given(st.integers(3, 40), st.integers(0, 10**6))
def test_root_order_and_columns_do_not_matter(tips: int, seed: int) -> None:
    tree = random_tree(tips, seed)
    states = random_states(tips, 20, seed)
    names = tree.tip_names()
    expected = log_likelihood(tree, names, states)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(tips), rng.permutation(20)
    shuffled = log_likelihood(tree, [names[i] for i in rows], states[rows][:, columns])
    ete = tree.to_ete()
    ete.set_outgroup(names[0])
    rerooted = log_likelihood(Tree.from_ete(ete), names, states)
    assert shuffled == pytest.approx(expected, abs=1e-8)
    assert rerooted == pytest.approx(expected, abs=1e-8)


def test_deep_trees_neither_underflow_nor_lose_digits() -> None:
    tips = 1500
    ladder = newick.parse("(" * (tips - 1) + "t0:0.1" + "".join(f",t{i}:1.0):0.3" for i in range(1, tips)) + ";")
    states = random_states(tips, 12, seed=8, missing=0.0)
    names = ladder.tip_names()
    patterns, counts = site_log_likelihoods(ladder, names, states)
    assert len(patterns) == counts.sum() == 12
    assert (patterns < -3000).all()  # e^-3000 is far below what a double holds
    exact = log_likelihood(ladder, names, states)
    assert patterns @ counts == pytest.approx(exact, rel=1e-12)
    (single,) = refine_trees([ladder], [names], [states], sweeps=0)
    assert single.log_likelihood == pytest.approx(exact, rel=1e-6)
    # Far down the ladder the tips are independent draws from the stationary distribution.
    unlinked = np.log(substitution_model("lg").frequencies)[states]
    far = Tree(ladder.parent, np.where(np.arange(len(ladder)) > 0, 200.0, 0.0), ladder.names)
    assert log_likelihood(far, names, states, alpha=np.inf) == pytest.approx(unlinked.sum(), rel=1e-9)


def test_columns_are_compressed_to_patterns() -> None:
    tree = random_tree(6, 1)
    states = random_states(6, 5, seed=2)
    doubled = np.hstack([states, np.full((6, 3), MISSING, dtype=np.uint8), states[:, :2]])
    values, counts = site_log_likelihoods(tree, tree.tip_names(), doubled)
    assert sorted(counts) == [1, 1, 1, 2, 2]
    assert values @ counts == pytest.approx(log_likelihood(tree, tree.tip_names(), doubled), abs=1e-10)


def test_two_tips_get_the_maximum_of_their_own_likelihood() -> None:
    tree = newick.parse("(a:0.1,b:0.3);")
    states = simulate(newick.parse("(a:0.4,b:0.6);"), 300, seed=4)
    model = substitution_model("lg")

    def loss(time: float) -> float:
        change = np.mean([model.transition(time * rate) for rate in discrete_gamma(1.0)], axis=0)
        return -np.log(change[states[0], states[1]]).sum()

    expected = optimize.minimize_scalar(loss, bounds=(0.01, 5), method="bounded", options={"xatol": 1e-7}).x
    (found,) = refine_trees([tree], [["a", "b"]], [states], fit_alpha=False, sweeps=30, tolerance=1e-9, precision="double")
    assert found.tree.length.sum() == pytest.approx(expected, abs=1e-3)
    assert found.tree.length[1] / found.tree.length[2] == pytest.approx(1 / 3)  # the root divides the branch as before


def test_many_trees_at_once_are_each_fitted_as_alone() -> None:
    trees = [random_tree(n, seed) for seed, n in enumerate([2, 3, 9, 30, 5, 17])]
    states = [simulate(tree, 40 + 10 * i, seed=i) for i, tree in enumerate(trees)]
    names = [tree.tip_names() for tree in trees]
    arguments = {"sweeps": 3, "tolerance": 0.0, "precision": "double"}
    together = refine_trees(trees, names, states, **arguments)
    small = refine_trees(trees, names, states, max_bytes=1_000_000, **arguments)
    for i, (tree, rows, alignment) in enumerate(zip(trees, names, states, strict=True)):
        (alone,) = refine_trees([tree], [rows], [alignment], **arguments)
        for other in (together[i], small[i]):
            assert other.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-6)
            assert np.allclose(other.tree.length, alone.tree.length, rtol=1e-6, atol=1e-9)
            assert other.alpha == pytest.approx(alone.alpha, rel=1e-6)


def test_fit_gains_likelihood_and_keeps_the_topology() -> None:
    tree = random_tree(60, 11)
    states = simulate(tree, 120, seed=12)
    start = Tree(tree.parent, np.full(len(tree), 0.3), tree.names)
    (one,) = refine_trees([start], [tree.tip_names()], [states], sweeps=1)
    (five,) = refine_trees([start], [tree.tip_names()], [states], sweeps=5, tolerance=0.0)
    assert one.start < one.log_likelihood <= five.log_likelihood
    assert five.log_likelihood > log_likelihood(tree, tree.tip_names(), states)  # more than the truth itself
    assert (five.tree.parent == tree.parent).all() and five.tree.names == tree.names
    assert np.corrcoef(five.tree.length[1:], tree.length[1:])[0, 1] > 0.9


def test_the_truth_is_found_where_there_are_many_columns() -> None:
    tree = random_tree(12, 5, mean=0.3)
    states = simulate(tree, 3_000, seed=6, alpha=0.8)
    start = Tree(tree.parent, np.full(len(tree), 0.2), tree.names)
    (found,) = refine_trees([start], [tree.tip_names()], [states], sweeps=10, tolerance=0.1)
    assert np.allclose(found.tree.length[1:], tree.length[1:], rtol=0.2, atol=0.04)
    assert found.alpha == pytest.approx(0.8, rel=0.15)


def test_order_of_rows_and_place_of_the_root_do_not_change_the_fit() -> None:
    tree = random_tree(25, 4)
    states = simulate(tree, 150, seed=5)
    names = tree.tip_names()
    (expected,) = refine_trees([tree], [names], [states], sweeps=1)
    rows = np.random.default_rng(1).permutation(25)
    (shuffled,) = refine_trees([tree], [[names[i] for i in rows]], [states[rows]], sweeps=1)
    ete = tree.to_ete()
    ete.set_outgroup(names[7])
    ete.ladderize()
    (rerooted,) = refine_trees([Tree.from_ete(ete)], [names], [states], sweeps=1)
    assert shuffled.tree.length == pytest.approx(expected.tree.length, rel=1e-4, abs=1e-7)
    for a, b in itertools.combinations(names, 2):
        distances = [found.tree.prune([a, b]).length.sum() for found in (expected, rerooted)]
        assert distances[0] == pytest.approx(distances[1], rel=1e-4)


def test_scale_stays_near_the_start_unless_it_is_fitted() -> None:
    tree = random_tree(80, 2)
    states = simulate(tree, 150, seed=9)
    names = tree.tip_names()
    start = Tree(tree.parent, tree.length * 0.7, tree.names)
    total = start.length.sum()
    (kept,) = refine_trees([start], [names], [states], sweeps=1, fit_scale=False)
    (fitted,) = refine_trees([start], [names], [states], sweeps=1)
    (fixed,) = refine_trees([start], [names], [states], sweeps=1, fit_alpha=False, alpha=1.3)
    assert total < kept.tree.length.sum() < 0.95 * fitted.tree.length.sum()
    assert fitted.log_likelihood > kept.log_likelihood > kept.start
    assert fixed.alpha == 1.3


def test_degenerate_alignments_are_fitted() -> None:
    tree = newick.parse("((a:0.1,b:0.1):0.1,c:0.1,d:0.1);")
    same = np.tile(random_states(1, 30, seed=1, missing=0), (4, 1))
    (identical,) = refine_trees([tree], [list("abcd")], [same], sweeps=10)
    assert identical.tree.length.max() < 1e-3
    blank = same.copy()
    blank[3] = MISSING
    (with_blank,) = refine_trees([tree], [list("abcd")], [blank], sweeps=10)
    assert np.isfinite(with_blank.log_likelihood) and np.isfinite(with_blank.tree.length).all()
    (nothing,) = refine_trees([tree], [list("abcd")], [np.full((4, 5), MISSING, dtype=np.uint8)])
    assert nothing.log_likelihood == 0
    (alone,) = refine_trees([newick.parse("a;")], [["a"]], [same[:1]])
    assert alone.log_likelihood == pytest.approx(np.log(substitution_model("lg").frequencies)[same[0]].sum())


def test_negative_and_missing_lengths_are_starts_like_others() -> None:
    good = random_tree(8, 3)
    states = simulate(good, 100, seed=3)
    lengths = good.length.copy()
    lengths[1], lengths[3] = -0.2, np.nan
    names = good.tip_names()
    found = refine_trees(
        [good, Tree(good.parent, lengths, good.names)], [names] * 2, [states] * 2, sweeps=40, tolerance=1e-3
    )
    assert found[0].log_likelihood == pytest.approx(found[1].log_likelihood, abs=0.05)


def test_incompatible_inputs_are_reported() -> None:
    tree = newick.parse("((a:0.1,b:0.1):0.1,c:0.1,d:0.1);")
    states = random_states(4, 10, seed=0)
    with pytest.raises(BadInputError, match="tip 'd' of the tree has no row"):
        log_likelihood(tree, list("abc"), states[:3])
    with pytest.raises(BadInputError, match="row 'e' of the alignment is not a tip"):
        log_likelihood(tree, list("abcde"), random_states(5, 10, seed=0))
    with pytest.raises(BadInputError, match="row 'a' occurs twice"):
        log_likelihood(tree, list("abca"), states)
    with pytest.raises(BadInputError, match="tip 'a' occurs twice"):
        log_likelihood(newick.parse("(a:1,a:1,b:1);"), list("ab"), states[:2])
    with pytest.raises(UsageError, match="unknown substitution model"):
        refine_trees([tree], [list("abcd")], [states], model="dayhoff")
    with pytest.raises(UsageError, match="precision"):
        refine_trees([tree], [list("abcd")], [states], precision="half")
    with pytest.raises(UsageError, match="device"):
        refine_trees([tree], [list("abcd")], [states], device="abacus")
    with pytest.raises(UsageError, match="positive"):
        refine_trees([tree], [list("abcd")], [states], alpha=0.0)
    with pytest.raises(UsageError, match="no branch"):
        log_likelihood(newick.parse("a;"), ["a"], states[:1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rescaling_is_by_the_power_of_two_above_the_largest(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((6, 4, 20, 33)) * 10.0 ** rng.integers(-30, 3, (6, 4, 1, 33))
    values[0, 0, :, 0] = 0.0
    values[0, 1, :, 1] = 2.0**-20  # a power of two itself
    given = torch.from_numpy(values).to(dtype)
    scaled = given.clone()
    exponent = rescale(scaled)
    mantissa, expected = torch.frexp(given.amax(dim=2))
    there = mantissa > 0
    assert torch.equal(exponent[there], expected[there].to(dtype))
    assert torch.equal(scaled.amax(dim=2), mantissa)
    assert torch.equal(
        scaled[there.unsqueeze(2).expand_as(given)],
        torch.ldexp(given, -expected.unsqueeze(2))[there.unsqueeze(2).expand_as(given)],
    )
