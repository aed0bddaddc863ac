"""A million sequences as training data: time and memory for compilation and batches; time that steps wait for data.

    python benchmarks/corpus.py [--families 10000] [--members 100] [--length 120] [--batches 50] [--folder DIR]
    python benchmarks/corpus.py --synthetic 1000000
    python benchmarks/corpus.py --waiting

The data: some families simulated along trees, repeated with a third of their residues replaced at random and the same tree,
as one Stockholm file. Compiling, looking through the families for what the view can draw from (the first run with a band
and a seed), opening what was compiled, and drawing batches are each done in a process of its own, whose peak resident
memory is printed beside its wall and CPU time; the first row is what importing alone takes. Pages of mapped files count as
resident as long as the system has no better use for them.

`--synthetic N` writes the compiled form of N families of four members of 30 residues with star trees directly, without
records, and shows what opening them takes, and whether batches of one process and those of four are the same.

`--waiting` trains on the example families: the share of time that steps wait for their batches where these are made in the
step, by a thread, and by a process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
PAIRS = 256


def write_input(path: Path, families: int, members: int, length: int) -> None:
    """Write simulated families, repeated with substitutions, as Stockholm."""
    from phylocli.core.alphabet import AMINO_ACIDS
    from phylocli.simulate import Settings, TreeModel, simulate

    settings = Settings(TreeModel(tips=(members, members), mean_distance=1.2), length=(length, length))
    bases = []
    for simulated in simulate(settings, n=min(20, families), seed=1):
        family = simulated.family
        rows = np.frombuffer("".join(family.rows).encode(), dtype=np.uint8).reshape(members, -1)
        bases.append((family.ids, rows, family.tree.to_newick()))
    letters = np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for k in range(families):
            ids, rows, newick = bases[k % len(bases)]
            changed = (rng.random(rows.shape, dtype=np.float32) < 1 / 3) & (rows != ord("-")) & (rows != ord("."))
            new = np.where(changed, letters[rng.integers(0, 20, rows.shape, dtype=np.uint8)], rows)
            text = "\n".join(f"{name} {row.tobytes().decode()}" for name, row in zip(ids, new, strict=True))
            file.write(f"# STOCKHOLM 1.0\n#=GF AC FAM{k:06d}\n#=GF NH {newick}\n{text}\n//\n")


def stage(name: str, path: Path, cache: Path, batches: int) -> None:
    """Run one stage in this process and print time and memory as JSON."""
    from phylocli.core import console
    from phylocli.train.data.compiled import open_compiled
    from phylocli.train.data.loading import load_corpus

    console.show_messages(console.QUIET)
    wall, cpu = time.monotonic(), time.process_time()
    residues = 0
    if name in ("compile", "open"):
        open_compiled([path], cache=cache)
    elif name != "import":
        from phylocli.config.train import TrainConfig

        settings = TrainConfig.of(None, {"batch": {"pairs": PAIRS}})
        corpus = load_corpus([path], settings, cache=cache)
        if name == "draw":
            wall, cpu = time.monotonic(), time.process_time()  # of the batches alone
            residues = sum(corpus.batch(step).residues for step in range(batches))
    took = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "residues": residues}
    print(json.dumps({**took, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def scale(options: argparse.Namespace, folder: Path) -> None:
    """Print the table of a large data set."""
    path, cache = folder / "families.sto", folder / "cache"
    write_input(path, options.families, options.members, options.length)
    total = options.families * options.members
    print(f"{options.families:,} families, {total:,} sequences, {path.stat().st_size / 1e6:,.0f} MB of Stockholm")
    print(f"{'':34s} {'wall s':>8s} {'CPU s':>8s} {'peak MiB':>9s}")
    rows = (
        ("import", "imports alone"),
        ("compile", "compile"),
        ("survey", "look through for a view, once"),
        ("open", "open what was compiled, verified"),
        ("draw", f"{options.batches} batches of {PAIRS} pairs"),
    )
    for name, title in rows:
        command = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--batches", str(options.batches)]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        took = json.loads(done.stdout.splitlines()[-1])
        print(f"{title:34s} {took['wall']:8.1f} {took['cpu']:8.1f} {took['rss'] / 2**20:9,.0f}", flush=True)
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    print(f"on disk, compiled: {size / 1e6:,.0f} MB")


def write_synthetic(families: int, folder: Path) -> None:
    """Write compiled families of four members with star trees, as `compile_inputs` does."""
    from dataclasses import asdict

    from phylocli.train.data.arrays import ArrayWriter
    from phylocli.train.data.compiled.build import KINDS, TABLE, FamilyRow

    members, length, ids = 4, 30, b"a\0b\0c\0d"
    rng = np.random.default_rng(0)
    with ArrayWriter(folder, KINDS) as writer:
        for start in range(0, families, 10_000):
            count = min(10_000, families - start)
            writer.append("tokens", rng.integers(0, 20, count * members * length, dtype=np.uint8))
            writer.append("ends", (start * members + 1 + np.arange(count * members)) * length)
            writer.append("ids", np.frombuffer(ids * count, dtype=np.uint8))
            writer.append("parent", np.tile([-1, 0, 0, 0, 0], count))
            writer.append("length", np.tile([np.nan, 0.1, 0.2, 0.3, 0.4], count))
            writer.append("tips", np.tile(np.arange(members), count))
    row = asdict(FamilyRow("", "", "", "", "", "synthetic", members=members, nodes=members + 1, id_bytes=len(ids)))
    with (folder / TABLE).open("w") as file:
        for k in range(families):
            label = f"FAM{k:07d}"
            row |= {"label": label, "accession": label, "clan": f"CL{k // 20:06d}", "first_member": k * members}
            row |= {"first_residue": k * members * length, "first_id": k * len(ids)}
            row |= {"first_node": k * (members + 1), "first_tip": k * members}
            file.write(json.dumps(row) + "\n")
    writer.finish({"alphabet": "protein", "families": families, "members": families * members}, also=(TABLE,))


def own_memory() -> float:
    """Return the memory of this process in MB, without mapped files."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def synthetic(families: int, batches: int, folder: Path) -> None:
    """Print what it takes to open and sample so many compiled families."""
    from phylocli.config.train import TrainConfig
    from phylocli.core import console
    from phylocli.train.data import loading
    from phylocli.train.data.arrays import verify
    from phylocli.train.data.compiled import Compiled

    console.show_messages(console.QUIET)
    path, name = folder / "families.sto", "open_compiled"
    write_synthetic(families, folder)
    print(f"{families:,} families, {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:,.0f} MB")
    print("step\tCPU s\tmemory MB, without mapped files")
    print(f"imports\t\t{own_memory():,.0f}", flush=True)

    def measure(label: str, step: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = step()
        print(f"{label}\t{time.process_time() - start:.1f}\t{own_memory():,.0f}", flush=True)
        return found

    measure("verify checksums", lambda: verify(folder))
    compiled = measure("open", lambda: Compiled(folder))
    if not batches:
        return
    setattr(loading, name, lambda *_: compiled)
    settings = TrainConfig.of(None, {"batch": {"pairs": PAIRS}})
    corpus = measure("index, once", lambda: loading.load_corpus([path], settings, cache=False))
    whole = measure(f"{batches} batches of {PAIRS} pairs", lambda: [corpus.batch(step) for step in range(batches)])
    again = measure("the index again", lambda: loading.load_corpus([path], settings, cache=False))
    parts = [[again.batch(step) for step in range(rank, batches, 4)] for rank in range(4)]
    same = all(
        np.array_equal(one, other)
        for rank in range(4)
        for a, b in zip(whole[rank::4], parts[rank], strict=True)
        for one, other in zip([a.family, a.distance, *a.a, *a.b], [b.family, b.distance, *b.a, *b.b], strict=True)
    )
    print(f"the same batches in another order, from another reading: {same}")


def waiting(steps: int = 20) -> None:
    """Print the fraction of time that steps wait for batches, on the example families."""
    import torch

    from phylocli.config.train import TrainConfig
    from phylocli.core import console
    from phylocli.formats import read_families, write_families
    from phylocli.train.data.loading import load_corpus
    from phylocli.train.data.prefetcher import prefetched
    from phylocli.train.task import ContrastiveTask
    from phylocli.tree import infer_trees

    console.show_messages(console.QUIET)
    torch.set_num_threads(1)
    settings = TrainConfig.of(None, {"recipe": "simclr"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trees.sto"
        write_families(infer_trees(read_families(ROOT / "examples" / "families.sto")), path)
        corpus = load_corpus([path], settings, cache=Path(folder) / "cache")
        task = ContrastiveTask(settings)

        def train(batch: object) -> None:
            task.zero_grad()
            task(batch)["loss"].backward()

        for step in range(2):
            train(corpus.batch(step))
        print(f"{steps} steps of {corpus.pairs} pairs of the example families, {task.model.config.encoder}, one thread")
        spent, begun = 0.0, time.monotonic()
        for step in range(steps):
            before = time.monotonic()
            batch = corpus.batch(step)
            spent += time.monotonic() - before
            train(batch)
        print(f"{'made in the step':20s} {spent / (time.monotonic() - begun):7.2%} of the time waited for data")
        for workers, title in ((0, "by a thread"), (1, "by a process")):
            with prefetched(corpus, range(steps + 1), workers) as batches:
                train(next(batches))  # start-up is not measured
                batches.take_waited()
                begun = time.monotonic()
                for batch in batches:
                    train(batch)
                print(f"{title:20s} {batches.take_waited() / (time.monotonic() - begun):7.2%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, default=10_000)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--length", type=int, default=120)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="where the data go, and stay; else a temporary folder")
    parser.add_argument("--synthetic", type=int, help="number of families in compiled form")
    parser.add_argument("--waiting", action="store_true")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        stage(options.stage, options.folder / "families.sto", options.folder / "cache", options.batches)
    elif options.waiting:
        waiting()
    elif options.synthetic:
        with tempfile.TemporaryDirectory() as folder:
            synthetic(options.synthetic, options.batches, Path(folder))
    elif options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        scale(options, options.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            scale(options, Path(folder))


if __name__ == "__main__":
    main()
