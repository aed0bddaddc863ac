"""Preparing a tree and drawing 100,000 pairs in a distance band: phylocli beside ete3 and beside a full matrix.

    python benchmarks/pairs.py [--tips 1000 10000 100000] [--pairs 100000] [--band 0.5 1]

The trees are random (Yule, branches exponential with mean 0.1 above the tips and below). CPU seconds of one process, the
best of three for what takes less than a second. ete3 asks for one pair after another by name, so a sample is timed and
extrapolated; it also has no way to find pairs in a band, so its time is for distances of pairs that are already chosen. The
full matrix is filled row by row in NumPy from the same prepared distances, and the band's pairs are found in it.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from phylocli.formats.tree import Tree
from phylocli.pairs import PairSampler

MATRIX_UP_TO = 10_000  # 100,000 tips would take 80 GB


def yule_tree(n: int, rng: np.random.Generator) -> Tree:
    """Return a random binary tree of n tips: at every step a tip chosen uniformly splits."""
    children: list[tuple[int, int] | None] = [None]
    tips = [0]
    for _ in range(n - 1):
        at = int(rng.integers(len(tips)))
        node = tips[at]
        children[node] = (len(children), len(children) + 1)
        tips[at] = len(children)
        tips.append(len(children) + 1)
        children += [None, None]
    parent, names, stack = [], [], [(0, -1)]
    while stack:
        node, up = stack.pop()
        index = len(parent)
        parent.append(up)
        below = children[node]
        names.append("" if below else f"t{index}")
        if below:
            stack += [(below[1], index), (below[0], index)]
    length = rng.exponential(0.1, len(parent))
    length[0] = 0.0
    return Tree(np.array(parent), length, names)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return CPU seconds and the result."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
        if best > 1:
            break
    return best, result


def ours(tree: Tree, pairs: int, lo: float, hi: float) -> dict[str, float]:
    """Time preparing, counting the band, drawing from it, and distances of given pairs."""
    prepare, sampler = seconds(lambda: PairSampler(tree))
    count, total = seconds(lambda: PairSampler(tree).count(lo, hi))
    draw, drawn = seconds(lambda: sampler.draw(pairs, lo, hi, np.random.default_rng(0)))
    i, j = np.random.default_rng(1).integers(0, sampler.n_tips, (2, pairs))
    lookup, _ = seconds(lambda: sampler.distance(i, j))
    tracemalloc.start()
    PairSampler(tree).draw(pairs, lo, hi, np.random.default_rng(0))
    memory = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    found = {"prepare": prepare, "count": max(0.0, count - prepare), "draw": draw, "distances": lookup}
    return {**found, "total": count + draw, "in band": total, "drawn": len(drawn[0]), "MB": memory}


def with_ete(tree: Tree, pairs: int, sample: int, *, by_name: bool) -> float:
    """Return CPU seconds for distances of `pairs` pairs by ete3's get_distance, extrapolated from a sample."""
    ete = tree.to_ete()
    names = tree.tip_names()
    chosen = [(names[i], names[j]) for i, j in np.random.default_rng(2).integers(0, len(names), (sample, 2)).tolist()]
    leaves = {leaf.name: leaf for leaf in ete.iter_leaves()}
    asked = chosen if by_name else [(leaves[a], leaves[b]) for a, b in chosen]
    start = time.process_time()
    for a, b in asked:
        ete.get_distance(a, b)
    return (time.process_time() - start) / sample * pairs


def with_matrix(tree: Tree, pairs: int, lo: float, hi: float) -> float:
    """Return CPU seconds for a full matrix of distances, finding the band's pairs in it, and drawing from them."""

    def work() -> None:
        sampler = PairSampler(tree, sorted_up_to=0)
        n = sampler.n_tips
        every = np.arange(n)
        matrix = np.empty((n, n), dtype=np.float32)
        for row in range(n):
            matrix[row] = sampler.distance(np.full(n, row), every)
        inside = np.flatnonzero(np.triu((matrix >= lo) & (matrix <= hi), 1))
        np.random.default_rng(0).choice(inside, min(pairs, len(inside)), replace=False)

    return seconds(work)[0]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tips", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--band", type=float, nargs=2, default=(0.5, 1.0))
    options = parser.parse_args()
    lo, hi = options.band
    trees = {n: yule_tree(n, np.random.default_rng(n)) for n in options.tips}
    own = {n: ours(tree, options.pairs, lo, hi) for n, tree in trees.items()}
    print(f"Sampling {options.pairs:,} pairs at {lo:g} to {hi:g} substitutions per site, CPU seconds\n")
    print("| tips | pairs in band | drawn | prepare | count | draw | all | MB | full matrix | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for n, tree in trees.items():
        found = own[n]
        cells = [f"{n:,}", f"{found['in band']:,}", f"{found['drawn']:,}"]
        cells += [f"{found[key]:.3f}" for key in ("prepare", "count", "draw", "total")] + [f"{found['MB']:.0f}"]
        if n <= MATRIX_UP_TO:
            matrix = with_matrix(tree, options.pairs, lo, hi)
            cells += [f"{matrix:.2f}", f"{matrix / found['total']:.0f}×"]
        else:
            cells += ["does not fit", "–"]
        print("| " + " | ".join(cells) + " |", flush=True)
    print(f"\nDistances of {options.pairs:,} given pairs, CPU seconds; ete3 extrapolated from the pairs in brackets\n")
    print("| tips | phylocli | ete3, by node | ratio | ete3, by name | ratio |")
    print("|---|---|---|---|---|---|")
    for n, tree in trees.items():
        lookup = own[n]["distances"]
        cells = [f"{n:,}", f"{lookup:.3f}"]
        for by_name, sample in ((False, 300), (True, max(3, 100_000 // n))):
            ete = with_ete(tree, options.pairs, sample, by_name=by_name)
            cells += [f"{ete:,.0f} ({sample})", f"{ete / lookup:,.0f}×"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
