"""Comparison of tree engines: accuracy against true trees, CPU time and peak memory.

    python benchmarks/tree.py                       # simulated families of 50 and 500 sequences, all engines found
    python benchmarks/tree.py --sizes 2000 10000 --engines bme veryfasttree
    python benchmarks/tree.py --replicates 3 --engines bme bme:nni=false veryfasttree  # further families, options by engine
    python benchmarks/tree.py --pfam                # Pfam seeds, against their published FastTree trees
    python benchmarks/tree.py --matrix 500 2000     # the distance matrix alone
    python benchmarks/tree.py --many 1000           # families of 20 to 150 members, end to end, in families a minute

Families come from a folder of simulated alignments beside the repository where there is one; what it lacks, clean or gappy,
is simulated: a Yule tree, LG with Γ rates (α = 0.8), 150 columns; gappy: a third of the sequences are fragments, and gaps of
a few columns. nRF: share of splits that differ from the true tree's. rho: Spearman's correlation of estimated and true
patristic distances, over equally many pairs of each stratum of the true distance; rho_in: within strata, averaged. sd:
standard deviation of log(estimated / true). slope: estimated on true through the origin. cpu seconds and peak memory are of
a process of its own; libraries loaded once a process, PyTorch among them where the engine's trees are refined, are counted
apart (`import`).
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "trees"
MANY = DATA.parent / "families" / "train.sto.gz"
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

    from phylocli.pairs import PairSampler

    names = {name: i for i, name in enumerate(truth.tip_names())}
    ours, true_splits = splits(tree, names), splits(truth, names)
    n = len(names)
    if n * (n - 1) // 2 <= 300_000:
        i, j = np.triu_indices(n, 1)
    else:
        i, j = np.random.default_rng(0).integers(0, n, (2, 300_000))
        i, j = i[i != j], j[i != j]
    place = np.argsort([names[name] for name in tree.tip_names()])  # of the true tree's tips in the estimated one
    estimated, true = PairSampler(tree).distance(place[i], place[j]), PairSampler(truth).distance(i, j)
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

    from phylocli.core.plugins import TREE_ENGINES
    from phylocli.formats import read_families
    from phylocli.formats.newick import parse
    from phylocli.tree import infer_trees
    from phylocli.tree.skbio import import_skbio

    import_skbio()  # so that `import` below is what engines need, and `cpu` is the work
    refines = options.get("refine", TREE_ENGINES.load(engine).TRAITS.uses_distances)
    if refines and options.get("model", "lg") not in ("p", "kimura"):
        import torch  # noqa: F401
    [family] = read_families(alignment)
    imports, start = cpu(), time.perf_counter()
    [done] = infer_trees([family], engine=engine, **options)
    used, wall = cpu() - imports, time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    truth = parse(Path(true_tree).read_text().strip())
    figures = compare(done.require_tree(), truth.prune(done.ids) if len(done) < len(truth.tip_names()) else truth)
    return {**figures, "cpu": used, "wall": wall, "import": imports, "MB": peak, "note": done.notes[-1]}


def matrix(n: int) -> None:
    """Print CPU time and memory of the distance matrix of n simulated sequences of 150 columns."""
    import resource
    import time

    import torch

    from phylocli.simulate import random_tree, simulate_states
    from phylocli.tree.distances.matrix import distance_matrix

    torch.set_num_threads(1)  # whose sums over columns are faster, here as wherever lengths are refined after

    rng = np.random.default_rng(0)
    states = simulate_states(random_tree(n, rng), 150, rng)
    distance_matrix(states[:50])  # imports
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    distance_matrix(states, dtype=np.float32)
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{n} sequences, {n * (n - 1) // 2} pairs, LG+Γ: {seconds:.2f} CPU s, ", end="")
    print(f"{seconds / (n * (n - 1) / 2) * 1e6:.2f} µs a pair; ", end="")
    print(f"matrix {n * n * 4 / 2**20:.0f} MB, peak {peak / 1024:.0f} MB ({before / 1024:.0f} MB before)")


def simulated(sizes: list[int], made: Path | None = None, replicates: int = 0) -> list[tuple[str, Path, Path]]:
    """Return (name, alignment, true tree) of the simulated families of these sizes; `made`: where missing ones are put.

    With `replicates`, only so many clean and as many gappy ones that are simulated here.
    """
    folder = DATA / "simulated_lg"
    found = []
    for size in sorted(set(sizes)):
        if replicates and made is not None:
            for gappy in (False, True):
                found += [simulate(size, gappy, made, replicate) for replicate in range(1, replicates + 1)]
            continue
        there = [path.name.removesuffix(".fa.gz") for path in sorted(folder.glob(f"n{size}_*.fa.gz"))]
        found += [(name, folder / f"{name}.fa.gz", folder / f"{name}.nwk") for name in there]
        for gappy in (False, True):
            if made is not None and not any(name.endswith("_gappy") == gappy for name in there):
                found.append(simulate(size, gappy, made))
    return found


def simulate(n: int, gappy: bool, folder: Path, replicate: int = 0) -> tuple[str, Path, Path]:
    """Write a simulated family and its true tree; return its name and both paths."""
    from phylocli.simulate import random_tree, simulate_states

    rng = np.random.default_rng([n, gappy, replicate] if replicate else [n, gappy])
    tree = random_tree(n, rng)
    states = simulate_states(tree, 150, rng, alpha=0.8)
    if gappy:
        columns = np.arange(states.shape[1])
        for row in range(n):
            if rng.random() < 1 / 3:  # a fragment: 40 to 90 % of the columns
                length = int(rng.integers(60, 136))
                start = int(rng.integers(0, len(columns) - length + 1))
                states[row, (columns < start) | (columns >= start + length)] = 20
            for start in rng.integers(0, len(columns), rng.poisson(2)):
                states[row, start : start + int(rng.geometric(0.3))] = 20
    name = f"n{n}_{'gappy' if gappy else 'clean'}{f'_{replicate}' if replicate else ''}"
    letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY-", dtype=np.uint8)[states]
    with gzip.open(folder / f"{name}.fa.gz", "wt") as stream:
        stream.writelines(f">{tip}\n{row.tobytes().decode()}\n" for tip, row in zip(tree.tip_names(), letters, strict=True))
    (folder / f"{name}.nwk").write_text(tree.to_newick())
    return name, folder / f"{name}.fa.gz", folder / f"{name}.nwk"


def many(count: int, jobs: int, folder: Path) -> None:
    """Print the number of small families per minute of `phylocli tree`, end to end."""
    import resource
    import time

    from phylocli.formats import read_families
    from phylocli.formats.family import Family
    from phylocli.formats.stockholm import write_family
    from phylocli.simulate import random_tree, simulate_states

    source, label = folder / "many.sto", "simulated"
    if MANY.is_file():
        families, label = itertools.islice(read_families(MANY), count), "real"
    else:
        rng = np.random.default_rng(0)
        letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)

        def family(k: int) -> Family:
            tree = random_tree(int(rng.integers(20, 151)), rng)
            rows = [row.tobytes().decode() for row in letters[simulate_states(tree, 150, rng)]]
            return Family(tree.tip_names(), rows, accession=f"SIM{k}", aligned=True)

        families = (family(k) for k in range(count))
    sizes = []
    with source.open("w") as stream:
        for one_family in families:
            sizes.append(len(one_family))
            write_family(one_family, stream)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "phylocli", "tree", str(source), "-q", "-o", str(folder / "trees.sto")]
    command += ["--jobs", str(jobs)]
    subprocess.run(command, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{len(sizes)} {label} families, {sum(sizes)} sequences ({min(sizes)} to {max(sizes)}), --jobs {jobs}: ", end="")
    print(f"{cpu:.1f} CPU s, {len(sizes) / cpu * 60:.0f} families a CPU minute; ", end="")
    print(f"{wall:.1f} s, {len(sizes) / wall * 60:.0f} families a minute; peak {after.ru_maxrss / 1024:.0f} MB a process")


def pfam() -> list[tuple[str, Path, Path]]:
    """Return (name, alignment, published tree) of the Pfam seeds."""
    folder = DATA / "pfam_seed"
    return [
        (path.name.split("_")[0], path, folder / path.name.replace("_hmmalign_no_inserts.fasta", ".newick"))
        for path in sorted(folder.glob("*.fasta"))
    ]


def is_there(engine: str) -> bool:
    """Return whether an engine's program is installed."""
    from phylocli.core.plugins import TREE_ENGINES

    return getattr(TREE_ENGINES.load(engine), "available", lambda: True)()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500])
    parser.add_argument(
        "--pfam", action="store_true", help="real Pfam seeds against published trees, not simulated families"
    )
    parser.add_argument("--replicates", type=int, default=0, metavar="K", help="K clean and K gappy families of each size")
    parser.add_argument("--engines", nargs="+", default=None, help="names, with options of their own as name:option=value")
    parser.add_argument("--set", nargs="*", default=[], help="further options of infer_trees, as name=value")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--matrix", type=int, nargs="+", metavar="N", help="time the distance matrix of N sequences instead")
    parser.add_argument("--many", type=int, metavar="N", help="time N small families end to end instead")
    parser.add_argument("--jobs", type=int, default=1, help="processes for --many")
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
    with tempfile.TemporaryDirectory(prefix="phylocli-benchmark-") as folder:
        if arguments.many:
            many(arguments.many, arguments.jobs, Path(folder))
        else:
            side_by_side(arguments, Path(folder))


