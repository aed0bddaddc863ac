"""`phylocli fetch --all` on a whole release: time per family, and peak memory, which must not grow with the release.

The release is synthetic: the real families of `examples/`, over and over under new accessions, served on loopback by the
stand-in server of the tests. For comparison in the same run: what gunzip and a bare pass over the lines of the same files
take, which is the floor for anything that reads them.

    python benchmarks/fetch.py                # 25,000 families: minutes, and 3 GB of disk
    python benchmarks/fetch.py --families 500
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "services"))

from standin import Standin, checksums, example_families, hmm_text, stockholm_text  # noqa: E402


def make_release(folder: Path, families: int) -> dict[str, bytes]:
    """Return the files of a release with so many families."""
    # Without the widest ones, so that a profile has about the 77 kB that Pfam's have on average.
    served = {accession: family for accession, family in example_families().items() if family.columns < 500}
    seeds = {accession: stockholm_text(family) for accession, family in served.items()}
    hmms = {accession: hmm_text(accession) for accession in served}
    names = sorted(served)
    clans = []
    with (
        gzip.open(folder / "seed", "wb", compresslevel=1) as seed,
        gzip.open(folder / "hmm", "wb", compresslevel=1) as hmm,
    ):
        for number in range(families):
            old = names[number % len(names)]
            new = f"PF{number + 1:05d}"
            seed.write(seeds[old].replace(old.encode(), new.encode()))
            hmm.write(hmms[old].replace(old.encode(), new.encode()))
            clan = f"CL{number // 40:04d}" if number % 3 else ""
            clans.append(f"{new}\t{clan}\t\tF{number}\tFamily {number}\n")
    files = {
        "Pfam-A.seed.gz": (folder / "seed").read_bytes(),
        "Pfam-A.hmm.gz": (folder / "hmm").read_bytes(),
        "Pfam-A.clans.tsv.gz": gzip.compress("".join(clans).encode(), mtime=0),
        "Pfam.version.gz": gzip.compress(b"Pfam release       : 38.2\n", mtime=0),
    }
    files["md5_checksums"] = checksums(files)
    return files


def floor(path: Path) -> tuple[float, int]:
    """Return the CPU seconds that it takes to decompress a file and look at each of its lines, and its size."""
    start = time.process_time()
    size = 0
    with gzip.open(path, "rb") as stream:
        for line in stream:
            size += len(line)
    return time.process_time() - start, size


# The kernel's peak of a process includes the memory of its parent at the fork, and this process holds the release.
# Therefore a small intermediate process starts the command and reports its usage.
BETWEEN = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
used = {"cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss, "code": os.waitstatus_to_exitcode(status)}
print(json.dumps(used))
"""


def run(standin: Standin, store: Path) -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds and peak memory in MB of one `fetch --all`."""
    command = [sys.executable, "-c", BETWEEN, sys.executable, "-m", "phylocli", "fetch", "--all", "--store", str(store)]
    start = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **standin.environment}, capture_output=True, check=True)
    wall = time.perf_counter() - start
    used = json.loads(done.stdout.splitlines()[-1])
    if used["code"]:
        raise SystemExit(done.stderr.decode())
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in kB elsewhere
    return wall, used["cpu"], used["peak"] * unit / 1e6


def main() -> None:
    """Print the figures as a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--families", type=int, default=25_000)
    parser.add_argument("--compare", type=int, default=500, help="a small release, for the memory to be compared with")
    arguments = parser.parse_args()
    print("| families | run | wall s | CPU s | CPU ms per family | peak memory MB |")
    print("|---:|---|---:|---:|---:|---:|")
    for families in (arguments.compare, arguments.families):
        with tempfile.TemporaryDirectory() as text, Standin() as standin:
            folder = Path(text)
            standin.release_files = make_release(folder, families)
            seconds = {name: floor(folder / name) for name in ("seed", "hmm")}
            cpu = sum(value for value, _ in seconds.values())
            size = sum(value for _, value in seconds.values()) / 1e6
            packed = sum(map(len, standin.release_files.values())) / 1e6
            row(families, f"lines of the same files ({packed:.0f} MB, unpacked {size:.0f} MB)", cpu, cpu, float("nan"))
            for name in ("fetch --all", "fetch --all, again"):
                row(families, name, *run(standin, folder / "store"))


def row(families: int, name: str, wall: float, cpu: float, memory: float) -> None:
    """Print one row of the table."""
    print(f"| {families:,} | {name} | {wall:.1f} | {cpu:.1f} | {1000 * cpu / families:.2f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
