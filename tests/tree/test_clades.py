"""Clades by cutting a tree at its deepest nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phylocli.formats import Family, read_families
from phylocli.formats.newick import NewickTree
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree
from phylocli.tree.clades import deepest_clades


def tree_of(newick: str, names: str) -> Tree:
    return Family(list(names), ["MK"] * len(names), tree=NewickTree(newick)).require_tree()


@pytest.mark.parametrize(
    ("count", "clades"),
    [
        (1, [["a", "b", "c", "d"]]),
        (2, [["a", "b"], ["c", "d"]]),
        (3, [["a"], ["b"], ["c", "d"]]),
        (9, [["a"], ["b"], ["c"], ["d"]]),  # at most one clade per tip
    ],
)
def test_the_highest_clade_is_divided_first(count: int, clades: list[list[str]]) -> None:
    assert deepest_clades(tree_of("((a:1,b:1):2,(c:.1,d:.1):3);", "abcd"), count) == clades


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_clades_are_disjoint_whole_and_cover_all_tips(count: int) -> None:
    tree = random_tree(40, np.random.default_rng(count))
    clades = deepest_clades(tree, count)
    assert len(clades) == count
    assert [name for clade in clades for name in clade] == tree.tip_names()
    below = {frozenset(tree.prune(set(clade)).tip_names()) for clade in clades if len(clade) > 1}
    assert below == {frozenset(clade) for clade in clades if len(clade) > 1}


def test_globins_fall_into_their_types(examples: Path) -> None:
    from phylocli.tree import infer_trees

    (family,) = [f for f in read_families(examples / "families.sto") if f.accession == "PF00042"]
    (done,) = infer_trees([family], engine="nj", refine=False, nni=False)
    for clade in deepest_clades(done.require_tree(), 7):
        assert len({name[:3].replace("HBE", "HBB") for name in clade}) == 1
