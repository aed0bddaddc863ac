"""Support of branches: against closed forms, cases by hand and IQ-TREE, and in what it is for: telling true from false."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import rankdata

from phylocli.core.alphabet import AMINO_ACIDS, MISSING, encode_states
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import TREE_ENGINES
from phylocli.formats import stockholm
from phylocli.formats.family import Family
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import infer_trees
from phylocli.tree.comparison.splits import split_frequencies, splits
from phylocli.tree.engines import iqtree
from phylocli.tree.infer import attach_trees
from phylocli.tree.likelihood import local_support, log_likelihood, refine_trees
from phylocli.tree.likelihood.forest import BinaryTree, Forest, SitePatterns
from phylocli.tree.likelihood.pruning import Pruner
from phylocli.tree.likelihood.quartets import PAIRINGS, Neighbours, Resolutions, neighbours, resolutions
from phylocli.tree.likelihood.support import _sh_alrt
from phylocli.tree.models import discrete_gamma, substitution_model
from phylocli.tree.settings import Settings
from phylocli.tree.support import parse_support


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The arrays here are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def all_resolutions(tree: Tree, states: np.ndarray, alpha: float, rounds: int = 8) -> tuple[Forest, Neighbours, Resolutions]:
    """The three resolutions of every inner branch, in double precision; rows in the order of the tips."""
    patterns = SitePatterns.of(states)
    forest = Forest([BinaryTree.of(tree, states)], [patterns], device=torch.device("cpu"), dtype=torch.float64)
    pruner = Pruner(forest, substitution_model("lg"), torch.from_numpy(discrete_gamma(alpha))[None])
    pruner.ascend()
    pruner.descend()
    found = neighbours(pruner)
    parts = [part for _, part in resolutions(pruner, found, rounds=rounds)]
    return forest, found, Resolutions(*(torch.cat(each) for each in zip(*parts, strict=True)))


def simulated(n: int, columns: int, seed: int, depth: float = 0.8) -> tuple[Tree, np.ndarray]:
    rng = np.random.default_rng(seed)
    tree = random_tree(n, rng, depth=depth)
    return tree, simulate_states(tree, columns, rng)


def test_sites_of_four_tips_are_the_sum_over_both_inner_states() -> None:
    tree = parse("((a:0.2,b:0.4):0.3,(c:0.3,d:1.2):0.05);")
    rng = np.random.default_rng(0)
    states = rng.integers(0, 20, (4, 30)).astype(np.uint8)
    states[rng.random(states.shape) < 0.1] = MISSING
    forest, found, three = all_resolutions(tree, states, 0.7)
    patterns = SitePatterns.of(states).states
    seen = np.vstack([np.eye(20), np.ones((1, 20))])[np.where(patterns == MISSING, 20, patterns)]  # (4, patterns, 20)
    model = substitution_model("lg")
    assert len(found.node) == 1
    around = found.around[0].tolist()
    for pairing in range(3):
        lengths = three.lengths[0, pairing].numpy()
        expected = np.zeros(patterns.shape[1])
        for rate in discrete_gamma(0.7):
            a, b, c, d = (
                seen[around[PAIRINGS[pairing][place]]] @ model.transition(lengths[place] * rate).T for place in range(4)
            )
            inner = model.transition(lengths[4] * rate)
            expected += np.einsum("x,px,px,xy,py,py->p", model.frequencies, a, b, inner, c, d) / 4
        assert three.sites[0, pairing, : len(expected)].numpy() == pytest.approx(np.log(expected), abs=1e-9)
    assert (three.sites[0, :, patterns.shape[1] :] == 0).all()
    assert three.total[0].numpy() == pytest.approx((three.sites[0] * forest.weights[0]).sum(dim=1).numpy())


@pytest.mark.parametrize("seed", range(3))
def test_resolutions_of_four_tips_are_the_maxima_of_the_three_topologies(seed: int) -> None:
    tree, states = simulated(4, 80, seed)
    names = ["a", "b", "c", "d"]
    _, found, three = all_resolutions(replace(tree, names=[names.pop(0) if n else "" for n in tree.names]), states, 1.0)
    names = ["a", "b", "c", "d"]
    around = [names[i] for i in found.around[0].tolist()]
    for pairing, total in zip(PAIRINGS, three.total[0].tolist(), strict=True):
        p, q, r, s = (around[i] for i in pairing)
        topology = parse(f"({p}:0.3,{q}:0.3,({r}:0.3,{s}:0.3):0.1);")
        [best] = refine_trees([topology], [names], [states], fit_alpha=False, sweeps=60, tolerance=1e-6, precision="double")
        assert total == pytest.approx(best.log_likelihood, abs=2e-3)


@pytest.mark.parametrize(
    "text", ["(((a,b),c),((d,e),f));", "((a,b),c,(d,(e,f)));", "((a,b),c,d,(e,f));", "((a,b),(c,d),(e,f));"]
)
def test_resolutions_within_a_tree_are_the_trees_with_subtrees_exchanged(text: str) -> None:
    tree = parse(text)
    rng = np.random.default_rng(len(text))
    tree = replace(tree, length=rng.uniform(0.05, 0.6, len(tree)))
    states = simulate_states(tree, 60, rng)
    forest, found, three = all_resolutions(tree, states, 0.8)
    numbered = BinaryTree.of(tree, states)
    names = tree.tip_names()
    n = len(names)
    length = numbered.length
    below = dict(enumerate(numbered.children.tolist(), start=n))
    up = {child: parent for parent, children in below.items() for child in children}
    # The forest numbers inner nodes by height: back to the numbers of the tree.
    number = {int(at): i for i, at in enumerate(forest.numbers(0))}

    def subtree(node: int, came_from: int) -> str:
        """Newick text of all beyond a node, seen from a neighbour, without its own length; a root is a mere node."""
        if node < n:
            return names[node]
        beyond = [*below[node], *([up[node]] if node in up else [])]
        lengths = [length[x] if up.get(x) == node else length[node] for x in beyond]
        return (
            "(" + ",".join(f"{subtree(x, node)}:{t}" for x, t in zip(beyond, lengths, strict=True) if x != came_from) + ")"
        )

    checked = 0
    for edge in range(len(found.node)):
        around = [number[x] for x in found.around[edge].tolist()]
        texts = [subtree(x, up[x]) for x in around]
        if bool(found.above[edge]):
            texts[3] = subtree(up[around[3]], around[3])
        for pairing in range(3):
            t = three.lengths[edge, pairing].tolist()
            a, b, c, d = (texts[x] for x in PAIRINGS[pairing])
            rebuilt = parse(f"({a}:{t[0]},{b}:{t[1]},({c}:{t[2]},{d}:{t[3]}):{t[4]});")
            expected = log_likelihood(rebuilt, names, states, alpha=0.8)
            assert float(three.total[edge, pairing]) == pytest.approx(expected, abs=1e-6)
            checked += 1
    assert checked == 3 * {"(((a,b),c),((d,e),f));": 3, "((a,b),c,(d,(e,f)));": 3}.get(text, 2 + (text[7] == "("))


def test_abayes_is_the_posterior_of_the_three_and_gain_the_lead() -> None:
    tree, states = simulated(12, 60, 4)
    _, _, three = all_resolutions(tree, states, 1.0, rounds=2)
    [support] = local_support([tree], [tree.tip_names()], [states], precision="double", replicates=10)
    posterior = softmax(three.total.numpy(), axis=1)[:, 0]
    assert sorted(set(support.abayes[~np.isnan(support.abayes)].round(9))) == sorted(posterior.round(9))
    lead = (three.total[:, 0] - three.total[:, 1:].amax(dim=1)).numpy()
    assert sorted(set(support.gain[~np.isnan(support.gain)].round(6))) == sorted(lead.round(6))


def test_sh_alrt_is_the_share_of_resampled_alignments_that_lead_by_less() -> None:
    rng = np.random.default_rng(1)
    sites = rng.normal(-3, 1, (6, 3, 12)) + rng.normal(0, 0.4, (6, 3, 1))
    weights = rng.integers(1, 4, 12)
    counts = rng.multinomial(weights.sum(), weights / weights.sum(), size=50)
    total = sites @ weights
    expected = []
    for edge in range(6):
        held = 0
        for drawn in counts:
            centred = sorted(float(sites[edge, k] @ drawn - total[edge, k]) for k in range(3))
            held += total[edge, 0] - max(total[edge, 1:]) > centred[2] - centred[1] + 0.05
        expected.append(held / 50)
    arguments = (torch.from_numpy(x) for x in (sites, total, counts.astype(np.float64)))
    assert _sh_alrt(*arguments).tolist() == pytest.approx(expected)
    assert 0 < sum(expected) < 6


def auroc(score: np.ndarray, true: np.ndarray) -> float:
    ranks = rankdata(score)
    positive = int(true.sum())
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * (len(true) - positive)))


@pytest.mark.parametrize(("measure", "families"), [("abayes", 5), ("alrt", 5), ("bootstrap=30", 3)])
def test_true_branches_have_more_support_than_false_ones(measure: str, families: int) -> None:
    scores: list[float] = []
    is_true: list[bool] = []
    nni = False if measure.startswith("bootstrap") else None  # its replicates are distance trees
    for seed in range(families):
        truth, states = simulated(40, 80, seed)
        letters = np.array(list(AMINO_ACIDS))[states]
        family = Family(truth.tip_names(), ["".join(row) for row in letters], accession="PF1")
        [done] = infer_trees([family], engine="bme", support=measure, nni=nni, root="none")
        tree = done.require_tree()
        number = {name: i for i, name in enumerate(family.ids)}
        real = set(splits(truth, number).values())
        support = tree.support()
        for node, split in splits(tree, number).items():
            scores.append(float(support[node]))
            is_true.append(split in real)
    assert 20 < sum(is_true) < len(is_true) - 10
    assert auroc(np.array(scores), np.array(is_true)) > 0.85


def test_a_star_has_little_support() -> None:
    rng = np.random.default_rng(5)
    tree = random_tree(16, rng)
    length = np.where(tree.is_tip, 0.6, 0.0)
    states = simulate_states(replace(tree, length=length), 150, rng)
    [support] = local_support([replace(tree, length=length)], [tree.tip_names()], [states])
    values = support.abayes[~np.isnan(support.abayes)]
    assert values.mean() < 0.45
    assert np.nanmean(support.sh_alrt) < 0.4
    nothing = np.full_like(states, MISSING)
    [support] = local_support([tree], [tree.tip_names()], [nothing])
    assert support.abayes[~np.isnan(support.abayes)] == pytest.approx(1 / 3)
    assert np.nanmax(support.sh_alrt) == 0.0


def test_many_trees_at_once_have_the_support_of_each_alone() -> None:
    several = [simulated(n, columns, n) for n, columns in ((9, 50), (3, 40), (14, 90), (2, 20), (9, 90), (2, 10))]
    several[3] = (parse("(a:1,b:1);"), several[3][1])
    several[5] = (parse("a;"), several[5][1][:1])
    trees, alignments = [t for t, _ in several], [s for _, s in several]
    names = [t.tip_names() for t in trees]
    together = local_support(trees, names, alignments, alpha=[0.5, 1, 2, 1, 1, 1])
    for i, alpha in enumerate([0.5, 1, 2, 1, 1, 1]):
        [alone] = local_support([trees[i]], [names[i]], [alignments[i]], alpha=alpha)
        assert together[i].abayes == pytest.approx(alone.abayes, abs=1e-4, nan_ok=True)
    assert np.isnan(together[1].abayes).all()
    assert np.isnan(together[5].abayes).all()


def test_branches_without_a_value_are_those_that_cut_off_a_tip() -> None:
    tree = parse("(((a:1,b:1):1,c:1):1,((d:1,(e:0,f:0):0):1,g:1):1);")
    _, states = simulated(7, 60, 1)
    states[5] = states[4]
    [support] = local_support([tree], [tree.tip_names()], [states])
    number = {name: i for i, name in enumerate(tree.tip_names())}
    assert np.flatnonzero(~np.isnan(support.abayes)).tolist() == sorted(splits(tree, number))
    root = np.flatnonzero(tree.parent == 0)
    assert support.abayes[root[0]] == support.abayes[root[1]]
    assert np.isfinite(support.gain[~np.isnan(support.abayes)]).all()


def test_polytomies_zero_lengths_and_empty_columns_have_finite_support() -> None:
    tree = parse("((a:.2,b:.2,c:.2,d:.2):.3,(e:0,f:0,g:.2):0,(h:.2,(i:.2,j:.2):.1):.2,k:.3);")
    states = np.random.default_rng(3).integers(0, 20, (11, 40)).astype(np.uint8)
    states[:, 5:15] = MISSING
    states[2, :20] = MISSING
    [support] = local_support([tree], [tree.tip_names()], [states])
    there = sorted(splits(tree, {name: i for i, name in enumerate(tree.tip_names())}))
    assert np.flatnonzero(~np.isnan(support.abayes)).tolist() == there
    assert len(there) == 4
    assert ((support.abayes[there] >= 0) & (support.abayes[there] <= 1)).all()
    assert ((support.sh_alrt[there] >= 0) & (support.sh_alrt[there] <= 1)).all()
    [without] = local_support([tree], [tree.tip_names()], [states[:, [*range(5), *range(15, 40)]]])
    assert without.abayes == pytest.approx(support.abayes, abs=1e-9, nan_ok=True)


REFERENCE = {
    "t0 t1": 0.275,
    "t0 t1 t2": 0.333,
    "t3 t4": 0.889,
    "t7 t8": 0.494,
    "t6 t7 t8": 0.872,
    "t5 t6 t7 t8": 0.852,
    "t10 t9": 0.994,
    "t10 t5 t6 t7 t8 t9": 0.0252,
    "t12 t13": 0.369,
    "t11 t12 t13": 0.270,
    "t14 t15": 0.924,
    "t11 t12 t13 t14 t15": 0.999,
    "t0 t1 t2 t3 t4": 0.121,
}
"""aBayes of `iqtree2 -te tree.nwk -m LG+G4{1.0} -abayes` (2.0.7) on 16 rows of fn3, by the tips on one side."""


def test_abayes_is_that_of_iqtree(examples: Path) -> None:
    family = next(f for f in stockholm.read(examples / "families.sto") if f.name == "fn3")
    states = encode_states(family.rows[:16])
    topology = parse(
        "((t2:2.2,((((t5:2.7,(t6:1.5,(t7:1.1,t8:1.2):0.4):0.8):0.9,(t9:1.8,t10:1):1):0.1,(((t13:0.7,t12:1.1):0.2,t11:0.7):0.1,"
        "(t14:1.2,t15:0.7):0.3):0.6):0.1,(t3:1.2,t4:1.1):0.6):0.1):0.1,t1:1.0,t0:1.0);"
    )
    names = [f"t{i}" for i in range(16)]
    [best] = refine_trees([topology], [names], [states], fit_alpha=False, sweeps=60, tolerance=1e-5)
    assert best.log_likelihood == pytest.approx(-3259.8765, abs=1e-3)
    [support] = local_support([best.tree], [names], [states])
    found = {}
    below: list[set[str]] = [set() for _ in range(len(topology))]
    for node in range(len(topology) - 1, 0, -1):
        below[node] |= {topology.names[node]} if topology.is_tip[node] else set()
        below[topology.parent[node]] |= below[node]
        if not np.isnan(support.abayes[node]):
            for side in (below[node], set(names) - below[node]):
                found[" ".join(sorted(side))] = float(support.abayes[node])
    for side, expected in REFERENCE.items():
        # The two other resolutions are brought to higher likelihoods here, so that some values are a little lower.
        assert expected - 0.02 <= found[side] <= expected + 0.002, side


@pytest.mark.needs("iqtree")
def test_sh_alrt_is_that_of_iqtree(tmp_path: Path) -> None:
    program = iqtree.program()
    _, states = simulated(50, 150, 3, depth=1.0)
    names = [f"t{i}" for i in range(50)]
    tree = TREE_ENGINES.load("bme").infer(states, Settings(alpha=1.0)).tree
    tree = replace(tree, names=[f"t{name}" if name else "" for name in tree.names])
    [best] = refine_trees([tree], [names], [states], fit_alpha=False, sweeps=60, tolerance=1e-4)
    [ours] = local_support([best.tree], [names], [states])
    letters = np.array(list(AMINO_ACIDS))[states]
    (tmp_path / "a.fa").write_text("".join(f">{n}\n{''.join(r)}\n" for n, r in zip(names, letters, strict=True)))
    (tmp_path / "a.nwk").write_text(best.tree.to_newick())
    command = [program, "-s", "a.fa", "-te", "a.nwk", "-m", "LG+G4{1.0}", "-alrt", "1000", "-nt", "1", "-quiet"]
    subprocess.run(command, cwd=tmp_path, check=True)
    number = {name: i for i, name in enumerate(names)}
    theirs = parse((tmp_path / "a.fa.treefile").read_text())
    support = theirs.support()
    expected = {split: support[node] for node, split in splits(theirs, number).items()}
    pairs = np.array([(100 * ours.sh_alrt[node], expected[split]) for node, split in splits(tree, number).items()])
    assert len(pairs) >= 47
    assert np.abs(pairs[:, 0] - pairs[:, 1]).mean() < 2
    assert np.corrcoef(pairs.T)[0, 1] > 0.99


def test_split_frequencies_by_hand() -> None:
    tree = parse("((a,b),(c,(d,e)));")
    others = [parse(text) for text in ("((a,b),c,(d,e));", "(((a,b),c),d,e);", "((a,c),b,(d,e));", "(a,b,c,d,e);")]
    found = split_frequencies(tree, others)
    named = {"ab": 1, "cde": 4, "de": 6}
    # ab|cde and its other half at the root: in the first two. de|abc: in the first three, also as (((a,b),c),d,e).
    assert found[named["ab"]] == found[named["cde"]] == 0.5
    assert found[named["de"]] == 0.75
    assert np.isnan(found[tree.is_tip]).all()
    assert np.isnan(found[0])
    flat = parse("((a:1,b:1):0,c:1,(d:1,e:1):1);")
    assert split_frequencies(tree, [flat])[named["ab"]] == 0.0
    assert split_frequencies(tree, [flat])[named["de"]] == 1.0
    with pytest.raises(BadInputError, match="different tips"):
        split_frequencies(tree, [parse("(a,b,c,d);")])
    with pytest.raises(BadInputError, match="no tree"):
        split_frequencies(tree, [])


def test_splits_of_many_tips_do_not_mix() -> None:
    tree = random_tree(70, np.random.default_rng(2))
    number = {name: i for i, name in enumerate(tree.tip_names())}
    found = splits(tree, number)
    assert len(set(found.values())) == 70 - 3
    packed = next(iter(found.values()))
    assert not np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[0]


@pytest.mark.parametrize("text", ["bootstraps", "alrt=", "alrt=0", "alrt=many", "abayes=5", "bootstrap=-3"])
def test_unknown_support_measures_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError):
        parse_support(text)


def family_of(n: int, columns: int, seed: int) -> Family:
    tree, states = simulated(n, columns, seed)
    return Family(tree.tip_names(), ["".join(row) for row in np.array(list(AMINO_ACIDS))[states]], accession="PF1")


@pytest.mark.parametrize(
    ("measure", "words", "top"), [("abayes", "aBayes", 1), ("alrt=200", "200 rep", 100), ("bootstrap=5", "5 rep", 100)]
)
def test_labels_are_there_after_rooting_and_the_note_says_what_they_are(measure: str, words: str, top: float) -> None:
    family = family_of(14, 100, 1)
    [bare] = infer_trees([family], engine="nj", support=measure, root="none")
    [rooted] = infer_trees([family], engine="nj", support=measure, root="midpoint")
    assert words in rooted.notes[-1]
    number = {name: i for i, name in enumerate(family.ids)}
    labels = []
    for tree in (bare.require_tree(), rooted.require_tree()):
        support = tree.support()
        at = splits(tree, number)
        assert sorted(at) == np.flatnonzero(~np.isnan(support)).tolist()
        assert np.nanmin(support) >= 0
        assert np.nanmax(support) <= top
        labels.append({split: tree.names[node] for node, split in at.items()})
    assert labels[0] == labels[1]
    assert len(labels[0]) == 11


def test_the_same_seed_gives_the_same_labels_and_another_may_not() -> None:
    family = family_of(20, 60, 3)
    trees = [next(iter(infer_trees([family], support="alrt=50", seed=seed))).tree.to_newick() for seed in (0, 0, 1)]
    assert trees[0] == trees[1] != trees[2]


@pytest.mark.parametrize("measure", ["abayes", "alrt", "bootstrap=3"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_small_families_and_duplicates(measure: str, n: int) -> None:
    family = family_of(max(n, 2), 50, 2)
    ids, rows = family.ids[:n], family.rows[:n]
    doubled = Family([*ids, *(f"{name}x" for name in ids)], rows * 2, accession="PF1")
    for given in (Family(ids, rows, accession="PF1"), doubled):
        [done] = infer_trees([given], engine="bme", support=measure)
        assert (~np.isnan(done.require_tree().support())).any() == (n > 3)


def test_support_needs_a_likelihood_or_distances() -> None:
    family = family_of(8, 50, 2)
    with pytest.raises(UsageError, match="abayes support needs a likelihood"):
        list(infer_trees([family], model="kimura", support="abayes"))
    with pytest.raises(UsageError, match="no bootstrap"):
        list(infer_trees([family], engine="veryfasttree", support="bootstrap"))
    [done] = infer_trees([family], model="kimura", support="bootstrap=2")
    assert (~np.isnan(done.require_tree().support())).any()


def test_a_given_tree_keeps_its_support_or_gets_another(tmp_path: Path) -> None:
    family = family_of(6, 80, 5)
    a, b, c, d, e, f = family.ids
    path = tmp_path / "theirs.nwk"
    path.write_text(f"(({a}:0.1,{b}:0.2)97.2/0.99:0.1,({c}:0.3,{d}:0.1)Clade:0.2,({e}:0.2,{f}:0.1)0.514:0.3);")
    [kept] = attach_trees([family], path, root="midpoint")
    assert sorted(set(kept.require_tree().names) - set(family.ids) - {""}) == ["0.514", "97.2/0.99", "Clade"]
    [new] = attach_trees([family], path, support="abayes", root="none")
    assert "97.2/0.99" not in new.tree.to_newick()
    assert "aBayes" in new.notes[-1]
    assert np.nanmax(new.require_tree().support()) <= 1
    with pytest.raises(UsageError, match="no bootstrap support for a given tree"):
        list(attach_trees([family], path, support="bootstrap"))
