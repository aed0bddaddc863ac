"""Time, memory and size of a report on many embeddings; and retrieval on SCOPe beside phmmer, in one run.

    python benchmarks/probe.py [--items 100000] [--dimension 512] [--embeddings 2] [--threads 1] [--keep DIR]
    python benchmarks/probe.py --scope DIR [--model MODEL …] [--baseline NAME …]

The first writes tables of synthetic embeddings (clans are Gaussian clusters, families smaller ones within them, sizes
long-tailed as Pfam's), asks everything of them that a user gets by default, in a process of its own, and prints CPU and
wall seconds, the peak of its memory and the sizes of the report's files. With `--chromium` the page is loaded in headless
Chromium and the time until it is drawn is printed.

The second is the table of docs/probe.md: sensitivity up to the first false positive with every domain of SCOPe that has a
relative as a query, and the area under ROC of pairs, by family, superfamily and fold.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

FAMILY_SIZE, SUPERFAMILY_SIZE = 20, 8
"""Mean members of a family, mean families of a superfamily."""


def labels(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the superfamily of each family, and the family of each item, sizes geometric."""
    families = max(2, n // FAMILY_SIZE)
    weights = rng.exponential(size=families)
    family = rng.choice(families, n, p=weights / weights.sum())
    return rng.integers(0, max(2, families // SUPERFAMILY_SIZE), families), family


def write(folder: Path, n: int, dimension: int, count: int, seed: int = 0) -> None:
    """Write `labels.tsv` and tables `a.parquet`, `b.parquet`, …; each later one is noisier."""
    rng = np.random.default_rng(seed)
    of_family, family = labels(n, rng)
    clan = of_family[family]
    ids = [f"protein{i}" for i in range(n)]
    frame = {"id": ids, "family": [f"PF{f:05d}" for f in family], "clan": [f"CL{c:04d}" for c in clan]}
    pl.DataFrame(frame).write_csv(folder / "labels.tsv", separator="\t")
    coarse = rng.standard_normal((of_family.max() + 1, dimension)).astype(np.float32)
    fine = rng.standard_normal((len(of_family), dimension)).astype(np.float32)
    centre = coarse[clan] + 0.7 * fine[family]
    for k in range(count):
        vectors = centre + (2.0 + k) * rng.standard_normal((n, dimension), dtype=np.float32)
        table = pl.DataFrame({"id": ids, "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float32, dimension))})
        table.write_parquet(folder / f"{chr(97 + k)}.parquet")


def in_a_process(arguments: list[str], threads: int) -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds and the peak of memory in GiB of `phylocli` with these arguments."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "POLARS_MAX_THREADS": str(threads)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "phylocli", *arguments], env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    wall = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def in_chromium(page: Path, picture: Path) -> float:
    """Return the seconds until headless Chromium has loaded and drawn a page, and keep the picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("there is no Chromium here")
    start = time.perf_counter()
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1240,2400", f"--screenshot={picture}"]
    subprocess.run([*command, page.resolve().as_uri()], check=True, stderr=subprocess.DEVNULL, timeout=300)
    return time.perf_counter() - start


def large(options: argparse.Namespace) -> None:
    """Print time and memory of a report on many embeddings."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, options.items, options.dimension, options.embeddings)
        tables = [str(folder / f"{chr(97 + k)}.parquet") for k in range(options.embeddings)]
        report = folder / "report"
        arguments = ["probe", *tables, "--labels", str(folder / "labels.tsv"), "-o", str(report)]
        arguments += [word for task in options.task for word in ("--tasks", task)]
        wall, cpu, peak = in_a_process(arguments, options.threads)
        size = options.items * options.dimension * 4 * options.embeddings / 2**30
        print(f"{options.embeddings} tables of {options.items:,} x {options.dimension}: {size:.2f} GiB of numbers")
        print(f"{cpu:.0f} CPU s, {wall:.0f} s with {options.threads} thread, {peak:.2f} GiB at most")
        for path in sorted(report.iterdir()):
            print(f"  {path.name:<20}{path.stat().st_size / 2**20:8.2f} MiB")
        if options.chromium:
            print(f"drawn by Chromium in {in_chromium(report / 'report.html', folder / 'report.png'):.1f} s")


def scope(options: argparse.Namespace) -> None:
    """Print the table of retrieval and of pairs on SCOPe."""
    with tempfile.TemporaryDirectory() as scratch:
        report = (options.keep or Path(scratch)) / "report"
        arguments = ["probe", "--benchmark", "scope", "--data", str(options.scope), "-o", str(report)]
        arguments += [word for model in options.model for word in ("--model", model)]
        arguments += [word for name in options.baseline for word in ("--baselines", name)]
        _, cpu, _ = in_a_process(arguments, options.threads)
        rows = pl.read_parquet(report / "metrics.parquet").to_dicts()
    found = {(m["embedding"], m["metric"], m["level"]): m for m in rows}
    for metric in ("sensitivity to first FP", "AUROC"):
        print(f"\n| {metric} | family | superfamily | fold |\n|---|---|---|---|")
        for name in dict.fromkeys(m["embedding"] for m in rows):
            cells = [found.get((name, metric, level)) for level in ("family", "superfamily", "fold")]
            if all(cells):
                print(f"| {name} | " + " | ".join(_cell(c) for c in cells if c) + " |")
    queries = found[rows[0]["embedding"], "sensitivity to first FP", "family"]["n"]
    print(f"\n{queries:,} queries at the family level; {cpu:.0f} CPU s")


def _cell(row: dict[str, float]) -> str:
    digits = 3 if row["value"] >= 0.01 else 4
    interval = "" if row["low"] is None else f" ({row['low']:.{digits}f}–{row['high']:.{digits}f})"
    return f"{row['value']:.{digits}f}{interval}"


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--embeddings", type=int, default=2)
    parser.add_argument("--task", action="append", default=[], help="only this probe; may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="write the tables and the report here instead of a scratch folder")
    parser.add_argument("--chromium", action="store_true", help="load the report in headless Chromium")
    parser.add_argument("--scope", type=Path, metavar="DIR", help="folder with the files of the benchmark 'scope'")
    parser.add_argument("--model", action="append", default=[], help="a model beside the baselines; may be repeated")
    parser.add_argument("--baseline", action="append", default=[], help="default: composition, dipeptides and phmmer")
    options = parser.parse_args()
    options.baseline = options.baseline or ["composition", "dipeptides", "phmmer"]
    if options.scope:
        scope(options)
    else:
        large(options)


if __name__ == "__main__":
    main()
