"""Branch lengths by likelihood on a distance tree, beside VeryFastTree, in one run.

    python benchmarks/likelihood.py                      # simulated families of 50 and 500 sequences
    python benchmarks/likelihood.py --sizes 2000 --skip-full

Rows: `bme` the distance tree (BME+NNI on LG+Γ distances, α estimated); `+1 sweep`, what `phylocli tree` does; `+full`,
lengths, scale and α at the maximum; `truth+1`, one sweep on the true topology and lengths, a floor for any tree program;
`veryfasttree`. Figures: nRF, rho and rho_in as in benchmarks/tree.py; sd of log(estimated / true) over pairs at 0.1 or more
apart (estimates under 0.001 count as 0.001: zero has no logarithm); ratio, the median of estimated / true; slope through the
origin; cpu seconds of all that leads to the tree, imports left out, one thread; of refinement alone in brackets.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tree import compare, patristic, simulated

from phylocli import registry
from phylocli.formats import read_families
from phylocli.formats.newick import Tree, parse
from phylocli.tree import _collapse
from phylocli.tree._refine import refine
from phylocli.tree.engines._settings import Settings
from phylocli.tree.infer import clip_negative, usable_states


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


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--skip-full", action="store_true", help="without the fit to the maximum")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings()
    bme = registry.load("tree.engines", "bme")
    veryfasttree = registry.load("tree.engines", "veryfasttree")
    warm = np.random.default_rng(0).integers(0, 20, (8, 40)).astype(np.uint8)
    refine(bme.infer(warm, settings).tree, [str(i) for i in range(8)], warm, settings, full=True)
    columns = ["nRF", "rho", "rho_in", "sd", "ratio", "slope", "cpu", "alone"]
    print(f"{'family':12} {'tree':14}" + "".join(f"{c:>8}" for c in columns))
    table: dict[str, list[list[float]]] = {}

    def report(family: str, label: str, tree: Tree, truth: Tree, total: float, alone: float = float("nan")) -> None:
        row = [*figures(tree, truth), total, alone]
        table.setdefault(label, []).append(row)
        print(f"{family:12} {label:14}" + "".join(f"{v:8.3f}" for v in row), flush=True)

    for name, alignment, true_tree in simulated(arguments.sizes):
        if arguments.only not in name:
            continue
        [family] = read_families(alignment)
        family, states = usable_states(replace(family, aligned=True), "all", 0.0)
        truth = parse(true_tree.read_text().strip())
        if len(family) < len(truth.tip_names()):
            truth = truth.prune(family.ids)
        groups = _collapse.unique_rows(states)
        different = states[[group[0] for group in groups]]
        rows = [str(i) for i in range(len(different))]

        def whole(tree: Tree, groups: list[list[int]] = groups, ids: list[str] = family.ids) -> Tree:
            return clip_negative(_collapse.expand(tree, groups, ids))

        made, base = timed(lambda: bme.infer(different, settings))  # noqa: B023
        start, alpha = made.tree, made.alpha
        report(name, "bme", whole(start), truth, base)
        (tree, *_), alone = timed(lambda: refine(start, rows, different, settings, alpha=alpha))  # noqa: B023
        report(name, "+1 sweep", whole(tree), truth, base + alone, alone)
        if not arguments.skip_full:
            (tree, *_), alone = timed(lambda: refine(start, rows, different, settings, alpha=alpha, full=True))  # noqa: B023
            report(name, "+full", whole(tree), truth, base + alone, alone)
        (tree, *_), alone = timed(lambda: refine(truth, family.ids, states, settings, alpha=alpha))  # noqa: B023
        report(name, "truth+1", tree, truth, float("nan"), alone)
        tree, total = timed(lambda: veryfasttree.infer(different, settings).tree)  # noqa: B023
        report(name, "veryfasttree", whole(tree), truth, total)
    print()
    for label, rows_of in table.items():
        print(f"{'mean':12} {label:14}" + "".join(f"{v:8.3f}" for v in np.mean(rows_of, axis=0)))


if __name__ == "__main__":
    main()
