"""Tree engines side by side: accuracy against true trees, CPU time and peak memory, in one run.

    python benchmarks/tree.py                       # simulated families of 50 and 500 sequences, all engines found
    python benchmarks/tree.py --sizes 2000 --engines bme veryfasttree
    python benchmarks/tree.py --pfam                # Pfam seeds, against their published FastTree trees
    python benchmarks/tree.py --matrix 500 2000     # the distance matrix alone

nRF: share of splits that differ from the true tree's. rho: Spearman's correlation of estimated and true patristic distances,
over equally many pairs of each stratum of the true distance; rho_in: within strata, averaged. sd: standard deviation of
log(estimated / true).
slope: estimated on true through the origin. CPU seconds and peak memory are of a process of its own, imports included
(`import` shows their share).
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "trees"
STRATA = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0]


def splits(tree, names: dict[str, int]) -> set[bytes]:
    """Return the splits of a tree as sets of tips packed into bytes, the side without tip 0."""
    bits = np.zeros((len(tree), len(names)), dtype=bool)
    tip = tree.is_tip
    for node in range(len(tree) - 1, -1, -1):
        if tip[node]:
            bits[node, names[tree.names[node]]] = True
        if node:
            bits[tree.parent[node]] |= bits[node]
    size = bits.sum(axis=1)
    inner = bits[(size > 1) & (size < len(names) - 1)]
    inner[inner[:, 0]] ^= True
    return {row.tobytes() for row in np.packbits(inner, axis=1)}


def patristic(tree, names: dict[str, int]) -> np.ndarray:
    """Return all distances between tips, shape (n, n), rows as `names` numbers them."""
    depth = tree.root_distances()
    tips = tree.tips()
    order = np.array([names[tree.names[t]] for t in tips])
    count = np.zeros(len(tree), dtype=np.int64)
    count[tips] = 1
    for node in range(len(tree) - 1, 0, -1):
        count[tree.parent[node]] += count[node]
    first = np.searchsorted(tips, np.arange(len(tree)))
    common = np.zeros((len(tips), len(tips)))
    for node, below in enumerate(tree.children()):
        if below:
            low, high = first[node], first[node] + count[node]
            common[low:high, low:high] = depth[node]
    found = np.empty_like(common)
    found[np.ix_(order, order)] = depth[tips][:, None] + depth[tips][None, :] - 2 * common
    np.fill_diagonal(found, 0.0)
    return found


def compare(tree, truth) -> dict[str, float]:
    """Return the figures of a tree against the true one."""
    from scipy.stats import spearmanr

    names = {name: i for i, name in enumerate(truth.tip_names())}
    ours, true_splits = splits(tree, names), splits(truth, names)
    above = np.triu_indices(len(names), 1)
    estimated, true = patristic(tree, names)[above], patristic(truth, names)[above]
    if len(true) > 300_000:
        chosen = np.random.default_rng(0).choice(len(true), 300_000, replace=False)
        estimated, true = estimated[chosen], true[chosen]
    balanced, rhos = [], []
    rng = np.random.default_rng(0)
    for low, high in itertools.pairwise(STRATA):
        inside = (true >= low) & (true < high)
        if inside.sum() >= 100:
            rhos.append(spearmanr(estimated[inside], true[inside]).statistic)
            balanced.append(rng.choice(np.flatnonzero(inside), 100, replace=False))
    even = np.concatenate(balanced)
    positive = (true > 1e-6) & (estimated > 1e-6)
    return {
        "nRF": len(ours ^ true_splits) / max(len(ours) + len(true_splits), 1),
        "rho": float(spearmanr(estimated[even], true[even]).statistic),
        "rho_in": float(np.mean(rhos)),
        "sd": float(np.std(np.log(estimated[positive] / true[positive]))),
        "slope": float((estimated * true).sum() / (true * true).sum()),
    }


def one(alignment: str, true_tree: str, engine: str, options: dict) -> dict[str, float]:
    """Infer one tree and return its figures; runs in a process of its own."""
    import resource
    import time

    def cpu() -> float:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    from phylocli.formats import read_families
    from phylocli.formats.newick import parse
    from phylocli.tree import infer_trees
    from phylocli.tree.engines._skbio import import_skbio

    import_skbio()  # so that `import` below is what engines need, and `cpu` is the work
    [family] = read_families(alignment)
    imports, start = cpu(), time.perf_counter()
    [done] = infer_trees([family], engine=engine, **options)
    used, wall = cpu() - imports, time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    truth = parse(Path(true_tree).read_text().strip())
    figures = compare(done.tree(), truth.prune(done.ids) if len(done) < len(truth.tip_names()) else truth)
    return {**figures, "cpu": used, "wall": wall, "import": imports, "MB": peak, "note": done.notes[-1]}


def matrix(n: int) -> None:
    """Print CPU time and memory of the distance matrix of n simulated sequences of 150 columns."""
    import resource
    import time

    from phylocli.simulate import random_tree, simulate_states
    from phylocli.tree.distances import distance_matrix

    rng = np.random.default_rng(0)
    states = simulate_states(random_tree(n, rng), 150, rng)
    distance_matrix(states[:50])  # imports
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    distance_matrix(states, model="p")
    p_seconds, start = time.process_time() - start, time.process_time()
    distance_matrix(states)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{n} sequences, {n * (n - 1) // 2} pairs: p-distance {p_seconds:.2f} CPU s, LG+Γ {seconds:.2f} CPU s, ", end="")
    print(f"{seconds / (n * (n - 1) / 2) * 1e6:.2f} µs a pair, peak {peak / 1024:.0f} MB ({before / 1024:.0f} before)")


def simulated(sizes: list[int]) -> list[tuple[str, Path, Path]]:
    """Return (name, alignment, true tree) of the simulated families of these sizes."""
    folder = DATA / "simulated_lg"
    found = []
    for path in sorted(folder.glob("n*.fa.gz"), key=lambda p: (int(p.name[1:].split("_")[0]), p.name)):
        name = path.name.removesuffix(".fa.gz")
        if int(name[1:].split("_")[0]) in sizes:
            found.append((name, path, folder / f"{name}.nwk"))
    return found


def pfam() -> list[tuple[str, Path, Path]]:
    """Return (name, alignment, published tree) of the Pfam seeds."""
    folder = DATA / "pfam_seed"
    return [
        (path.name.split("_")[0], path, folder / path.name.replace("_hmmalign_no_inserts.fasta", ".newick"))
        for path in sorted(folder.glob("*.fasta"))
    ]


def is_there(engine: str) -> bool:
    """Return whether an engine's program is installed."""
    from phylocli import registry

    return getattr(registry.load("tree.engines", engine), "available", lambda: True)()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500])
    parser.add_argument(
        "--pfam", action="store_true", help="real Pfam seeds against published trees, not simulated families"
    )
    parser.add_argument("--engines", nargs="+", default=None)
    parser.add_argument("--set", nargs="*", default=[], help="further options of infer_trees, as name=value")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--matrix", type=int, nargs="+", metavar="N", help="time the distance matrix of N sequences instead")
    parser.add_argument("--one", nargs=4, metavar="ARG", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        alignment, truth, engine, options = arguments.one
        print(json.dumps(one(alignment, truth, engine, json.loads(options))))
        return
    if arguments.matrix:
        for n in arguments.matrix:
            matrix(n)
        return
    from phylocli import registry

    # IQ-TREE takes minutes a family: by name only.
    engines = arguments.engines or [name for name in registry.names("tree.engines") if name != "iqtree" and is_there(name)]
    options = {}
    for item in arguments.set:
        name, value = item.split("=")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = float(value) if value == "inf" else value
    cases = [c for c in (pfam() if arguments.pfam else simulated(arguments.sizes)) if arguments.only in c[0]]
    columns = ["nRF", "rho", "rho_in", "sd", "slope", "cpu", "wall", "import", "MB"]
    print(f"{'family':14} {'engine':14}" + "".join(f"{c:>8}" for c in columns))
    table: dict[str, list[list[float]]] = {}
    for name, alignment, truth in cases:
        for engine in engines:
            command = [sys.executable, __file__, "--one", str(alignment), str(truth), engine, json.dumps(options)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                print(f"{name:14} {engine:14} failed: {run.stderr.strip().splitlines()[-1][:90]}")
                continue
            figures = json.loads(run.stdout)
            table.setdefault(engine, []).append([figures[c] for c in columns])
            print(f"{name:14} {engine:14}" + "".join(f"{figures[c]:8.3f}" for c in columns), flush=True)
    print()
    for engine, rows in table.items():
        print(f"{'mean':14} {engine:14}" + "".join(f"{v:8.3f}" for v in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
