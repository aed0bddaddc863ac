"""The tree of a set of sequences is the same, to the last bit, in whatever order the file has them."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.alphabet import AMINO_ACIDS, MISSING
from phylocli.core.errors import BadInputError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.pairs import iter_pairs
from phylocli.pairs.negatives import FamilySummary
from phylocli.pairs.splits import split_clades
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import deduplicate as _collapse
from phylocli.tree import infer_trees, refine_many
from phylocli.tree.infer import attach_trees

LETTERS = np.array(list(AMINO_ACIDS + "-"))
BME, NJ = pytest.param("bme"), pytest.param("nj")
VERYFASTTREE = pytest.param("veryfasttree", marks=pytest.mark.needs("veryfasttree"))


def gappy(n: int, columns: int, seed: int, *, copies: int = 0) -> Family:
    """A simulated family with gaps, fragments and exact copies, under names that say nothing of the tree."""
    rng = np.random.default_rng(seed)
    states = simulate_states(random_tree(n, rng), columns, rng)
    states[rng.random(states.shape) < 0.05] = MISSING
    for row in rng.choice(n, n // 4, replace=False).tolist():
        states[row, : columns // 2] = MISSING
    states = np.concatenate([states, states[rng.integers(0, n, copies)]])
    names = [f"m{k}" for k in rng.permutation(len(states))]
    return Family(names, ["".join(row) for row in LETTERS[states]], accession="SIM")


def shuffled(family: Family, seed: int) -> Family:
    order = np.random.default_rng(seed).permutation(len(family)).tolist()
    return replace(family, ids=[family.ids[k] for k in order], rows=[family.rows[k] for k in order])


def same_tree_in_any_order(family: Family, shuffles: int = 2, **options: object) -> None:
    [expected] = infer_trees([family], **options)  # type: ignore[arg-type]
    assert expected.ids == family.ids
    for seed in range(shuffles):
        other = shuffled(family, seed)
        [found] = infer_trees([other], **options)  # type: ignore[arg-type]
        assert found.tree.to_newick() == expected.tree.to_newick()
        assert found.notes == expected.notes
        assert (found.ids, found.rows) == (other.ids, other.rows)  # members stay in the order of the input


@given(st.lists(st.lists(st.sampled_from([0, 1, MISSING]), min_size=4, max_size=4), min_size=1, max_size=12), st.data())
def test_canonical_order_is_one_for_all_orders_of_the_rows(rows: list[list[int]], data: st.DataObject) -> None:
    states = np.array(rows, dtype=np.uint8)
    names = [f"m{k}" for k in range(len(rows))]
    order = _collapse.canonical_order(states, names)
    assert sorted(order) == list(range(len(states)))
    turned = data.draw(st.permutations(range(len(states))))
    again = _collapse.canonical_order(states[turned], [names[k] for k in turned])
    assert [turned[k] for k in again] == order
    residues = (states[order] != MISSING).sum(axis=1).astype(int)
    assert (np.diff(residues) <= 0).all()  # fragments last


@pytest.mark.parametrize("engine", [BME, NJ, VERYFASTTREE])
@pytest.mark.parametrize("seed", range(4))
def test_every_engine_gives_one_tree_for_all_orders(engine: str, seed: int) -> None:
    same_tree_in_any_order(gappy(5 + 3 * seed, 60, seed, copies=seed), engine=engine, min_overlap=5)


def test_a_tree_program_is_given_one_alignment_for_all_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "iqtree3"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, shutil\n"
        "shutil.copy('alignment.fasta', pathlib.Path(__file__).with_name('seen.fasta'))\n"
        "rows = pathlib.Path('alignment.fasta').read_text().count('>')\n"
        "pathlib.Path('alignment.fasta.treefile').write_text('(' + ','.join(f't{k}:1' for k in range(rows)) + ');')\n"
        "pathlib.Path('alignment.fasta.iqtree').write_text('')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    family, seen = gappy(8, 60, 9, copies=2), set()
    for seed in range(3):
        same_tree_in_any_order(shuffled(family, seed), shuffles=1, engine="iqtree")
        seen.add((tmp_path / "seen.fasta").read_bytes())
    assert len(seen) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"refine": False},
        {"nni": True, "root": "minvar"},
        {"support": "abayes", "root": "none"},
        {"support": "alrt=50", "seed": 3},
        {"support": "bootstrap=4", "refine": False, "seed": 3},
        {"model": "kimura", "engine": "nj"},
        {"outgroup": ["m1", "m2"]},
    ],
    ids=str,
)
def test_refinement_support_and_rooting_do_not_depend_on_the_order(options: dict[str, object]) -> None:
    same_tree_in_any_order(gappy(14, 60, 8, copies=2), min_overlap=5, **options)


def test_the_pairs_that_alpha_is_estimated_from_do_not_depend_on_the_order() -> None:
    family = gappy(45, 60, 1)  # 990 pairs: more than are used
    same_tree_in_any_order(family, refine=False)


@pytest.mark.parametrize("accession", ["PF00042", "PF02790"])
@pytest.mark.parametrize("engine", [BME, VERYFASTTREE])
def test_real_families_have_one_tree_for_all_orders(accession: str, engine: str, examples: Path) -> None:
    [family] = [family for family in read_families(examples / "families.sto") if family.accession == accession]
    bare = replace(family, tree=None, residue_features={}, sequence_features={})
    same_tree_in_any_order(bare, engine=engine)


@pytest.mark.parametrize("root", ["midpoint", "minvar"])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_ties_between_equally_distant_sequences_do_not_depend_on_the_order(root: str, n: int) -> None:
    # Every row has one change of its own, from A to C: all distances are equal, so every tree and every root ties.
    rows = ["A" * k + "C" + "A" * (11 - k) for k in range(n)]
    family = Family([f"m{k}" for k in range(n)], rows)
    [expected] = infer_trees([family], root=root)
    for order in list(itertools.permutations(range(n)))[:: max(1, n // 2)]:
        [found] = infer_trees([Family([family.ids[k] for k in order], [rows[k] for k in order])], root=root)
        assert found.tree.to_newick() == expected.tree.to_newick()


def test_names_decide_nothing_but_the_order_of_identical_sequences() -> None:
    family = gappy(9, 60, 5)
    [first] = infer_trees([family])
    turned = family.ids[::-1]
    [second] = infer_trees([replace(family, ids=turned)])
    renamed = second.require_tree()
    back = dict(zip(turned, family.ids, strict=True))
    renamed.names = [back.get(name, name) for name in renamed.names]
    assert renamed.to_newick() == first.tree.to_newick()
    [same] = infer_trees([Family(["b", "c", "a"], ["MKVLA"] * 3)])
    assert same.require_tree().tip_names() == ["a", "b", "c"]


def test_lengths_and_support_of_a_given_tree_do_not_depend_on_the_order(tmp_path: Path) -> None:
    family = gappy(40, 60, 2, copies=2)
    [made] = infer_trees([family], refine=False, root="none")
    (tmp_path / "tree.nwk").write_text(made.tree.to_newick())
    for options in ({"refine": True}, {"support": "alrt=50"}):
        [expected] = attach_trees([family], tmp_path / "tree.nwk", **options)  # type: ignore[arg-type]
        [found] = attach_trees([shuffled(family, 1)], tmp_path / "tree.nwk", **options)  # type: ignore[arg-type]
        assert (found.tree.to_newick(), found.notes) == (expected.tree.to_newick(), expected.notes)


def test_lengths_of_many_families_do_not_depend_on_the_order() -> None:
    [given_tree] = infer_trees([gappy(40, 60, 3, copies=3)], refine=False)
    bare = replace(given_tree, notes=[])  # α is estimated
    [expected] = refine_many([bare])
    [found] = refine_many([shuffled(bare, 1)])
    assert (found.tree.to_newick(), found.notes) == (expected.tree.to_newick(), expected.notes)


def test_an_id_that_occurs_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="'a' occurs twice"):
        list(infer_trees([Family(["a", "b", "a"], ["MKV", "MKA", "MRV"])]))


def test_pairs_and_clades_of_a_seed_do_not_depend_on_the_order_of_members() -> None:
    family = gappy(30, 60, 4)
    [first] = infer_trees([family])
    [second] = infer_trees([shuffled(family, 1)])
    frames = [next(iter(iter_pairs([done], number=40, seed=7))) for done in (first, second)]
    assert frames[0].equals(frames[1])
    assert split_clades(first, 0.3, seed=1) == split_clades(second, 0.3, seed=1)


def test_representative_members_do_not_depend_on_their_order() -> None:
    family = gappy(50, 60, 6)
    summaries = [FamilySummary.of(each, profile=False) for each in (family, shuffled(family, 1))]
    assert summaries[0].members == summaries[1].members
