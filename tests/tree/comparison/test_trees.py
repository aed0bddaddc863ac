"""Trees side by side: ete3's Robinson–Foulds, quartets by brute force, correlations, and how trees are paired."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from ete3 import Tree as EteTree
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError
from phylocli.formats import Family, write_families
from phylocli.formats.newick import NewickTree, parse
from phylocli.formats.tree import Tree
from phylocli.formats.tree_files import read_trees
from phylocli.tree import compare_trees


def random_tree(seed: int, tips: int, zeros: float = 0.0) -> Tree:
    rng = np.random.default_rng(seed)
    parts = [f"t{i}:{rng.uniform(0.1, 1):.3f}" for i in range(tips)]
    while len(parts) > 3:
        a, b = (parts.pop(int(rng.integers(len(parts)))) for _ in range(2))
        parts.append(f"({a},{b}):{0 if rng.random() < zeros else rng.uniform(0.1, 1):.3f}")
    return parse(f"({','.join(parts)});")


def topology(tree: EteTree, names: tuple[str, ...]) -> frozenset[frozenset[str]] | None:
    """Which two pairs the induced tree of four tips has, by deleting all others; None: a star."""
    kept = tree.copy("newick")
    kept.prune(names)
    for pair in combinations(names, 2):
        rest = tuple(name for name in names if name not in pair)
        kept.set_outgroup(rest[0])
        ancestor = kept.get_common_ancestor(*pair)
        if {leaf.name for leaf in ancestor} == set(pair):
            return frozenset({frozenset(pair), frozenset(rest)})
    return None


@pytest.mark.parametrize("seed", range(4))
def test_quartets_are_those_counted_by_brute_force(seed: int) -> None:
    a, b = random_tree(seed, 8), random_tree(seed + 100, 8)
    trees = [EteTree(tree.to_newick()) for tree in (a, b)]
    quartets = list(combinations(sorted(a.tip_names()), 4))
    differ = sum(topology(trees[0], q) != topology(trees[1], q) for q in quartets)
    assert compare_trees(a, b)["quartet_distance"][0] == pytest.approx(differ / len(quartets))


@given(st.integers(0, 10**6), st.integers(4, 20))
def test_robinson_foulds_is_ete3s_and_no_root_matters(seed: int, tips: int) -> None:
    a, b = random_tree(seed, tips), random_tree(seed + 1, tips)
    expected = EteTree(a.to_newick()).robinson_foulds(EteTree(b.to_newick()), unrooted_trees=True)
    found = compare_trees(a, b).row(0, named=True)
    assert (found["rf"], found["max_rf"]) == (expected[0], expected[1])
    rooted = EteTree(a.to_newick())
    rooted.set_outgroup("t0")
    again = compare_trees(Tree.from_ete(rooted), b).row(0, named=True)
    assert (again["rf"], again["max_rf"]) == (found["rf"], found["max_rf"])


def test_inner_branches_of_no_length_separate_nothing() -> None:
    star, resolved = parse("((a:1,b:1):0,(c:1,d:1):0,e:1);"), parse("((a:1,b:1):1,(c:1,d:1):1,e:1);")
    row = compare_trees(star, resolved).row(0, named=True)
    assert (row["rf"], row["max_rf"], row["quartet_distance"]) == (2, 2, None)


def test_patristic_correlations_are_numpys() -> None:
    a, b = random_tree(1, 9), random_tree(2, 9)
    names = sorted(a.tip_names())
    x, y = ([EteTree(t.to_newick()).get_distance(*pair) for pair in combinations(names, 2)] for t in (a, b))
    row = compare_trees(a, b).row(0, named=True)
    assert row["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    ranks = [np.argsort(np.argsort(v)) for v in (x, y)]
    assert row["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert compare_trees(a, a).row(0, named=True)["pearson"] == pytest.approx(1)


def test_tips_of_one_tree_alone_are_pruned_and_trees_without_lengths_have_no_correlation() -> None:
    a, b = parse("((a,b),(c,d),(e,f));"), parse("((a,b),(c,d),x);")
    row = compare_trees(a, b).row(0, named=True)
    assert (row["tips"], row["tips_a"], row["tips_b"], row["rf"], row["pearson"]) == (4, 6, 5, 0, None)
    with pytest.raises(BadInputError, match="2 tips in common"):
        compare_trees(a, parse("(a,b,x,y);"))


def test_records_are_paired_by_accession_and_one_tree_with_all(tmp_path: Path) -> None:
    texts = {"PF1": "((a:1,b:1):1,c:1,d:1);", "PF2": "((a:1,c:1):1,b:1,d:1);"}
    families = [Family(list("abcd"), ["MK"] * 4, accession=name, tree=NewickTree(text)) for name, text in texts.items()]
    write_families(families, tmp_path / "x.sto")
    write_families(families[::-1], tmp_path / "y.sto")
    (tmp_path / "one.nwk").write_text(texts["PF1"])
    assert compare_trees(tmp_path / "x.sto", tmp_path / "y.sto").select("tree", "rf").rows() == [("PF1", 0), ("PF2", 0)]
    assert compare_trees(tmp_path / "one.nwk", tmp_path / "x.sto")["rf"].to_list() == [0, 2]


@pytest.mark.parametrize(("text", "what"), [(">a\nMKV\n", "a FASTA file"), ('{"a": 1}', "a JSON file")])
def test_files_of_another_format_are_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "x").write_text(text)
    (tmp_path / "tree.nwk").write_text("((a:1,b:1):1,c:1,d:1);")
    with pytest.raises(BadInputError, match=f"x is {what}, not trees"):
        compare_trees(tmp_path / "tree.nwk", tmp_path / "x")


def test_nexus_trees_are_read_with_translated_names(tmp_path: Path) -> None:
    text = (
        "#NEXUS\nBegin trees;\n translate 1 alpha, 2 'be ta', 3 'o''neil', 4 d;\n tree one = [&R] ((1:1,2:2):1,3:1,4:1);\n"
    )
    (tmp_path / "x.nex").write_text(text + " tree two = (1,2,3,4);\nEnd;\n")
    first, second = read_trees(tmp_path / "x.nex")
    assert first.tip_names() == second.tip_names() == ["alpha", "be ta", "o'neil", "d"]
    assert first.length[2] == 1.0
    (tmp_path / "none.nex").write_text("#NEXUS\nbegin data;\nend;\n")
    with pytest.raises(BadInputError, match="a NEXUS file without a tree"):
        list(read_trees(tmp_path / "none.nex"))


def test_comments_of_nexus_are_skipped_and_brackets_in_names_are_not(tmp_path: Path) -> None:
    text = (
        "#NEXUS\n[don't; begin trees; tree a = (x,y); end;]\nbegin trees;\n"
        "[ old tree q = (z,y); [nested] tree p = (z,y); ]\n"
        "translate [two] 1 alpha, 2 'be[t]a', 3 'it''s [' ;\n"
        "tree one [&lnP=-1] = [&R] ((1[&rate=1]:1,2:2):1,3:[&x]1);\nend;\n"
    )
    (tmp_path / "x.nex").write_text(text)
    (tree,) = read_trees(tmp_path / "x.nex")
    assert tree.to_newick() == "((alpha:1,'be[t]a':2):1,'it''s [':1);"
    (tmp_path / "open.nex").write_text("#NEXUS\nbegin trees;\ntree a = (x,y) [open;\nend;\n")
    with pytest.raises(BadInputError, match="a comment without its ']'"):
        list(read_trees(tmp_path / "open.nex"))
