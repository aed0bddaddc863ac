"""A whole release through `phylocli fetch --all`: time a family, and peak memory, which must not grow with the release.

The release is synthetic: the real families of `examples/`, over and over under new accessions, served on loopback by the
stand-in server of the tests. For comparison in the same run: what gunzip and a bare pass over the lines of the same files
take, which is the floor for anything that reads them.

    python benchmarks/fetch.py                # 25,000 families: minutes, and 3 GB of disk
    python benchmarks/fetch.py --families 500
"""

from __future__ import annotations

import argparse
import gzip
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


def run(standin: Standin, store: Path, *options: str) -> tuple[float, float, float, str]:
    """Return wall seconds, CPU seconds and peak memory in MB of one `fetch --all`, and what it said."""
    command = [sys.executable, "-m", "phylocli", "fetch", "--all", "--store", str(store), *options]
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **standin.environment}, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode()
    if process.returncode:
        raise SystemExit(text)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in kB elsewhere
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6, text


def main() -> None:
    """Print the figures as a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--families", type=int, default=25_000)
    parser.add_argument("--compare", type=int, default=500, help="a small release, for the memory to be compared with")
    arguments = parser.parse_args()
    print("| families | run | wall s | CPU s | ms CPU a family | peak memory MB |")
    print("|---:|---|---:|---:|---:|---:|")
    for families in (arguments.compare, arguments.families):
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            with Standin() as standin:
                standin.release_files = make_release(folder, families)
                seconds = {name: floor(folder / name) for name in ("seed", "hmm")}
                cpu = sum(value for value, _ in seconds.values())
                size = sum(value for _, value in seconds.values()) / 1e6
                packed = sum(map(len, standin.release_files.values())) / 1e6
                runs = {f"lines of the same files ({packed:.0f} MB, unpacked {size:.0f} MB)": (cpu, cpu, float("nan"))}
                for name in ("fetch --all", "fetch --all, again"):
                    wall, cpu, memory, _ = run(standin, folder / "store")
                    runs[name] = (wall, cpu, memory)
        for name, (wall, cpu, memory) in runs.items():
            print(
                f"| {families:,} | {name} | {wall:.1f} | {cpu:.1f} | {1000 * cpu / families:.2f} | {memory:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
