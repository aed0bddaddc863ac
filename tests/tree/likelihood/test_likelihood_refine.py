"""Refinement as tree inference uses it: notes, defaults, given trees, and no harm to accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phylocli.core.alphabet import AMINO_ACIDS, encode_states
from phylocli.formats.family import Family
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import infer_trees
from phylocli.tree import refinement as _refine
from phylocli.tree.infer import attach_trees
from phylocli.tree.likelihood import log_likelihood


def simulated(n: int, columns: int, seed: int) -> tuple[Family, Tree]:
    rng = np.random.default_rng(seed)
    tree = random_tree(n, rng, depth=0.6)
    letters = np.array(list(AMINO_ACIDS))[simulate_states(tree, columns, rng)]
    return Family(tree.tip_names(), ["".join(row) for row in letters], accession="PF1"), tree


def inferred(family: Family, **options: object) -> Family:
    [done] = infer_trees([family], **options)  # type: ignore[arg-type]
    return done


def value(family: Family, tree: Tree, alpha: float = 1.0) -> float:
    return log_likelihood(tree, family.ids, encode_states(family.rows), alpha=alpha)


def distances(tree: Tree) -> np.ndarray:
    depth = tree.root_distances()
    ancestors: list[list[int]] = []
    for tip in sorted(tree.tips().tolist(), key=lambda i: tree.names[i]):
        path = [tip]
        while path[-1]:
            path.append(int(tree.parent[path[-1]]))
        ancestors.append(path)
    n = len(ancestors)
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            common = max(set(ancestors[i]) & set(ancestors[j]))
            found[i, j] = depth[ancestors[i][0]] + depth[ancestors[j][0]] - 2 * depth[common]
    return found[np.tril_indices(n, -1)]


@pytest.mark.parametrize("engine", ["bme", "nj"])
def test_distance_trees_are_refined_by_default_and_the_note_says_so(engine: str) -> None:
    family, _ = simulated(30, 120, 1)
    refined, plain = inferred(family, engine=engine), inferred(family, engine=engine, refine=False)
    assert "likelihood sweep, LG+Γ4" in refined.notes[-1]
    assert "likelihood" not in plain.notes[-1]
    assert value(family, refined.require_tree()) > value(family, plain.require_tree()) + 5
    assert refined.notes[-1].startswith(plain.notes[-1].split(", root")[0])


def test_formula_distances_have_no_likelihood() -> None:
    family, _ = simulated(10, 80, 2)
    assert "likelihood" not in inferred(family, engine="nj", model="kimura", refine=True).notes[-1]


def test_refined_distances_are_nearer_to_the_truth() -> None:
    errors = {True: [], False: []}
    for seed in range(4):
        family, truth = simulated(60, 150, seed)
        expected = np.log(distances(truth))
        for refine in (True, False):
            found = distances(inferred(family, engine="bme", refine=refine).require_tree())
            errors[refine].append(np.std(np.log(np.maximum(found, 1e-3)) - expected))
    assert np.mean(errors[True]) < 0.95 * np.mean(errors[False])


def test_a_given_tree_gets_lengths_at_the_maximum(tmp_path: Path) -> None:
    family, truth = simulated(20, 150, 3)
    bare = Tree(truth.parent, np.full(len(truth), np.nan), truth.names)
    path = tmp_path / "topology.nwk"
    path.write_text(bare.to_newick())
    [done] = attach_trees([family], path, refine=True, root="none")
    alpha = float(done.notes[-1].split("α = ")[1].split(",")[0])
    assert "lengths by likelihood" in done.notes[-1]
    best = value(family, done.require_tree(), alpha)
    assert best >= value(family, truth, alpha)
    for factor in (0.9, 1.1):
        tree = done.require_tree()
        assert value(family, Tree(tree.parent, tree.length * factor, tree.names), alpha) < best


def test_a_family_too_large_for_memory_keeps_its_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    family, _ = simulated(12, 60, 4)
    monkeypatch.setattr(_refine, "MOST_BYTES", 1000)
    assert "not refined: too large" in inferred(family, engine="bme").notes[-1]
