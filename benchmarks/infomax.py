"""Experiments on maximising mutual information, those of docs/infomax_results.md.

    python benchmarks/infomax.py DATA -o FOLDER [--figures docs/images] [--jobs 1] [--demo]

DATA holds `families/{train,dev}.sto.gz` and `families/{train,more,dev}.tsv` with the clans of the families, and
`trees/pfam_seed` with seed alignments and trees whose names contain species; dev shares no clan with the others. Runs
`phylocli infomax` with its default sizes and three seeds: encoders are trained on halves of domains of 800 training
families, and quality is measured on the dev families. Then the experiments on critics and layers are run on pairs of
homologs and on profiles, and that on views on the seed alignments, for orthologs and paralogs. Prints the tables as
Markdown, and copies the figures to --figures. `--demo` makes everything small. An interrupted study resumes.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from phylocli.config.infomax import EXPERIMENTS
from phylocli.core import console
from phylocli.formats import read_families, write_families
from phylocli.formats.tree_files import read_trees
from phylocli.infomax import study
from phylocli.infomax.experiments import load
from phylocli.infomax.experiments.channel import ceilings
from phylocli.infomax.experiments.uniformity import correlations_by_objective
from phylocli.infomax.study import BESIDE

DEMO: dict[str, Any] = {
    "steps": 4, "batch": 16, "seeds": [0], "distances": [1.0], "sites": 2, "critic_steps": 4, "training_families": 6,
    "scored_families": 4, "members": 10, "until_nats": [0.01],
}  # fmt: skip


SEED_CLANS = {
    "PF00072": "CL0304", "PF00096": "CL0361", "PF00397": "", "PF00512": "CL0025", "PF00595": "CL0466", "PF01535": "CL0020",
    "PF02518": "CL0025", "PF07679": "CL0011",
}  # fmt: skip
"""Clans of seed alignments of other families than train's; none is a clan of dev."""
SEED_MEMBERS = 120
"""Members of a seed alignment, at most."""
SEED_BANDS = [(1, 6)]
SEED_LEVELS = [0.5, 1.0]
"""Levels of the estimate, which few families limit."""


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


def seeds(data: Path, output: Path) -> Path:
    """Write the seed alignments with their trees, but for those of dev, and return the file."""
    path, clans = output / "seeds.sto", dict(SEED_CLANS)
    for name in ("train", "more"):
        table = pl.read_csv(data / "families" / f"{name}.tsv", separator="\t").select("accession", "clan")
        clans |= {str(accession).partition(".")[0]: clan or "" for accession, clan in table.iter_rows()}
    found = []
    for tree in sorted((data / "trees" / "pfam_seed").glob("*_seed.newick")):
        accession = tree.name.partition("_")[0]
        if accession in clans:
            (family,) = read_families(tree.with_name(f"{tree.stem}_hmmalign_no_inserts.fasta"))
            found.append(replace(family, accession=accession, clan=clans[accession], tree=next(read_trees(tree))))
    write_families(found, path)
    return path


def show(name: str, table: pl.DataFrame, title: str = "") -> None:
    """Print a summary."""
    print(f"\n## {load(name).TITLE}{title}\n")
    print("\n".join(markdown(table)))


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
    found = study(options.output, training, evaluate=dev, jobs=options.jobs, **{**sizes, "experiments": EXPERIMENTS})
    for name, table in found.items():
        show(name, table)
        if options.figures is not None:
            shutil.copyfile(options.output / f"{name}.svg", options.figures / f"infomax-{name}.svg")
    for kind in ("homologs", "profiles"):
        chosen = {**sizes, "experiments": ["critics", "boundary"], "input": kind}
        for name, table in study(options.output / kind, training, evaluate=dev, jobs=options.jobs, **chosen).items():
            show(name, table, f" ({kind})")
    if (options.data / "trees" / "pfam_seed").is_dir():
        folder = options.output / "relations"
        chosen = {"until_nats": SEED_LEVELS, **sizes, "experiments": ["views"], "bands": SEED_BANDS, "members": SEED_MEMBERS}
        folder.mkdir(parents=True, exist_ok=True)
        table = study(folder, seeds(options.data, folder), evaluate=dev, jobs=options.jobs, **chosen)["views"]
        show("views", table, " (seed alignments)")
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
