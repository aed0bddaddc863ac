"""Interchanges under the likelihood: always uphill, back to the true topology, and as tree inference uses them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import infer_trees
from phylocli.tree.comparison.splits import splits
from phylocli.tree.likelihood import interchange, log_likelihood, refine_trees


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The arrays here are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def simulated(n: int, columns: int, seed: int) -> tuple[Tree, np.ndarray]:
    rng = np.random.default_rng(seed)
    tree = random_tree(n, rng, depth=0.8)
    tree = replace(tree, length=np.where(np.arange(len(tree)) > 0, np.maximum(tree.length, 0.03), 0.0))
    return tree, simulate_states(tree, columns, rng)


def all_splits(tree: Tree, like: Tree) -> set[bytes]:
    return set(splits(tree, {name: i for i, name in enumerate(like.tip_names())}).values())


def exchanged(tree: Tree, rng: np.random.Generator) -> Tree:
    """The tree with two subtrees around a random inner branch exchanged: a child of a node and that node's sibling."""
    children = tree.children()
    inner = [node for node in range(1, len(tree)) if children[node] and len(children[tree.parent[node]]) == 2]
    node = int(rng.choice(inner))
    [sibling] = [x for x in children[tree.parent[node]] if x != node]
    child = children[node][0]
    texts: dict[int, str] = {}
    order = np.argsort([len(tree)] * len(tree), kind="stable")[::-1]
    swapped = {int(child): sibling, sibling: int(child)}
    for at in order.tolist():
        # Below a place stands its own subtree, or the other one's where the two change places.
        below = ",".join(f"{{{swapped.get(x, x)}}}" for x in children[at])
        label = f"({below})" if below else tree.names[at]
        texts[at] = f"{label}:{tree.length[at]}" if at else label
    text = "{0}"
    while "{" in text:
        text = text.format(*(texts[i] for i in range(len(tree))))
    return parse(text + ";")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("site_rates", [False, True])
def test_wrong_splits_are_set_right_when_the_columns_say_so(seed: int, site_rates: bool) -> None:
    truth, states = simulated(24, 800, seed)
    names = truth.tip_names()
    rng = np.random.default_rng(seed)
    start = truth
    for _ in range(4):
        start = exchanged(start, rng)
    assert len(all_splits(start, truth) - all_splits(truth, truth)) >= 2
    found = interchange(start, names, states, site_rates=site_rates)
    assert all_splits(found.tree, truth) == all_splits(truth, truth)
    assert found.moves >= 2
    assert found.log_likelihood > found.start + 20


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihoods_reported_are_those_of_the_trees(seed: int) -> None:
    tree, states = simulated(15, 60, seed)
    names = tree.tip_names()
    rng = np.random.default_rng(seed)
    start = exchanged(exchanged(tree, rng), rng)
    found = interchange(start, names, states, alpha=0.7)
    assert found.start == pytest.approx(log_likelihood(start, names, states, alpha=0.7), abs=0.01)
    assert found.log_likelihood == pytest.approx(log_likelihood(found.tree, names, states, alpha=0.7), abs=0.01)
    assert found.log_likelihood >= found.start
    assert sorted(found.tree.tip_names()) == sorted(names)
    assert (found.tree.length >= 0).all()


def test_from_any_of_the_fifteen_trees_of_five_tips_the_way_leads_to_the_best() -> None:
    _, states = simulated(5, 300, 7)
    names = list("abcde")
    tops = []
    for alone in range(5):
        rest = [name for name in names if name != names[alone]]
        for partner in range(1, 4):
            two = [rest[0], rest[partner]]
            other = [name for name in rest if name not in two]
            tops.append(parse(f"(({two[0]}:.3,{two[1]}:.3):.1,({other[0]}:.3,{other[1]}:.3):.1,{names[alone]}:.3);"))
    assert len({frozenset(all_splits(tree, tops[0])) for tree in tops}) == 15
    given = ([names] * 15, [states] * 15)
    fitted = refine_trees(tops, *given, fit_alpha=False, sweeps=40, tolerance=0.001)
    best = max(fitted, key=lambda one: one.log_likelihood)
    for one in fitted:
        assert all_splits(interchange(one.tree, names, states).tree, best.tree) == all_splits(best.tree, best.tree)


@pytest.mark.parametrize("text", ["a;", "(a:1,b:1);", "(a:1,b:1,c:1);", "((a:1,b:0):0,c:1);", "(a:1,b:1,c:1,d:1,e:1);"])
def test_there_is_nothing_to_exchange_without_inner_branches(text: str) -> None:
    tree = parse(text)
    states = np.random.default_rng(0).integers(0, 20, (len(tree.tips()), 30)).astype(np.uint8)
    found = interchange(tree, tree.tip_names(), states)
    assert found.moves == 0
    assert sorted(found.tree.tip_names()) == sorted(tree.tip_names())


def test_polytomies_stay_polytomies() -> None:
    tree = parse("((a:.2,b:.2,c:.2,d:.2):.3,(e:.2,f:.2,g:.2):.3,(h:.2,(i:.2,j:.2):.1):.2);")
    states = np.random.default_rng(3).integers(0, 20, (10, 40)).astype(np.uint8)
    found = interchange(tree, tree.tip_names(), states)
    assert found.moves > 0
    assert int((~found.tree.is_tip).sum()) == int((~tree.is_tip).sum())


def test_infer_trees_makes_interchanges_on_request() -> None:
    truth, states = simulated(60, 150, 11)
    letters = np.array(list(AMINO_ACIDS))[states]
    family = Family(truth.tip_names(), ["".join(row) for row in letters], accession="PF1")
    found = {}
    for nni in (False, None, True):
        [done] = infer_trees([family], engine="nj", nni=nni, alpha=1.0)
        found[nni] = done
    assert "thorough interchange" in found[True].notes[-1]
    assert "interchanges by likelihood" in found[None].notes[-1] and "thorough" not in found[None].notes[-1]
    assert "interchange" not in found[False].notes[-1]
    wrong = {nni: len(all_splits(done.require_tree(), truth) - all_splits(truth, truth)) for nni, done in found.items()}
    assert max(wrong[None], wrong[True]) < wrong[False]
    lengths = [np.nansum(found[nni].require_tree().length) for nni in (None, True)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-6)
    [small] = infer_trees([family.subset(family.ids[:3])], nni=True)
    assert len(small.require_tree().tips()) == 3


@pytest.mark.parametrize("options", [{"refine": False}, {"model": "kimura"}])
def test_interchanges_need_the_likelihood(options: dict[str, object]) -> None:
    family = Family(["a", "b"], ["MKV", "MKI"])
    with pytest.raises(UsageError, match="nni needs"):
        list(infer_trees([family], nni=True, **options))  # type: ignore[arg-type]
