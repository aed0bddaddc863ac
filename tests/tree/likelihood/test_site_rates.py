"""Interchanges with one rate for each column: likelihood and derivatives against single rates, and what fragments gain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from phylocli.core.alphabet import AMINO_ACIDS, MISSING
from phylocli.formats.family import Family
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import infer_trees
from phylocli.tree.comparison.splits import splits
from phylocli.tree.likelihood import branch_derivatives, interchange, log_likelihood
from phylocli.tree.likelihood.branches import Branches
from phylocli.tree.likelihood.forest import BinaryTree, Forest, SitePatterns
from phylocli.tree.likelihood.interchange import _site_classes
from phylocli.tree.likelihood.pruning import Pruner
from phylocli.tree.likelihood.quartets import neighbours, resolutions, screen
from phylocli.tree.likelihood.shape import exact_rates
from phylocli.tree.models import substitution_model

MODEL = substitution_model("lg")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The arrays here are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def simulated(n: int, columns: int, seed: int, fragments: float = 0.0) -> tuple[Tree, np.ndarray]:
    """A tree and its alignment; fragments keep 40 to 70 % of the columns."""
    rng = np.random.default_rng(seed)
    tree = random_tree(n, rng)
    states = simulate_states(tree, columns, rng, alpha=0.8)
    for row in np.flatnonzero(rng.random(n) < fragments):
        length = int(rng.integers(int(0.4 * columns), int(0.7 * columns)))
        start = int(rng.integers(0, columns - length))
        states[row, :start] = states[row, start + length :] = MISSING
    return tree, states


def divided(tree: Tree, states: np.ndarray, classes: np.ndarray, rates: list[float], dtype: torch.dtype) -> Pruner:
    patterns = SitePatterns.of(states)
    forest = Forest([BinaryTree.of(tree, states)], [patterns], device=torch.device("cpu"), dtype=dtype, classes=classes)
    return Pruner(forest, MODEL, torch.tensor([rates], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_classes_of_columns_have_the_likelihood_and_derivatives_of_their_rates_one_by_one(
    seed: int, dtype: torch.dtype
) -> None:
    tree, states = simulated(9, 37, seed, fragments=0.4)
    names = tree.tip_names()
    patterns = SitePatterns.of(states)
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.arange(len(patterns.weights)) % 3)
    rates = [0.2, 0.9, 2.7]
    pruner = divided(tree, states, classes, rates, dtype)
    found = float((pruner.ascend().flatten(1) * pruner.forest.weights).sum())
    [slopes] = pruner.forest.original_gradients(pruner.descend())
    expected, expected_slopes = 0.0, np.zeros(len(tree))
    for number, rate in enumerate(rates):
        # Each column as often as its pattern occurs, on the tree as fast as the class is.
        columns = np.repeat(patterns.states[:, classes == number], patterns.weights[classes == number].astype(int), axis=1)
        faster = replace(tree, length=tree.length * rate)
        expected += log_likelihood(faster, names, columns, alpha=np.inf, categories=1)
        expected_slopes += rate * branch_derivatives(faster, names, columns, alpha=np.inf, categories=1)
    assert found == pytest.approx(expected, rel=2e-5 if dtype == torch.float32 else 1e-9)
    # Only the sum of the two branches at the root is known.
    np.testing.assert_allclose(slopes, expected_slopes, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quick_transition_probabilities_are_those_of_double_precision(dtype: torch.dtype) -> None:
    length = torch.tensor([1e-6, 1e-4, 0.01, 0.3, 2.0, 10.0] * 50, dtype=torch.float64)  # more than are computed at once
    rates = torch.tensor([[0.05, 1.0, 4.0]], dtype=torch.float64).expand(len(length), 3)
    exact = Branches(MODEL, torch.device("cpu"), torch.float64).transitions(length, rates)
    quick = Branches(MODEL, torch.device("cpu"), dtype, quick=True).transitions(length, rates)
    assert quick.shape == exact.shape and quick.dtype == dtype
    assert float(quick.min()) > 0
    assert float((quick.double() - exact).abs().max()) < 2e-6
    assert float((quick.double().sum(dim=-1) - 1).abs().max()) < 5e-6


def test_rates_of_columns_follow_the_rates_that_they_were_simulated_with() -> None:
    rng = np.random.default_rng(2)
    tree = random_tree(400, rng)  # more tips than the rates are estimated from
    slow, fast = (
        simulate_states(replace(tree, length=tree.length * rate), 40, np.random.default_rng(seed), alpha=np.inf)
        for seed, rate in enumerate((0.1, 2.5))
    )
    states = np.concatenate([slow, fast], axis=1)
    rows = states  # simulated rows are in the order of the tips
    patterns = SitePatterns.of(rows)
    classes, rates = _site_classes(tree, rows, patterns, MODEL, exact_rates(torch.tensor([0.8], dtype=torch.float64), 4))
    assert np.ptp(np.bincount(classes)) <= 1
    assert (np.diff(rates[0].numpy()) > 0).all()
    is_fast = np.array([any((column == fast[:, [i]]).all() for i in range(40)) for column in patterns.states.T[:, :, None]])
    assert classes[is_fast].mean() > classes[~is_fast].mean() + 2
    assert rates[0, 0] < 0.3 and rates[0, -1] > 1.5
    assert 0.6 < float((rates[0].numpy()[classes] * patterns.weights).sum() / patterns.weights.sum()) < 1.7


@pytest.mark.parametrize("site_rates", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_screening_pass_excludes_no_interchange_that_gains_much(seed: int, site_rates: bool) -> None:
    tree, states = simulated(40, 80, seed, fragments=0.4)
    [found] = infer_trees([family_of(tree, states)], engine="nj", refine=False, root="none", alpha=1.0)
    start = found.require_tree()
    names = {name: i for i, name in enumerate(tree.tip_names())}
    rows = states[[names[name] for name in start.tip_names()]]
    patterns = SitePatterns.of(rows)
    rates = exact_rates(torch.tensor([0.8], dtype=torch.float64), 4)
    classes = None
    if site_rates:
        classes, rates = _site_classes(start, rows, patterns, MODEL, rates)
    binary = BinaryTree.of(start, rows)
    forest = Forest([binary], [patterns], device=torch.device("cpu"), dtype=torch.float32, classes=classes)
    pruner = Pruner(forest, MODEL, rates)
    pruner.ascend()
    pruner.descend(2)  # lengths that fit the model: what is left to gain is a matter of the topology
    sites = pruner.ascend()
    value = float((sites.flatten(1) if site_rates else torch.logsumexp(sites, 1) - np.log(4)).mul(forest.weights).sum())
    pruner.descend(derivatives=False)
    around = neighbours(pruner)
    parts = [part for _, part in resolutions(pruner, around)]
    total, lengths = torch.cat([part.total for part in parts]), torch.cat([part.lengths for part in parts])
    gain = total[:, 1:].amax(dim=1) - total[:, 0]
    looked, pairing = screen(pruner, around, value, 5.0)
    open_ = looked > -1.0
    assert 0 < int(open_.sum()) < len(open_)
    much = gain > 1.5
    assert bool(much.any())
    assert bool(open_[much].all())
    assert bool((pairing == 1 + total[:, 1:].argmax(dim=1))[much].all())
    # A pairing that is fitted alone ends where it does beside the others.
    [(_, alone)] = list(resolutions(pruner, around, pairings=pairing[:, None]))
    rows = torch.arange(len(pairing))
    torch.testing.assert_close(alone.total[:, 0], total[rows, pairing], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(alone.lengths[:, 0], lengths[rows, pairing], rtol=1e-2, atol=1e-4)


def family_of(tree: Tree, states: np.ndarray) -> Family:
    letters = np.array([*AMINO_ACIDS, "-"])[states]
    return Family(tree.tip_names(), ["".join(row) for row in letters], accession="PF1", aligned=True)


def wrong(tree: Tree, truth: Tree) -> int:
    names = {name: i for i, name in enumerate(truth.tip_names())}
    return len(set(splits(tree, names).values()) - set(splits(truth, names).values()))


@pytest.mark.parametrize(("engine", "fragments"), [("bme", 0.4), ("nj", 0.4), ("nj", 0.0)])
def test_trees_of_whole_sequences_and_of_fragments_have_fewer_wrong_splits_by_default(engine: str, fragments: float) -> None:
    errors = {None: 0, False: 0}
    for seed in range(3):
        truth, states = simulated(60, 150, seed, fragments)
        for nni in errors:
            [done] = infer_trees([family_of(truth, states)], engine=engine, nni=nni)
            assert ("by likelihood" in done.notes[-1].split("lengths")[0]) == (nni is None)
            errors[nni] += wrong(done.require_tree(), truth)
    assert errors[None] < 0.9 * errors[False]


def test_quick_interchanges_find_what_those_with_four_categories_find() -> None:
    truth, states = simulated(50, 400, 5)
    [start] = infer_trees([family_of(truth, states)], engine="nj", refine=False, root="none", alpha=1.0)
    names = truth.tip_names()
    quick = interchange(start.require_tree(), names, states, alpha=0.8, site_rates=True, sweep=True)
    thorough = interchange(start.require_tree(), names, states, alpha=0.8)
    assert quick.log_likelihood > quick.start
    assert quick.moves > 0
    assert wrong(quick.tree, thorough.tree) <= 2
    assert wrong(quick.tree, truth) < wrong(start.require_tree(), truth)


@pytest.mark.parametrize("columns", [1, 3, 7])
def test_few_columns_make_fewer_classes(columns: int) -> None:
    truth, states = simulated(8, columns, 1)
    found = interchange(truth, truth.tip_names(), states, site_rates=True, sweep=True)
    assert sorted(found.tree.tip_names()) == sorted(truth.tip_names())
    assert np.isfinite(found.log_likelihood)


def test_a_sweep_before_interchanges_keeps_the_sum_of_lengths() -> None:
    truth, states = simulated(20, 200, 3)
    swept = interchange(truth, truth.tip_names(), states, site_rates=True, sweep=True, turns=0)
    assert swept.moves == 0
    assert np.nansum(swept.tree.length) == pytest.approx(np.nansum(truth.length), rel=1e-6)
    unswept = interchange(truth, truth.tip_names(), states, site_rates=True, turns=0)
    assert swept.start != unswept.start
