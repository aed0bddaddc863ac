"""Distance of held-out members of a family to the nearest training member: whole clades compared with a random choice.

python benchmarks/splits.py [--fraction 0.2] [--draws 20]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import phylocli
from phylocli.pairs import PairSampler, split_clades

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "families.sto"


def nearest(distance: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return each held-out member's distance to the nearest other member, from distances (n, n) and a mask (n,)."""
    return distance[out][:, ~out].min(axis=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=0.2)
    parser.add_argument("--draws", type=int, default=20, help="random choices and clade splits to average over")
    parser.add_argument("families", nargs="*", default=["PF00042", "PF00076", "PF00344"])
    options = parser.parse_args()
    wanted = [f for f in phylocli.read_families(EXAMPLES) if f.accession in options.families]
    print("family   members  median nearest: clades  random  ratio   least: clades  random")
    for family in phylocli.infer_trees(wanted):
        tree = family.require_tree()
        names = tree.tip_names()
        sampler = PairSampler(tree)
        i, j = np.triu_indices(len(names), 1)
        distance = np.zeros((len(names), len(names)))
        distance[i, j] = distance[j, i] = sampler.distance(i, j)
        rows = []
        for seed in range(options.draws):
            held_out = split_clades(family, options.fraction, seed)
            clades = np.array([name in held_out for name in names])
            random = np.zeros(len(names), dtype=bool)
            random[np.random.default_rng(seed).permutation(len(names))[: clades.sum()]] = True
            by_clade, by_chance = nearest(distance, clades), nearest(distance, random)
            rows.append((np.median(by_clade), np.median(by_chance), by_clade.min(), by_chance.min()))
        a, b, c, d = np.mean(rows, axis=0)
        print(f"{family.accession}  {len(names):7}  {a:22.2f}  {b:6.2f}  {a / b:5.1f}   {c:13.2f}  {d:6.2f}")


if __name__ == "__main__":
    main()
