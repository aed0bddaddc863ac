"""Run the test suite under settings that change how a machine computes, and print a table of what failed.

    python tests/matrix.py                            # every setting once
    python tests/matrix.py --times 5 avx2 random      # two settings, five times each
    python tests/matrix.py -- tests/tree  # what follows -- goes to pytest

Instruction sets change the last digits of every sum, threads their order; a random order of tests shows what they leave
behind, and a busy machine what they assume about time. Exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent

# Name → environment. "random" and "busy" are not environments: see run().
SETTINGS: dict[str, dict[str, str]] = {
    "plain": {},
    "default": {"ATEN_CPU_CAPABILITY": "default"},  # no vector instructions in torch
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "onednn-avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "onednn-avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "onednn-amx": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"},
    "threads-1": {"OMP_NUM_THREADS": "1"},
    "threads-2": {"OMP_NUM_THREADS": "2"},
    "threads-4": {"OMP_NUM_THREADS": "4"},
    "random": {},
    "busy": {},
}


@contextmanager
def busy() -> Iterator[None]:
    """Keep every core busy with a process of its own."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run(setting: str, workers: str, more: list[str]) -> tuple[Counter[str], list[str], str]:
    """Return how many tests ended how, the names of those that failed, and what to add to the command to repeat it."""
    options, note = ["-p", "no:randomly"], " ".join(f"{k}={v}" for k, v in SETTINGS[setting].items())
    if setting == "random":
        seed = random.randrange(2**32)  # given here, so that all workers have one order
        options = ["-p", "randomly", f"--randomly-seed={seed}"]
        note = " ".join(options)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-n", workers, "-q", f"--junitxml={report}", *options, *more]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **SETTINGS[setting]}, check=False)
        if not report.is_file():
            return Counter(error=1), [f"pytest exited with {done.returncode}"], note
        suite = ElementTree.parse(report).getroot()
    counts: Counter[str] = Counter()
    failed = []
    for case in suite.iter("testcase"):
        outcome = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
        counts[outcome] += 1
        if outcome in ("failure", "error"):
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    if done.returncode and not failed:
        failed.append(f"pytest exited with {done.returncode}")
    return counts, failed, note


def main() -> None:
    """Run the suite under each setting asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=f"one or more of {', '.join(SETTINGS)} [all]")
    parser.add_argument("--times", type=int, default=1, help="how often to run each [1]")
    parser.add_argument("-n", "--workers", default="auto", help="processes of pytest-xdist [auto]")
    arguments, more = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, more = arguments[:cut], arguments[cut + 1 :]
    options = parser.parse_args(arguments)
    unknown = set(options.settings) - set(SETTINGS)
    if unknown:
        parser.error(f"unknown setting: {', '.join(sorted(unknown))}; known: {', '.join(SETTINGS)}")

    table = Table("setting", "passed", "skipped", "failed", "minutes", "CPU minutes")
    table.add_column("environment or options", overflow="fold")
    failures: dict[str, list[str]] = {}
    for setting in options.settings or SETTINGS:
        for turn in range(options.times):
            label = setting if options.times == 1 else f"{setting} {turn + 1}"
            print(f"\n=== {label}", flush=True)
            with busy() if setting == "busy" else nullcontext():
                start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
                counts, failed, note = run(setting, options.workers, more)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                minutes = (time.monotonic() - start) / 60
            cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
            figures = (counts["passed"], counts["skipped"], len(failed))
            table.add_row(label, *map(str, figures), f"{minutes:.1f}", f"{cpu:.1f}", note)
            if failed:
                failures[label] = failed
    Console().print(table)
    for label, names in failures.items():
        print(f"\nfailed under {label}:", *names, sep="\n  ")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
