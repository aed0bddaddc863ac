"""Training on a busy machine: wall and CPU seconds with threads that spin, or sleep, at barriers.

    python benchmarks/threads.py [--steps 30] [--busy 0,1,2]

Every run trains the demo's model on examples/families.sto in a process of its own, beside as many processes that only count.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FAMILIES = Path(__file__).resolve().parent.parent / "examples" / "families.sto"
SPINNING = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000", "OPENBLAS_NUM_THREADS": str(os.cpu_count())}
"""As libraries wait and count threads by themselves."""

TRAIN = """
import sys
from phylocli import train_model
from phylocli.core import console
console.show_messages(console.QUIET)
settings = {"log.mfu": False, "validation.fraction": 0.0, "view.name": "identity+crop"}
train_model([sys.argv[1]], sys.argv[2], steps=int(sys.argv[3]), device="cpu", settings=settings)
"""


def seconds(steps: int, busy: int, environment: dict[str, str]) -> tuple[float, float]:
    """Return wall and CPU seconds of a run beside so many busy processes."""
    clear = {name: value for name, value in os.environ.items() if name not in SPINNING}
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [sys.executable, "-c", TRAIN, str(FAMILIES), f"{folder}/run", str(steps)]
            subprocess.run(command, env={**clear, **environment}, check=True)
            wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    finally:
        for process in others:
            process.kill()
    # The busy processes are waited for afterwards: their time does not count.
    for process in others:
        process.wait()
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a row for each number of busy processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--busy", default="0,1,2")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}; {options.steps} steps")
    print("busy processes\tspinning: wall s\tCPU s\tsleeping (phylocli): wall s\tCPU s")
    for busy in map(int, options.busy.split(",")):
        row = [figure for kind in (SPINNING, {}) for figure in seconds(options.steps, busy, kind)]
        print("\t".join([str(busy), *(f"{figure:.1f}" for figure in row)]), flush=True)


if __name__ == "__main__":
    main()
