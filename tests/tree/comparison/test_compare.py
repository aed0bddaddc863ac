"""Distances between topologies against counting by hand, ete3, and every quartet."""

from __future__ import annotations

from itertools import combinations

import ete3
import numpy as np
import pytest

from phylocli.core.errors import UsageError
from phylocli.formats import newick
from phylocli.tree.comparison.compare import quartet_distance, robinson_foulds


def random_tree(n: int, seed: int) -> str:
    """A topology by joining two random lineages until one is left; all names are exchangeable."""
    rng = np.random.default_rng(seed)
    parts = [f"t{i}:1" for i in range(n)]
    while len(parts) > 3:
        b, a = (parts.pop(i) for i in sorted(rng.choice(len(parts), 2, replace=False))[::-1])
        parts.append(f"({a},{b}):1")
    return f"({','.join(parts)});"


def brute_force_quartets(a: str, b: str) -> float:
    """Prune both trees to each four tips with ete3 and compare what is left."""
    first, second = ete3.Tree(a), ete3.Tree(b)
    names = sorted(first.get_leaf_names())
    differ = total = 0
    for four in combinations(names, 4):
        splits = []
        for tree in (first, second):
            small = tree.copy()
            small.prune(four)
            small.unroot()
            pairs = {frozenset(n.get_leaf_names()) for n in small.traverse() if len(n) == 2}
            pairs |= {frozenset(four) - p for p in pairs}
            splits.append(pairs)
        total += 1
        differ += splits[0] != splits[1]
    return differ / total


@pytest.mark.parametrize("seed", range(4))
def test_robinson_foulds_agrees_with_ete3(seed: int) -> None:
    a, b = random_tree(12, seed), random_tree(12, seed + 100)
    found, most, *_ = ete3.Tree(a).robinson_foulds(ete3.Tree(b), unrooted_trees=True)
    assert robinson_foulds(newick.parse(a), newick.parse(b)) == pytest.approx(found / most)
    assert robinson_foulds(newick.parse(a), newick.parse(a)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_quartet_distance_agrees_with_pruning_to_every_four_tips(seed: int) -> None:
    a, b = random_tree(8, seed), random_tree(8, seed + 50)
    assert quartet_distance(newick.parse(a), newick.parse(b)) == pytest.approx(brute_force_quartets(a, b))


def test_one_exchange_of_neighbours_by_hand() -> None:
    a, b = newick.parse("((a:1,b:1):1,(c:1,d:1):1,e:1);"), newick.parse("((a:1,c:1):1,(b:1,d:1):1,e:1);")
    assert robinson_foulds(a, b) == 1.0
    # abcd differs, abce/abde/acde/bcde: (ab|ce→ac|be), (ab|de→bd|ae), (cd|ae→ac|de), (cd|be→bd|ce): all differ.
    assert quartet_distance(a, b) == 1.0
    c = newick.parse("((a:1,b:1):1,(c:1,e:1):1,d:1);")
    assert robinson_foulds(a, c) == 0.5
    # Only acde and bcde differ.
    assert quartet_distance(a, c) == pytest.approx(2 / 5)


def test_edges_of_no_length_resolve_nothing() -> None:
    star, resolved = newick.parse("((a:1,b:1):0,c:1,d:1);"), newick.parse("((a:1,b:1):1,c:1,d:1);")
    assert robinson_foulds(star, resolved) == 1.0
    assert np.isnan(quartet_distance(star, resolved))
    assert quartet_distance(resolved, star) == 1.0
    assert np.isnan(robinson_foulds(star, star))


def test_the_root_does_not_matter() -> None:
    a, b = newick.parse("((a:1,b:1):1,((c:1,d:1):1,e:1):1);"), newick.parse("(a:1,(b:1,((c:1,d:1):1,e:1):2):1);")
    assert robinson_foulds(a, b) == 0
    assert quartet_distance(a, b) == 0


def test_random_topologies_differ_in_two_of_three_quartets() -> None:
    found = [
        quartet_distance(newick.parse(random_tree(60, s)), newick.parse(random_tree(60, s + 500)), most=4_000, seed=s)
        for s in range(12)
    ]
    assert np.mean(found) == pytest.approx(2 / 3, abs=0.06)


def test_trees_of_other_tips_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="same tips"):
        robinson_foulds(newick.parse("(a:1,b:1,c:1);"), newick.parse("(a:1,b:1,d:1);"))
