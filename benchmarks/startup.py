"""Start-up time of `phylocli --help`, compared with a typer application that has as many empty commands.

python benchmarks/startup.py [REPEATS]

Both are timed in turn, so that other load falls on both; the quickest run of each counts, in wall time and CPU time.
Docs: docs/configuration.md.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from phylocli.cli import names

BARE = """
import typer
app = typer.Typer(rich_markup_mode="rich")
for number in range({commands}):
    def command(option: str = "value") -> None:
        '''Do one thing with families, in a sentence of this length.'''
    app.command(f"command-{{number}}")(command)
app()
"""
OURS = "from phylocli.cli import main; main()"


def measured(code: str) -> tuple[float, float]:
    """Return wall and CPU seconds of one run of `--help`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code, "--help"], stdout=subprocess.DEVNULL, env=environment, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Time both and print the quickest of each."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    programs = {"typer alone": BARE.format(commands=len(names())), "phylocli": OURS}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, code in programs.items():
            times[name].append(measured(code))
    best = {name: tuple(min(column) for column in zip(*rows, strict=True)) for name, rows in times.items()}
    for name, (wall, cpu) in best.items():
        print(f"{name}: {wall:.3f} s, {cpu:.3f} s of CPU")
    print("ratio: " + ", ".join(f"{a / b:.2f}" for a, b in zip(best["phylocli"], best["typer alone"], strict=True)))


if __name__ == "__main__":
    main()
