"""Lengths of many families at once: the same as of each alone, whatever comes in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.stockholm import read
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import batch_refine as many
from phylocli.tree import infer_trees, refine_many
from phylocli.tree import refinement as _refine


def family_of(n: int, columns: int, seed: int, accession: str = "PF1") -> Family:
    rng = np.random.default_rng(seed)
    tree = random_tree(n, rng, depth=0.7)
    letters = np.array(list(AMINO_ACIDS))[simulate_states(tree, columns, rng)]
    return Family(tree.tip_names(), ["".join(row) for row in letters], accession=accession)


def lengths(tree: Tree) -> np.ndarray:
    """Path lengths from the first tip by name to all others, in the order of names."""
    order = sorted(tree.tips().tolist(), key=lambda tip: tree.names[tip])
    depth = tree.root_distances()
    above: set[int] = set()
    at = order[0]
    while at >= 0:
        above.add(at)
        at = int(tree.parent[at])
    found = []
    for tip in order:
        at = tip
        while at not in above:
            at = int(tree.parent[at])
        found.append(depth[order[0]] + depth[tip] - 2 * depth[at])
    return np.array(found)


def test_many_families_get_the_trees_that_each_gets_alone(examples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    families = [family for family in read(examples / "families.sto") if len(family) < 40]
    assert len(families) >= 4
    expected = list(infer_trees(families, nni=False))
    monkeypatch.setitem(many._WINDOW, "cpu", 3)
    found = list(refine_many(infer_trees(families, refine=False, root="none")))
    assert [family.accession for family in found] == [family.accession for family in families]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.notes == theirs.notes
        assert lengths(ours.require_tree()) == pytest.approx(lengths(theirs.require_tree()), abs=1e-4)


def test_small_families_and_duplicates_pass_between_others() -> None:
    whole = family_of(12, 80, 1)
    small = [Family(whole.ids[:n], whole.rows[:n], accession=f"PF{n}") for n in (1, 2, 3, 5)]
    doubled = Family([*whole.ids, "again", "twice"], [*whole.rows, whole.rows[4], whole.rows[4]], accession="PF9")
    families = [small[0], doubled, small[1], whole, *small[2:]]
    given = list(infer_trees(families, refine=False))
    found = list(refine_many(given, alpha=1.0))
    assert [sorted(family.require_tree().tip_names()) for family in found] == [sorted(family.ids) for family in families]
    assert found[0].tree.to_newick() == given[0].tree.to_newick()
    assert found[2].tree.to_newick() == given[2].tree.to_newick()
    tree = found[1].require_tree()
    tips = [tree.names.index(name) for name in ("again", "twice", whole.ids[4])]
    assert len({int(tree.parent[tip]) for tip in tips}) == 1
    assert (tree.length[tips] == 0).all()
    together = dict(zip(sorted(doubled.ids), lengths(tree), strict=True))
    assert min(doubled.ids) == "again"  # a copy of the fifth member: distances from that one
    renamed = found[3].require_tree()
    renamed.names = ["again" if name == whole.ids[4] else name for name in renamed.names]
    for name, value in zip(sorted(n for n in renamed.names if n), lengths(renamed), strict=True):
        assert together[name] == pytest.approx(value, abs=1e-3)


def test_alpha_is_taken_from_the_record_and_the_maximum_is_fitted_on_request() -> None:
    [given] = infer_trees([family_of(20, 120, 3)], refine=False, alpha=0.6)
    [swept] = refine_many([given])
    assert swept.tree_alpha == 0.6
    assert "(α = 0.6, log likelihood" in swept.notes[-1]
    [noted] = refine_many([replace(given, notes=["tree of mine (α = 7)"])])  # what a note says decides nothing
    assert noted.tree_alpha == 0.6
    assert noted.tree.to_newick() == swept.tree.to_newick()
    [unknown] = refine_many([replace(given, tree_alpha=None)])
    assert unknown.tree_alpha not in (None, 0.6)  # estimated
    [other] = refine_many([given], alpha=2.0)
    assert "(α = 2, log likelihood" in other.notes[-1]
    [full] = refine_many([given], full=True, root="minvar")
    assert "lengths by likelihood, LG+Γ4" in full.notes[-1]
    assert full.notes[-1].endswith("root minvar")
    value = {name: float(f.notes[-1].split("log likelihood ")[1].split(")")[0]) for name, f in (("1", swept), ("n", full))}
    assert value["n"] > value["1"]
    assert full.tree_alpha not in (None, 0.6)
    assert f"(α = {full.tree_alpha:.3g}," in full.notes[-1]
    [bare] = refine_many([replace(given, notes=[])], outgroup=given.ids[:1])
    assert bare.notes[-1].startswith("tree given, lengths by one")
    assert len(bare.require_tree().children()[0]) == 2


def test_support_values_that_look_like_names_of_members_do_no_harm() -> None:
    family = family_of(6, 60, 6)
    family = replace(family, ids=["100", "50", "0", "1", "99.9", "x"])
    [given] = infer_trees([family], support="bootstrap=2", refine=False)
    assert {"100", "50", "0"} & {
        name for name, tip in zip(given.require_tree().names, given.require_tree().is_tip, strict=True) if not tip
    }
    [found] = refine_many([given], alpha=1.0)
    assert sorted(found.require_tree().tip_names()) == sorted(family.ids)
    assert np.isnan(found.require_tree().support()).all()


def test_columns_and_members_without_residues() -> None:
    family = family_of(8, 60, 4)
    [tree] = infer_trees([family], refine=False)
    gappy = replace(family, rows=[row[:30] + "-----" + row[30:] for row in family.rows], tree=tree.tree)
    [found] = refine_many([gappy], alpha=1.0, columns="all")
    [expected] = refine_many([tree], alpha=1.0, columns="all")
    assert lengths(found.require_tree()) == pytest.approx(lengths(expected.require_tree()), abs=1e-6)
    gone = replace(tree, rows=["-" * 60, *family.rows[1:]])
    [rest] = refine_many([gone], alpha=1.0, columns="all")
    assert sorted(rest.require_tree().tip_names()) == sorted(family.ids[1:])


def test_trees_that_cannot_be_refined_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    family = family_of(8, 40, 5)
    with pytest.raises(BadInputError, match="has no tree"):
        list(refine_many([family]))
    [given] = infer_trees([family], refine=False)
    with pytest.raises(UsageError, match="unknown substitution model"):
        list(refine_many([given], model="kimura"))
    with pytest.raises(UsageError):
        list(refine_many([given], device="abacus"))
    monkeypatch.setattr(_refine, "MOST_BYTES", 1000)
    [same] = refine_many([given])
    assert same.tree.to_newick() == given.tree.to_newick()
