"""Simulated families beside those of independent simulators, and a power analysis on them.

    python benchmarks/simulate.py [--power]

The others are pyvolve (Spielman & Wilke 2015) and AsymmeTree (Schaller et al. 2022), `pip install pyvolve asymmetree`; one
that is not installed is left out. Prints, on the same trees: identity against distance beside the closed form, statistics
of site patterns, insertions and deletions, CPU time; and what phylocli takes for large trees: about a minute on one core.
With --power, instead, how well inferred trees keep a band of distances, by the number of columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from phylocli.core.alphabet import encode_states
from phylocli.formats.tree import Tree
from phylocli.pairs import PairSampler
from phylocli.simulate import IndelModel, RateModel, Settings, TreeModel, birth_death, scaled, simulate
from phylocli.tree import infer_trees
from phylocli.tree.models import discrete_gamma, substitution_model

Rows = dict[str, str]
ALPHA, INVARIANT, CLASSES = 0.7, 0.1, 4
BINS = (0.0, 0.3, 0.6, 0.9, 1.2, 2.0)
NO_INDELS = IndelModel(0, 0)


def ours(tree: Tree, columns: int, seed: int, rates: RateModel, indels: IndelModel = NO_INDELS) -> Rows:
    """Return the true alignment that phylocli simulates along a tree."""
    settings = Settings(TreeModel(given=(tree,)), (columns, columns), rates=rates, indels=indels)
    family = next(simulate(settings, seed=seed)).family
    return dict(zip(family.ids, family.rows, strict=True))


def by_pyvolve(tree: Tree, columns: int, seed: int) -> Rows:
    """Return an alignment by pyvolve under LG + Γ in classes + I.

    Its variable sites have the mean rate 1, so that branches are made longer here to mean what they mean elsewhere.
    """
    import pyvolve

    longer = Tree(tree.parent, tree.length / (1 - INVARIANT), tree.names)
    model = pyvolve.Model("LG", alpha=ALPHA, num_categories=CLASSES, pinv=INVARIANT)
    evolver = pyvolve.Evolver(
        tree=pyvolve.read_tree(tree=longer.to_newick()), partitions=pyvolve.Partition(models=model, size=columns)
    )
    evolver(seqfile=None, ratefile=None, infofile=None, seed=seed)
    return dict(evolver.get_sequences())


def by_asymmetree(tree: Tree, columns: int, seed: int, alpha: float, indels: IndelModel = NO_INDELS) -> Rows:
    """Return a true alignment by AsymmeTree under LG + continuous Γ, indel lengths by a power law."""
    from asymmetree import seqevolve
    from tralda.datastructures import Tree as Tralda

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  it draws from the global state
    evolver = seqevolve.Evolver(
        seqevolve.SubstModel("a", "LG"),
        indel_model=None
        if indels.is_off
        else seqevolve.IndelModel(
            indels.insertion, indels.deletion, length_distr=("zipf", indels.parameter), max_length=indels.longest
        ),
        het_model=seqevolve.HetModel(alpha, sitewise=True),
    )
    evolver.evolve_along_tree(Tralda.parse_newick(tree.to_newick()), start_length=columns)
    rows = {node.label: row for node, row in evolver.true_alignment().items() if not node.children}
    used = np.array([list(row) for row in rows.values()]) != "-"
    keep = np.flatnonzero(used.any(axis=0))
    return {name: "".join(row[k] for k in keep) for name, row in rows.items()}


def states_of(tree: Tree, rows: Rows) -> npt.NDArray[np.uint8]:
    """Return the rows as states in the tree's order of tips."""
    return encode_states([rows[name] for name in tree.tip_names()])


def identities(tree: Tree, rows: Rows) -> Iterator[float]:
    """Yield the mean identity of the pairs in each bin of distance."""
    states = states_of(tree, rows)
    i, j = np.triu_indices(len(states), 1)
    same = (states[i] == states[j]).mean(axis=1)
    distance = PairSampler(tree).distance(i, j)
    for low, high in itertools.pairwise(BINS):
        yield float(same[(distance >= low) & (distance < high)].mean())


