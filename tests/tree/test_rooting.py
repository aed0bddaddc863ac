"""Rooting: path lengths between tips never change, and the root is where its definition says, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree
from phylocli.tree.comparison.splits import splits
from phylocli.tree.rooting import reroot, root

seeds = st.integers(0, 10_000)
sizes = st.integers(3, 14)


def paths(tree: Tree) -> dict[tuple[str, str], float]:
    """All distances between tips, by walking up from each."""
    above: dict[str, dict[int, float]] = {}
    for tip in tree.tips():
        node, total = int(tip), 0.0
        here: dict[int, float] = {}
        while node >= 0:
            here[node] = total
            total += tree.length[node]
            node = int(tree.parent[node])
        above[tree.names[tip]] = here
    return {
        (a, b): min(above[a][node] + above[b][node] for node in above[a].keys() & above[b].keys())
        for a in above
        for b in above
        if a < b
    }


def same_paths(first: Tree, second: Tree) -> bool:
    a, b = paths(first), paths(second)
    return a.keys() == b.keys() and all(abs(a[k] - b[k]) < 1e-9 for k in a)


def depths(tree: Tree) -> np.ndarray:
    return tree.root_distances()[tree.is_tip]


def random(n: int, seed: int, unrooted: bool) -> Tree:
    tree = random_tree(n, np.random.default_rng(seed))
    if unrooted:  # as engines give them: three branches at the root
        newick = tree.to_newick()
        ete = parse(newick).to_ete()
        ete.unroot()
        tree = Tree.from_ete(ete)
    return tree


@given(sizes, seeds, st.booleans(), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_a_new_root_keeps_all_paths(n: int, seed: int, unrooted: bool, share: float) -> None:
    tree = random(n, seed, unrooted)
    node = 1 + seed % (len(tree) - 1)
    moved = reroot(tree, node, share * float(tree.length[node]))
    assert same_paths(tree, moved)
    assert len(moved.children()[0]) == 2
    assert min(len(c) for c in moved.children() if c) >= 2
    assert (moved.parent[1:] < np.arange(1, len(moved))).all()


@given(sizes, seeds, st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_midpoint_halves_the_longest_path(n: int, seed: int, unrooted: bool) -> None:
    tree = random(n, seed, unrooted)
    rooted = root(tree, "midpoint")
    assert same_paths(tree, rooted)
    longest = max(paths(tree).values())
    assert depths(rooted).max() == pytest.approx(longest / 2, abs=1e-9)


@given(sizes, seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_minimum_variance_is_the_least_over_all_branches(n: int, seed: int, unrooted: bool) -> None:
    tree = random(n, seed, unrooted)
    rooted = root(tree, "minvar")
    assert same_paths(tree, rooted)
    best = min(
        depths(reroot(tree, node, float(share * tree.length[node]))).var()
        for node in range(1, len(tree))
        for share in np.linspace(0, 1, 41)
    )
    assert depths(rooted).var() <= best + 1e-9


def test_an_outgroup_goes_to_one_side_of_the_root() -> None:
    tree = parse("((a:1,b:1):1,(c:1,(d:1,e:2):1):1);")
    for group in ({"d", "e"}, {"a", "b", "c"}, {"c"}, {"a", "b"}):
        rooted = root(tree, outgroup=group)
        assert same_paths(tree, rooted)
        children = rooted.children()[0]
        sides = [{rooted.names[t] for t in rooted.tips() if lies_below(rooted, int(t), child)} for child in children]
        assert group in sides


def lies_below(tree: Tree, node: int, ancestor: int) -> bool:
    while node > ancestor:
        node = int(tree.parent[node])
    return node == ancestor


def test_an_outgroup_that_is_not_monophyletic_is_warned_of_and_still_roots(capsys: pytest.CaptureFixture[str]) -> None:
    tree = parse("((a:1,b:1):1,(c:1,(d:1,e:2):1):1);")
    assert same_paths(tree, root(tree, outgroup={"c", "d"}))
    assert same_paths(tree, root(tree, outgroup={"a", "d"}))
    assert "not monophyletic" in capsys.readouterr().err


def test_invalid_rootings_are_errors() -> None:
    tree = parse("(a:1,b:1,c:1);")
    with pytest.raises(BadInputError, match="'x' is not in the tree"):
        root(tree, outgroup={"x"})
    with pytest.raises(BadInputError, match="whole family"):
        root(tree, outgroup={"a", "b", "c"})
    with pytest.raises(UsageError, match="unknown rooting"):
        root(tree, "middle")


@pytest.mark.parametrize("method", ["midpoint", "minvar"])
@pytest.mark.parametrize("newick", ["a;", "(a:0);", "(a:1,b:3);", "(a:0,b:0,c:0);", "((a:0,b:0):0,c:2);"])
def test_small_and_flat_trees_are_rooted(method: str, newick: str) -> None:
    tree = parse(newick)
    rooted = root(tree, method)
    assert sorted(rooted.tip_names()) == sorted(tree.tip_names())
    assert same_paths(tree, rooted)


def test_a_tree_100_000_deep_is_rooted_without_recursion() -> None:
    n = 100_000
    parent = np.empty(2 * n - 1, dtype=np.int64)
    parent[0] = -1
    parent[1::2] = np.arange(0, 2 * n - 2, 2)
    parent[2::2] = np.arange(0, 2 * n - 2, 2)
    length = np.ones(2 * n - 1)
    names = ["" if i % 2 == 0 and i < 2 * n - 2 else f"t{i}" for i in range(2 * n - 1)]
    rooted = root(Tree(parent, length, names), "midpoint")
    # From one end to the other the path has n branches (two tips hang at the far end).
    assert depths(rooted).max() == pytest.approx(n / 2)


@given(sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_support_stays_with_its_split_wherever_the_root_goes(n: int, seed: int) -> None:
    tree = random(n, seed, True)
    number = {name: i for i, name in enumerate(tree.tip_names())}
    label = {split: f"{10 + i}.5" for i, split in enumerate(sorted(splits(tree, number).values()))}
    for node, split in splits(tree, number).items():
        tree.names[node] = label[split]
    rng = np.random.default_rng(seed)
    for _ in range(3):  # each from where the last one left the root
        node = int(rng.integers(1, len(tree)))
        tree = reroot(tree, node, float(tree.length[node]) / 3)
        at = splits(tree, number)
        assert {node: tree.names[node] for node in at} == {node: label[split] for node, split in at.items()}
        others = set(range(len(tree))) - set(at) - set(tree.tips().tolist())
        assert {tree.names[node] for node in others} <= {""}


def test_names_of_clades_that_no_longer_exist_are_dropped() -> None:
    tree = parse("((a:1,b:1)Left:1,((c:1,d:1)Inner:1,e:1)Right:1,f:1);")
    assert reroot(tree, tree.names.index("c"), 0.5).to_newick() == "(c:0.5,(d:1,(e:1,((a:1,b:1)Left:1,f:1):1):1):0.5);"


def with_unary_nodes(tree: Tree, seed: int) -> Tree:
    """The same tree with nodes of one child put into some branches, and above its root."""
    rng = np.random.default_rng(seed)
    ete = tree.to_ete()
    for node in list(ete.traverse()):
        if node.up is not None and rng.random() < 0.4:
            parent, length = node.up, node.dist
            node.detach()
            middle = parent.add_child(dist=length / 3)
            middle.name = ""
            middle.add_child(node, dist=length - length / 3)
    for _ in range(int(rng.integers(1, 3))):
        above = type(ete)(name="")
        above.add_child(ete, dist=0.4)
        ete = above
    return Tree.from_ete(ete)


@given(sizes, seeds, st.booleans())
@settings(max_examples=60)
def test_nodes_of_one_child_change_no_rooting_and_leave_no_phantom_tip(n: int, seed: int, unrooted: bool) -> None:
    tree = random(n, seed, unrooted)
    stretched = with_unary_nodes(tree, seed)
    outgroup = tree.tip_names()[: 1 + seed % 2]
    for how in ({"method": "midpoint"}, {"method": "minvar"}, {"outgroup": outgroup}):
        found, expected = root(stretched, **how), root(tree, **how)  # type: ignore[arg-type]
        assert sorted(found.tip_names()) == sorted(tree.tip_names())
        assert same_paths(found, tree)
        assert min(len(c) for c in found.children() if c) >= 2
        assert np.sort(depths(found)) == pytest.approx(np.sort(depths(expected)), abs=1e-9)
    assert root(stretched, "none") is stretched


@given(sizes, seeds)
@settings(max_examples=60)
def test_any_branch_can_get_the_root_where_nodes_have_one_child(n: int, seed: int) -> None:
    tree = random(n, seed, True)
    stretched = with_unary_nodes(tree, seed)
    for node in range(1, len(stretched)):
        moved = reroot(stretched, node, float(stretched.length[node]) / 2)
        assert sorted(moved.tip_names()) == sorted(tree.tip_names())
        assert same_paths(moved, tree)


@pytest.mark.parametrize("method", ["midpoint", "minvar"])
@pytest.mark.parametrize("label", ["", "95", "Clade"])
def test_redundant_parentheses_are_no_tip(method: str, label: str) -> None:
    tree = parse(f"((A:0.1,B:0.2,C:0.3){label}:0.4);")
    assert root(tree).rounded().to_newick() == "(C:0.25,(A:0.1,B:0.2):0.05);"
    assert root(tree, method).rounded().to_newick() == root(parse("(A:0.1,B:0.2,C:0.3);"), method).rounded().to_newick()
    assert root(tree, outgroup=["C"]).rounded().to_newick() == "(C:0.15,(A:0.1,B:0.2):0.15);"


def test_the_label_of_a_merged_node_stays_with_its_branch() -> None:
    tree = parse("(((a:1,b:1):1)90:1,((c:1,d:1)80:1)70:1,(e:1)60:1);")
    assert tree.merge_unary().to_newick() == "((a:1,b:1)90:2,(c:1,d:1)80:2,e:2);"
