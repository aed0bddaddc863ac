"""Branch lengths, interchanges and support by likelihood on distance trees, beside VeryFastTree and IQ-TREE, in one run.

    python benchmarks/likelihood.py                      # simulated families of 50, 200 and 500 sequences
    python benchmarks/likelihood.py --sizes 2000 --skip-full
    python benchmarks/likelihood.py --many 1000          # families of 100 a minute, one by one and batched
    python benchmarks/likelihood.py --many 1000 --device cuda
    python benchmarks/likelihood.py --support            # do true branches have more support than false ones?

Rows: `bme`, the tree (BME+NNI on LG+Γ distances, α estimated); `+1 sweep`, `phylocli tree --no-nni`; `quick+1`, quick
interchanges and a sweep, what `phylocli tree` does; `+nni`, thorough interchanges after `+1 sweep`; `+full`, lengths, scale
and α at the maximum; `truth+1`, one sweep on the true topology and lengths, a floor for any tree program; `veryfasttree`.
Figures: nRF, rho and rho_in as in benchmarks/tree.py; sd of
log(estimated / true) over pairs at 0.1 or more apart (estimates under 0.001 count as 0.001: zero has no logarithm); ratio,
the median of estimated / true; slope through the origin; cpu seconds of all that leads to the tree, imports left out, one
thread; of the likelihood alone in the last column. Sizes without data are simulated here.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tree import compare, patristic, simulated

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.plugins import TREE_ENGINES
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import deduplicate as _collapse
from phylocli.tree import refine_many
from phylocli.tree.comparison.splits import splits
from phylocli.tree.infer import clip_negative, usable_states
from phylocli.tree.likelihood import local_support, refine_trees
from phylocli.tree.refinement import improve, rearrange, refine
from phylocli.tree.settings import Settings
from phylocli.tree.support import METHODS, Measure, add_support

COLUMNS = 150
SETTINGS = Settings()


def cpu() -> float:
    """Return the CPU seconds of this process and its children so far."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns, and its CPU seconds."""
    before = cpu()
    found = work()
    return found, cpu() - before


def figures(tree: Tree, truth: Tree) -> list[float]:
    """Return nRF, rho, rho_in, sd, ratio and slope of a tree against the true one."""
    found = compare(tree, truth)
    names = {name: i for i, name in enumerate(truth.tip_names())}
    above = np.triu_indices(len(names), 1)
    estimated, true = patristic(tree, names)[above], patristic(truth, names)[above]
    apart = true >= 0.1
    ratio = np.maximum(estimated[apart], 1e-3) / true[apart]
    return [found["nRF"], found["rho"], found["rho_in"], float(np.log(ratio).std()), float(np.median(ratio)), found["slope"]]


def made(n: int, seed: int) -> tuple[Family, Tree]:
    """Return a family simulated under LG+Γ (α = 1) on a Yule tree, and that tree."""
    rng = np.random.default_rng([n, seed])
    truth = random_tree(n, rng)
    letters = np.array(list(AMINO_ACIDS))[simulate_states(truth, COLUMNS, rng)]
    return Family(truth.tip_names(), ["".join(row) for row in letters], accession=f"n{n}_made{seed}"), truth


def cases(sizes: list[int], only: str) -> Iterator[tuple[str, list[str], np.ndarray, Tree]]:
    """Yield name, ids of the rows, states and true tree of the families of these sizes."""
    there = simulated(sizes)
    for name, alignment, true_tree in there:
        if only in name:
            [family] = read_families(alignment)
            yield name, *_usable(replace(family, aligned=True), parse(true_tree.read_text().strip()))
    for n in set(sizes) - {int(name[1:].split("_")[0]) for name, *_ in there}:
        for seed in range(3):
            family, truth = made(n, seed)
            if only in family.label:
                yield family.label, *_usable(family, truth)


def _usable(family: Family, truth: Tree) -> tuple[list[str], np.ndarray, Tree]:
    family, names, states = usable_states(family, "all", 0.0)
    return names, states, truth.prune(family.ids) if len(family) < len(truth.tip_names()) else truth


