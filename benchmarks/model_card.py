"""Compute the figures of the model card of the default model, or of another model.

    python benchmarks/model_card.py DATA -o FOLDER [--model default] [--also unirep=TABLES] [--only scope]

DATA holds `families/dev.sto.gz`, whose families share no clan with those that models may be trained on, `scope/`,
`secondary_structure/` and `tape_remote_homology/`. The model is held against the untrained encoder, composition, k-mers and
phmmer. Everything stays in FOLDER; the trees of the dev families that are there already are used again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments import fewer, labels_of

import phylocli
from phylocli.core import console
from phylocli.probe import NamedSource
from phylocli.probe.inputs.tables import parse_source

KMERS = ["composition", "dipeptides", "tripeptides"]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="default", help="a name or folder")
    parser.add_argument("--members", type=int, help="only so many members of each dev family, for a slow peer's sake")
    parser.add_argument("--also", metavar="NAME=FOLDER", help="tables scope.parquet and dev.parquet of another model")
    parser.add_argument("--only", action="append", metavar="REPORT", help="scope, dev, structure or tape; may be repeated")
    options = parser.parse_args()
    console.show_messages(console.QUIET)
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    dev = folder / "dev.sto.gz"
    if not dev.is_file():
        records = phylocli.read_families(options.data / "families" / "dev.sto.gz")
        few = (fewer(family, options.members) for family in records) if options.members else records
        phylocli.write_families(phylocli.infer_trees(few, jobs=2), dev)
    models = [parse_source(f"phylocli={options.model}")]

    def also(name: str) -> list[NamedSource]:
        if not options.also:
            return []
        title, _, tables = options.also.partition("=")
        return [NamedSource(title, Path(tables) / f"{name}.parquet")]

    def report(name: str) -> None:
        print((folder / f"{name}_report" / "report.md").read_text(encoding="utf-8"), flush=True)

    wanted = options.only or ["scope", "dev", "structure", "tape"]
    if "scope" in wanted:
        phylocli.run_probes(
            also("scope"),
            None,
            folder / "scope_report",
            models=models,
            benchmark="scope",
            data=options.data,
            tasks=["retrieval", "homology"],
            baselines=["untrained", *KMERS, "phmmer"],
        )
        report("scope")
    if "dev" in wanted:
        phylocli.run_probes(
            also("dev"),
            labels_of(dev, folder),
            folder / "dev_report",
            models=models,
            sequences=dev,
            trees=dev,
            tasks=["retrieval", "patristic", "topology"],
            baselines=["untrained", *KMERS],
        )
        report("dev")
    if "structure" in wanted:
        phylocli.run_probes(
            [], None, folder / "structure_report", models=models, benchmark="secondary-structure", data=options.data
        )
        report("structure")
    if "tape" in wanted:
        phylocli.run_probes(
            [],
            None,
            folder / "tape_report",
            models=models,
            benchmark="tape-remote-homology",
            data=options.data,
            baselines=["untrained", "composition", "dipeptides"],
        )
        report("tape")


if __name__ == "__main__":
    main()
