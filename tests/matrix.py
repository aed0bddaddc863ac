"""Run the test suite under settings that change how a machine computes, and print a table of what failed.

    python tests/matrix.py                            # every setting once
    python tests/matrix.py --times 5 avx2 random      # two settings, five times each
    python tests/matrix.py avx2+threads-2+random      # three settings in one run
    python tests/matrix.py --design balanced --results matrix.jsonl
    python tests/matrix.py -- tests/tree              # what follows -- goes to pytest

Instruction sets change the last digits of every sum, threads their order; a random order of tests shows what they leave
behind, and a busy machine what they assume about time. The balanced design has fifteen runs: each of the three instruction
sets of torch and of oneDNN and each of the three numbers of threads is in five of them, each pair of two factors' values in
one or two, and every other run has a random order. Results are written as they come, and the same command goes on with the
first run that is missing from its file. Exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
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
from typing import Any
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
FACTORS = (
    ("default", "avx2", "avx512"),
    ("onednn-avx2", "onednn-avx512", "onednn-amx"),
    ("threads-1", "threads-2", "threads-4"),
)
BLOCKS = 5


def balanced() -> list[str]:
    """Return the runs of the balanced design: in each block of three, every value of every factor once."""
    runs: list[str] = []
    for block in range(BLOCKS):
        for place in range(3):
            chosen = [values[(place + number * block) % 3] for number, values in enumerate(FACTORS)]
            runs.append("+".join(chosen + ["random"] * (len(runs) % 2)))
    return runs


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


def suite(settings: list[str], workers: str, more: list[str]) -> tuple[Counter[str], list[str], str]:
    """Return how many tests ended how, the names of those that failed, and what to add to the command to repeat it."""
    environment = {key: value for setting in settings for key, value in SETTINGS[setting].items()}
    options, note = ["-p", "no:randomly"], " ".join(f"{key}={value}" for key, value in environment.items())
    if "random" in settings:
        seed = random.randrange(2**32)  # given here, so that all workers have one order
        options = ["-p", "randomly", f"--randomly-seed={seed}"]
        note = " ".join([note, *options]).strip()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-n", workers, "-q", f"--junitxml={report}", *options, *more]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False)
        if not report.is_file():
            return Counter(error=1), [f"pytest exited with {done.returncode}"], note
        cases = ElementTree.parse(report).getroot()
    counts: Counter[str] = Counter()
    failed = []
    for case in cases.iter("testcase"):
        outcome = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
        counts[outcome] += 1
        if outcome in ("failure", "error"):
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    if done.returncode and not failed:
        failed.append(f"pytest exited with {done.returncode}")
    return counts, failed, note


def run(name: str, workers: str, more: list[str]) -> dict[str, Any]:
    """Run the suite once, under the settings that the first word of a name joins by `+`; return the results."""
    settings = name.split(maxsplit=1)[0].split("+")
    print(f"\n=== {name}", flush=True)
    with busy() if "busy" in settings else nullcontext():
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        counts, failed, note = suite(settings, workers, more)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        minutes = (time.monotonic() - start) / 60
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    figures = {"passed": counts["passed"], "skipped": counts["skipped"], "failed": failed, "note": note}
    figures["commit"] = git.stdout.strip()
    return {"run": name, "tests": more, **figures, "minutes": round(minutes, 1), "CPU minutes": round(cpu, 1)}


def arguments_given() -> tuple[argparse.Namespace, list[str]]:
    """Return this script's options and pytest's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help=f"one or more of {', '.join(SETTINGS)}, or several joined by + [all]"
    )
    parser.add_argument("--design", choices=["balanced"], help="fifteen runs of combined settings")
    parser.add_argument("--busy", action="store_true", help="keep every core busy besides, in all runs")
    parser.add_argument("--times", type=int, default=1, help="how often to run each [1]")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines; runs that are there are not repeated")
    parser.add_argument("-n", "--workers", default="auto", help="processes of pytest-xdist [auto]")
    arguments, more = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, more = arguments[:cut], arguments[cut + 1 :]
    options = parser.parse_args(arguments)
    unknown = {part for setting in options.settings for part in setting.split("+")} - set(SETTINGS)
    if unknown:
        parser.error(f"unknown setting: {', '.join(sorted(unknown))}; known: {', '.join(SETTINGS)}")
    return options, more


def main() -> None:
    """Run the suite under each setting asked for."""
    options, more = arguments_given()
    settings = options.settings or (balanced() if options.design else list(SETTINGS))
    if options.busy:
        settings = [f"{setting}+busy" for setting in settings]
    # Numbered where there are several of one name, so that each has its line in the results.
    names = [f"{s} {turn + 1}" if options.times > 1 else s for s in settings for turn in range(options.times)]
    results: Path | None = options.results
    lines = results.read_text().splitlines() if results and results.is_file() else []
    there = {done["run"]: done for done in map(json.loads, lines) if done["tests"] == more}

    table = Table()
    table.add_column("run", no_wrap=True)
    for figure in ("commit", "passed", "skipped", "failed", "minutes", "CPU minutes"):
        table.add_column(figure)
    table.add_column("environment or options", overflow="fold")
    failures: dict[str, list[str]] = {}
    for name in names:
        if name not in there:
            there[name] = run(name, options.workers, more)
            if results:
                with results.open("a") as stream:
                    stream.write(json.dumps(there[name]) + "\n")
        done = there[name]
        counts = (done["passed"], done["skipped"], len(done["failed"]))
        figures = (done.get("commit", ""), *counts, done["minutes"], done["CPU minutes"])
        table.add_row(name, *map(str, figures), done["note"])
        if done["failed"]:
            failures[name] = done["failed"]
    Console().print(table)
    for name, failed in failures.items():
        print(f"\nfailed under {name}:", *failed, sep="\n  ")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