def accuracy(arguments: argparse.Namespace) -> None:
    """Print accuracy and CPU time of each way to a tree."""
    bme = TREE_ENGINES.load("bme")
    veryfasttree = TREE_ENGINES.load("veryfasttree")
    columns = ["nRF", "rho", "rho_in", "sd", "ratio", "slope", "cpu", "alone"]
    print(f"{'family':12} {'tree':14}" + "".join(f"{c:>8}" for c in columns))
    table: dict[tuple[int, str], list[list[float]]] = {}

    def report(label: str, tree: Tree, total: float, alone: float = float("nan")) -> None:
        name, truth = case
        row = [*figures(tree, truth), total, alone]
        table.setdefault((int(name[1:].split("_")[0]), label), []).append(row)
        print(f"{name:12} {label:14}" + "".join(f"{v:8.3f}" for v in row), flush=True)

    for name, ids, states, truth in cases(arguments.sizes, arguments.only):
        case = name, truth
        groups = _collapse.unique_rows(states)
        different = states[[group[0] for group in groups]]
        rows = [str(i) for i in range(len(different))]

        def whole(tree: Tree, groups: list[list[int]] = groups, ids: list[str] = ids) -> Tree:
            return clip_negative(_collapse.expand(tree, groups, ids))

        (start, _, alpha), base = timed(lambda: bme.infer(different, SETTINGS))  # noqa: B023
        report("bme", whole(start), base)
        (swept, *_), alone = timed(lambda: refine(start, rows, different, SETTINGS, alpha=alpha))  # noqa: B023
        report("+1 sweep", whole(swept), base + alone, alone)
        (tree, *_), quick = timed(
            lambda: refine(
                rearrange(clip_negative(start), rows, different, SETTINGS, alpha=alpha).tree,  # noqa: B023
                rows,  # noqa: B023
                different,  # noqa: B023
                SETTINGS,
                alpha=alpha,  # noqa: B023
            )
        )
        report("quick+1", whole(tree), base + quick, quick)
        (tree, *_), more = timed(lambda: improve(clip_negative(swept), rows, different, SETTINGS, alpha=alpha))  # noqa: B023
        report("+nni", whole(tree), base + alone + more, alone + more)
        if not arguments.skip_full:
            (tree, *_), alone = timed(lambda: refine(start, rows, different, SETTINGS, alpha=alpha, full=True))  # noqa: B023
            report("+full", whole(tree), base + alone, alone)
        (tree, *_), alone = timed(lambda: refine(truth, ids, states, SETTINGS, alpha=alpha))  # noqa: B023
        report("truth+1", tree, float("nan"), alone)
        if veryfasttree.available():
            tree, total = timed(lambda: veryfasttree.infer(different, SETTINGS).tree)  # noqa: B023
            report("veryfasttree", whole(tree), total)
    print()
    for (n, label), rows_of in table.items():
        print(f"{f'mean of {n}':12} {label:14}" + "".join(f"{v:8.3f}" for v in np.mean(rows_of, axis=0)))


def many(count: int, size: int, device: str) -> None:
    """Print the number of families per minute for one sweep each."""
    bme = TREE_ENGINES.load("bme")
    families = []
    for seed in range(min(count, 100)):  # more families are these again: trees take longer to make than to refine
        family, _ = made(size, seed)
        [_, names, states] = usable_states(family, "all", 0.0)
        start = clip_negative(bme.infer(states, Settings(alpha=1.0)).tree)
        tree = Tree(start.parent, start.length, [names[int(name)] if name else "" for name in start.names])
        families.append(family.with_tree(tree))
    families = [families[i % len(families)] for i in range(count)]
    ways = {"batched": lambda: list(refine_many(families, alpha=1.0, root="none", device=device))}
    if device == "cpu":
        ways["one by one"] = lambda: [list(refine_many([family], alpha=1.0, root="none")) for family in families]
    for label, work in ways.items():
        list(refine_many(families[:3], alpha=1.0, device=device))  # warm-up: loading and compilation are not measured
        start_wall = time.perf_counter()
        _, used = timed(work)
        wall = time.perf_counter() - start_wall
        print(
            f"{count} families of {size} on {device}, {label}: {used:.1f} CPU s, {wall:.1f} s, "
            f"{60 * count / used:.0f} families a CPU minute, {60 * count / wall:.0f} a minute",
            flush=True,
        )


def auroc(score: np.ndarray, true: np.ndarray) -> float:
    """Return the chance that a true branch has the higher score than a false one."""
    positive = int(true.sum())
    return float((rankdata(score)[true].sum() - positive * (positive + 1) / 2) / (positive * (len(true) - positive)))


