"""Experiments on maximising mutual information: every figure and table of docs/infomax.md.

    python benchmarks/infomax.py DATA -o FOLDER [--figures docs/images] [--jobs 1] [--demo]

DATA holds `families/{train,dev}.sto.gz`; dev shares no clan with train. Runs `phylocli infomax` with its default sizes and
three seeds: encoders are trained on halves of domains of 800 training families, and quality is measured on the dev families.
Prints the tables as Markdown, and copies the figures to --figures. `--demo` makes everything small. An interrupted study
resumes.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from phylocli.core import console
from phylocli.infomax import study
from phylocli.infomax.experiments import load
from phylocli.infomax.experiments.channel import ceilings
from phylocli.infomax.experiments.uniformity import correlations_by_objective
from phylocli.infomax.study import BESIDE

DEMO: dict[str, Any] = {
    "steps": 4, "batch": 16, "seeds": [0], "distances": [1.0], "sites": 2, "critic_steps": 4, "training_families": 6,
    "scored_families": 4, "members": 10, "until_nats": [0.01],
}  # fmt: skip


def shown(row: dict[str, Any], column: str) -> str:
    """Return a value with its interval."""
    value = row[column]
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    digits = 0 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    text = f"{value:.{digits}f}"
    return text if low is None or high is None or low == high else f"{text} ({low:.{digits}f}–{high:.{digits}f})"


def markdown(table: pl.DataFrame) -> list[str]:
    """Return a summary as lines of Markdown."""
    columns = [c for c in table.columns if not c.endswith(BESIDE) and c != "seeds"]
    lines = [f"| {' | '.join(c.replace('_', ' ') for c in columns)} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(shown(row, c) for c in columns)} |" for row in table.to_dicts()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--demo", action="store_true")
    options = parser.parse_args(arguments)
    console.show_messages(console.QUIET)
    training, dev = (options.data / "families" / f"{name}.sto.gz" for name in ("train", "dev"))
    sizes = DEMO if options.demo else {}
    found = study(options.output, training, evaluate=dev, jobs=options.jobs, **sizes)
    for name, table in found.items():
        print(f"\n## {load(name).TITLE}\n")
        print("\n".join(markdown(table)))
        if options.figures is not None:
            shutil.copyfile(options.output / f"{name}.svg", options.figures / f"infomax-{name}.svg")
    print("\nDistance beyond which 100 sites (α = 1) share less than ln N nats:")
    for pairs, distance in ceilings(100, (64, 256, 1024, 4096, 65_536), 1.0):
        print(f"  N = {pairs:,}: {distance:.2f} substitutions per site")
    every = pl.read_parquet(options.output / "uniformity-runs.parquet")
    print("\nRank correlation with accuracy in uniformity (95 % interval):")
    for runs, measures in correlations_by_objective(every).items():
        text = ", ".join(f"{name} {value:+.2f} ({low:+.2f} to {high:+.2f})" for name, (value, low, high) in measures.items())
        print(f"  {runs}: {text}")


if __name__ == "__main__":
    main()
