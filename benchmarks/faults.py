"""Fault injection and malicious input: the tables of docs/reliability.md.

    python benchmarks/faults.py [-o FOLDER] [--part interruptions] [--moments 50] [--offsets 100] [--cases 100000]

- `interruptions`: long commands get SIGKILL, SIGTERM, SIGHUP and SIGINT at random moments and are started again; the result
  has to be that of a run that nobody disturbed, with no temporary file and no process left.
- `storage`: full disk, read-only folder, EIO, a folder that vanishes, a clock that jumps, two runs into one output. Linux,
  gcc, and root for the first two.
- `damage`: every kind of file that phylocli writes is cut short and has bits flipped at random offsets.
- `readers`: every reader under a coverage-guided fuzzer (`pip install atheris`).

Each row is kept in FOLDER as soon as it is measured: the same command goes on with the first row that is missing, and
`--only` measures some. All takes about an hour and a half of one core. Exits with 1 where anything was not as it should be.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from fault_parts import damage, interruptions, readers, storage
from fault_parts.results import Results


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="work folder; a temporary one where it is left out")
    parser.add_argument("--part", action="append", choices=["interruptions", "storage", "damage", "readers"])
    parser.add_argument("--moments", type=int, default=50, help="interruptions of each command")
    parser.add_argument("--offsets", type=int, default=100, help="places at which each file is damaged")
    parser.add_argument("--cases", type=int, default=100_000, help="cases of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the name of a command, file, fault or reader")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = options.output or Path(tempfile.mkdtemp(prefix="phylocli-faults-"))
    seed, only = options.seed, options.only
    parts: dict[str, Callable[[Path], Results]] = {
        "interruptions": lambda place: interruptions.measure(place, options.moments, seed, only),
        "storage": lambda place: storage.measure(place, only),
        "damage": lambda place: damage.measure(place, options.offsets, seed, only),
        "readers": lambda place: readers.measure(place, options.cases, seed, only),
    }
    wrong = False
    for name, part in parts.items():
        if options.part and name not in options.part:
            continue
        results = part(folder / name)
        print(f"\n## {name}\n", *results.rows, "", *results.details, sep="\n", flush=True)
        wrong |= bool(results.details)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