def expected(tree: Tree, discrete: bool) -> Iterator[float]:
    """Yield the expected identity of the same pairs, Σ π P(t)ᵢᵢ, averaged over rates and pairs."""
    model = substitution_model("lg")
    i, j = np.triu_indices(int(tree.is_tip.sum()), 1)
    distance = PairSampler(tree).distance(i, j)
    if discrete:
        rates = discrete_gamma(ALPHA, CLASSES) / (1 - INVARIANT)
        changed = np.mean([model.transition(rate * distance) for rate in rates], axis=0)
        same = INVARIANT + (1 - INVARIANT) * np.einsum("x,pxx->p", model.frequencies, changed)
    else:
        same = np.einsum("x,pxx->p", model.frequencies, model.gamma_transition(distance, ALPHA))
    for low, high in itertools.pairwise(BINS):
        yield float(same[(distance >= low) & (distance < high)].mean())


def patterns(tree: Tree, rows: Rows) -> tuple[float, float, float]:
    """Return the share of constant sites, the mean number of amino acids at a site, and the mean entropy in bits."""
    states = states_of(tree, rows)
    count = np.array([np.bincount(column, minlength=21)[:20] for column in states.T])
    share = count / count.sum(axis=1, keepdims=True)
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
    kinds = (count > 0).sum(axis=1)
    return float((kinds == 1).mean()), float(kinds.mean()), float(entropy.mean())


def timed(make: Callable[..., Rows], *arguments: Any) -> tuple[float, Rows]:
    """Return the CPU seconds that a simulation takes, and its rows."""
    start = time.process_time()
    rows = make(*arguments)
    return time.process_time() - start, rows


def compare_substitutions(have: dict[str, bool]) -> None:
    """Print identity against distance and site patterns."""
    tree = scaled(birth_death(40, np.random.default_rng(1), extinction=0.5), mean_distance=1.0)
    columns = 20_000
    rows: list[tuple[str, Rows | None, bool]] = [
        ("closed form, Γ4 + I", None, True),
        ("phylocli, Γ4 + I", ours(tree, columns, 0, RateModel(ALPHA, CLASSES, INVARIANT)), True),
    ]
    if have["pyvolve"]:
        rows.append(("pyvolve, Γ4 + I", by_pyvolve(tree, columns, 1), True))
    rows.append(("closed form, Γ", None, False))
    rows.append(("phylocli, Γ", ours(tree, columns, 0, RateModel(ALPHA)), False))
    if have["asymmetree"]:
        rows.append(("AsymmeTree, Γ", by_asymmetree(tree, columns, 1, ALPHA), False))
    print(f"Identity by distance, and site patterns: 40 tips, {columns:,} columns, LG, α = {ALPHA}, I = {INVARIANT}\n")
    bands = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(BINS)]
    print(f"| simulator | {' | '.join(bands)} | constant sites | amino acids per site | entropy, bits |")
    print("|---" * (len(bands) + 4) + "|")
    for name, found, discrete in rows:
        shown = expected(tree, discrete) if found is None else identities(tree, found)
        cells = [f"{x:.3f}" for x in shown]
        cells += ["–"] * 3 if found is None else [f"{x:.3f}" for x in patterns(tree, found)]
        print(f"| {name} | {' | '.join(cells)} |")


def compare_indels(have: dict[str, bool]) -> None:
    """Print lengths, columns and gaps of families with insertions and deletions."""
    tree = scaled(birth_death(30, np.random.default_rng(2)), mean_distance=1.0)
    model = IndelModel(0.03, 0.03)
    columns, runs = 200, 150
    print(f"\nIndels: 30 tips, {columns} residues at the root, 0.03 + 0.03 per substitution, {runs} families\n")
    print("| simulator | residues (sd) | columns (sd) | fraction of gaps |\n|---|---|---|---|")
    makers: dict[str, Callable[[int], Rows]] = {"phylocli": lambda k: ours(tree, columns, k, RateModel(1.0), model)}
    if have["asymmetree"]:
        makers["AsymmeTree"] = lambda k: by_asymmetree(tree, columns, k, 1.0, model)
    for name, make in makers.items():
        lengths, widths, gaps = [], [], []
        for k in range(runs):
            rows = list(make(k).values())
            lengths += [len(row) - row.count("-") for row in rows]
            widths.append(len(rows[0]))
            gaps.append(sum(row.count("-") for row in rows) / (len(rows) * len(rows[0])))
        print(
            f"| {name} | {np.mean(lengths):.1f} ({np.std(lengths):.1f}) | {np.mean(widths):.0f} ({np.std(widths):.0f}) | "
            f"{np.mean(gaps):.3f} |"
        )