def parse_options(items: list[str]) -> dict:
    """Return options of `infer_trees` given as name=value."""
    options = {}
    for item in items:
        name, value = item.split("=")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = float(value) if value == "inf" else value
    return options


def side_by_side(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the figures of every engine on every family, and their means by size, clean and gappy."""
    from phylocli.core.plugins import TREE_ENGINES

    # IQ-TREE takes minutes a family: by name only.
    engines = arguments.engines or [name for name in TREE_ENGINES.names() if name != "iqtree" and is_there(name)]
    options = parse_options(arguments.set)
    cases = [
        c
        for c in (pfam() if arguments.pfam else simulated(arguments.sizes, folder, arguments.replicates))
        if arguments.only in c[0]
    ]
    columns = ["nRF", "rho", "rho_in", "sd", "slope", "cpu", "wall", "import", "MB"]
    print(f"{'family':16} {'engine':16}" + "".join(f"{c:>8}" for c in columns))
    table: dict[tuple[str, str], list[list[float]]] = {}
    for name, alignment, truth in cases:
        for engine in engines:
            module, _, own = engine.partition(":")
            given = json.dumps({**options, **parse_options(own.split(",") if own else [])})
            command = [sys.executable, __file__, "--one", str(alignment), str(truth), module, given]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                print(f"{name:16} {engine:16} failed: {run.stderr.strip().splitlines()[-1][:90]}")
                continue
            figures = json.loads(run.stdout)
            kind = "all" if arguments.pfam else f"{name.split('_')[0]}, {'gappy' if 'gappy' in name else 'clean'}"
            table.setdefault((kind, engine), []).append([figures[c] for c in columns])
            print(f"{name:16} {engine:16}" + "".join(f"{figures[c]:8.3f}" for c in columns), flush=True)
    print()
    for (kind, engine), rows in sorted(table.items()):
        print(f"{f'{kind} ({len(rows)})':16} {engine:16}" + "".join(f"{v:8.3f}" for v in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