def support(sizes: list[int], only: str) -> None:
    """Print how well support tells true branches of BME trees from false ones, and how near IQ-TREE's values are."""
    bme = TREE_ENGINES.load("bme")
    iqtree = next((path for name in ("iqtree3", "iqtree2", "iqtree") if (path := shutil.which(name))), None)
    columns = ["branches", "true", "auroc", "mean of true", "mean of false", "cpu"]
    print(f"{'family':12} {'support':10}" + "".join(f"{c:>14}" for c in columns))
    for name, ids, states, truth in cases(sizes, only):
        start, _, alpha = bme.infer(states, SETTINGS)
        rows = [str(i) for i in range(len(states))]
        tree = clip_negative(refine(clip_negative(start), rows, states, SETTINGS, alpha=alpha).tree)
        number = {str(i): i for i in range(len(states))}
        row = {x: str(i) for i, x in enumerate(ids)}
        real = set(splits(Tree(truth.parent, truth.length, [row.get(x, "") for x in truth.names]), number).values())
        at = splits(tree, number)
        true = np.array([split in real for split in at.values()])
        for method, replicates in METHODS.items():
            measure = Measure(method, replicates)
            (labelled, _), used = timed(
                lambda: add_support(tree, rows, states, SETTINGS, measure, alpha=alpha, engine=bme)  # noqa: B023
            )
            values = labelled.support()[list(at)]
            line = [len(at), true.mean(), auroc(values, true), values[true].mean(), values[~true].mean(), used]
            print(f"{name:12} {method:10}" + "".join(f"{v:14.3f}" for v in line), flush=True)
        if iqtree and len(states) <= 50:
            _beside_iqtree(iqtree, tree, states, name)


def _beside_iqtree(program: str, tree: Tree, states: np.ndarray, name: str) -> None:
    """Print how far our support is from IQ-TREE's on one tree with lengths at the maximum, α = 1."""
    rows = [f"t{i}" for i in range(len(states))]
    tree = Tree(tree.parent, tree.length, [f"t{x}" if tip else "" for x, tip in zip(tree.names, tree.is_tip, strict=True)])
    [best] = refine_trees([tree], [rows], [states], fit_alpha=False, sweeps=60, tolerance=1e-3)
    [ours], used = timed(lambda: local_support([best.tree], [rows], [states]))
    letters = np.array([*AMINO_ACIDS, "-"])[states]
    with tempfile.TemporaryDirectory() as folder:
        text = "".join(f">{row}\n{''.join(line)}\n" for row, line in zip(rows, letters, strict=True))
        (Path(folder) / "a.fa").write_text(text)
        (Path(folder) / "a.nwk").write_text(best.tree.to_newick())
        command = [
            program,
            "-s",
            "a.fa",
            "-te",
            "a.nwk",
            "-m",
            "LG+G4{1.0}",
            "-alrt",
            "1000",
            "-abayes",
            "-nt",
            "1",
            "-quiet",
        ]
        _, theirs_used = timed(lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True))
        theirs = parse((Path(folder) / "a.fa.treefile").read_text())
    number = {row: i for i, row in enumerate(rows)}
    labels = {split: theirs.names[node].split("/") for node, split in splits(theirs, number).items()}
    pairs = [
        (100 * ours.sh_alrt[node], float(labels[split][0]), ours.abayes[node], float(labels[split][1]))
        for node, split in splits(best.tree, number).items()
    ]
    a, b, c, d = np.array(pairs).T
    print(
        f"{name:12} beside IQ-TREE: SH-aLRT {np.abs(a - b).mean():.1f} points apart on average (r = "
        f"{np.corrcoef(a, b)[0, 1]:.4f}), aBayes {np.abs(c - d).mean():.4f}, at most {np.abs(c - d).max():.3f}; "
        f"{used:.2f} against {theirs_used:.2f} CPU s"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="default: 50 200 500; 50 and 200 with --support")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--skip-full", action="store_true", help="without the fit to the maximum")
    parser.add_argument("--many", type=int, metavar="N", help="refine N families instead, and count them by the minute")
    parser.add_argument("--size", type=int, default=100, help="sequences in each of the many families")
    parser.add_argument("--device", default="cpu", help="for --many: cpu or cuda")
    parser.add_argument("--support", action="store_true", help="support of branches instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warm, _ = made(8, 0)
    [_, _, states] = usable_states(warm, "all", 0.0)
    tree = TREE_ENGINES.load("bme").infer(states, SETTINGS).tree
    refine(tree, [str(i) for i in range(8)], states, SETTINGS, full=True)
    if arguments.many:
        many(arguments.many, arguments.size, arguments.device)
    elif arguments.support:
        support(arguments.sizes or [50, 200], arguments.only)
    else:
        arguments.sizes = arguments.sizes or [50, 200, 500]
        accuracy(arguments)


if __name__ == "__main__":
    main()