def compare_time(have: dict[str, bool]) -> None:
    """Print CPU seconds side by side, then those of phylocli for large trees."""
    print("\nCPU seconds for one family of 200 columns without indels\n")
    print("| tips | phylocli, Γ4 + I | pyvolve | ratio | phylocli, Γ | AsymmeTree | ratio |\n|---|---|---|---|---|---|---|")
    for tips in (100, 500):
        tree = scaled(birth_death(tips, np.random.default_rng(3)), mean_distance=1.0)
        cells = []
        for rates, name in ((RateModel(ALPHA, CLASSES, INVARIANT), "pyvolve"), (RateModel(ALPHA), "asymmetree")):
            mine = min(timed(ours, tree, 200, 0, rates)[0] for _ in range(5))
            cells.append(f"{mine:.3f}")
            if not have[name]:
                cells += ["–", "–"]
                continue
            if name == "pyvolve":
                theirs = timed(by_pyvolve, tree, 200, 0)[0]
            else:
                theirs = timed(by_asymmetree, tree, 200, 0, ALPHA)[0]
            cells += [f"{theirs:.2f}", f"{theirs / mine:,.0f}×"]
        print(f"| {tips} | {' | '.join(cells)} |")
    print("\nCPU seconds of phylocli, 150 residues at the root\n")
    print("| tips | tree | without indels | 0.02 indels | columns with indels |\n|---|---|---|---|---|")
    for tips in (1_000, 10_000, 100_000):
        start = time.process_time()
        tree = scaled(birth_death(tips, np.random.default_rng(4)), mean_distance=1.0)
        grown = time.process_time() - start
        plain, _ = timed(ours, tree, 150, 0, RateModel(1.0))
        settings = Settings(TreeModel(given=(tree,)), (150, 150))
        start = time.process_time()
        found = next(simulate(settings, aligned=tips < 100_000))
        print(f"| {tips:,} | {grown:.2f} | {plain:.2f} | {time.process_time() - start:.2f} | {len(found.rates):,} |")


def power() -> None:
    """Print the accuracy of distances in inferred trees, by number of columns and clock."""
    low, high, spread, families = 0.5, 1.0, 0.5, 20
    print(f"Inferred trees (bme, refined) of 60 members, mean distance 1.2, clock sd {spread:g}, {families} families each\n")
    print(f"| columns | Spearman | sd of log(inferred/true) | pairs in [{low:g}, {high:g}] that truly are |")
    print("|---|---|---|---|")
    for columns in (50, 100, 200, 400, 800):
        settings = Settings(
            TreeModel(tips=(60, 60), relaxed=spread, mean_distance=1.2), (columns, columns), indels=IndelModel(0, 0)
        )
        true, found = [], []
        for simulated in simulate(settings, families, seed=columns):
            family = simulated.family
            i, j = np.triu_indices(60, 1)
            for tree, into in ((family.require_tree(), true), (next(infer_trees([family])).require_tree(), found)):
                index = {name: k for k, name in enumerate(tree.tip_names())}
                place = np.array([index[name] for name in family.ids])
                into.append(PairSampler(tree).distance(place[i], place[j]))
        spearman = np.mean([spearmanr(t, f).statistic for t, f in zip(true, found, strict=True)])
        t, f = np.concatenate(true), np.concatenate(found)
        inside = (f >= low) & (f <= high)
        precision = ((t >= low) & (t <= high))[inside].mean()
        told_apart = (f > 0) & (t > 0.05)
        scatter = np.log(f[told_apart] / t[told_apart]).std()
        print(f"| {columns} | {spearman:.3f} | {scatter:.3f} | {precision:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--power", action="store_true")
    if parser.parse_args().power:
        power()
        sys.exit()
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    present = {name: importlib.util.find_spec(name) is not None for name in ("pyvolve", "asymmetree")}
    for missing in (name for name, there in present.items() if not there):
        print(f"{missing} is not installed and is left out", file=sys.stderr)
    compare_substitutions(present)
    compare_indels(present)
    compare_time(present)
