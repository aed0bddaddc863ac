"""Post-training fits of the default model: averaging of runs, kernel means, and whitening to fewer features.

    python benchmarks/fits.py DATA FOLDER [-o FOLDER/fits]

FOLDER is that of `benchmarks/default_model.py`, with both runs done. The last checkpoint of the second run is finished in
several ways, nothing is trained again, and all are scored on up to 25 members of each dev family and on half of SCOPe's
folds, the half by which choices are made.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import zlib
from pathlib import Path

import polars as pl
from default_model import labels_of, with_trees

import phylocli
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.train.data.loading import load_corpus
from phylocli.train.finalize import finalization_steps
from phylocli.train.parallel.execution import choose_precision
from phylocli.train.run_folder import load_task

VARIANTS: dict[str, dict[str, dict[str, float]]] = {
    "second run": {
        "encoder": {"average_coefficient": 0.0},
        "kernel": {"features": 0},
        "whitening": {"power": 0.5, "dimension": 0},
    },
    "average": {"kernel": {"features": 0}, "whitening": {"power": 0.5, "dimension": 0}},
    "average, kernel means": {"whitening": {"power": 0.5, "dimension": 0}},
    "… to 1,024 features": {"whitening": {"power": 0.5}},
}


def finished(run: Path, target: Path, changes: dict[str, dict[str, float]]) -> Path:
    """Build a model from the last checkpoint of a run, with other settings for the post-training fits."""
    if not target.is_dir():
        config = TrainConfig.read(run / "config.toml").updated(**changes)
        task = load_task(run)
        task.execution.precision = choose_precision("auto", task.device)
        corpus = load_corpus([run.parent / Path(name).name for name in config.inputs], config)
        for step in finalization_steps(config):
            step.fit(task, corpus)
        task.model.save(target)
    return target


def half_of_scope(source: Path, folder: Path) -> tuple[Path, Path]:
    """Write the domains of half of the folds as FASTA, and their labels."""
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if zlib.crc32(row["fold"].encode()) % 2 == 0]
    fasta, labels = folder / "scope.fasta", folder / "scope.tsv"
    fasta.write_text("".join(f">{row['id']}\n{row['sequence'].upper()}\n" for row in rows), encoding="utf-8")
    pl.DataFrame(rows).select("id", "fold", "superfamily", "family").write_csv(labels, separator="\t")
    return fasta, labels


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    console.show_messages(console.QUIET)
    run, output = options.folder / "run", options.output or options.folder / "fits"
    output.mkdir(parents=True, exist_ok=True)
    found = {"first run": options.folder / "first" / "model"}
    for number, (name, changes) in enumerate(VARIANTS.items()):
        found[name] = finished(run, output / f"{number}", changes)
    found["… power 0.4 (the model)"] = run / "model"
    named = [f"{name}={folder}" for name, folder in found.items()]
    dev = with_trees([options.data / "families" / "dev.sto.gz"], output / "dev.sto.gz", None, 25)
    fasta, labels = half_of_scope(options.data / "scope" / "dev.tsv.gz", output)
    common = {"models": named, "baselines": ["none"], "projection": "none"}
    phylocli.run_probes(
        [], labels_of(dev, output), output / "dev", sequences=dev, trees=dev, tasks=["retrieval", "patristic"], **common
    )
    phylocli.run_probes([], labels, output / "scope", sequences=fasta, tasks=["retrieval"], **common)
    for part in ("dev", "scope"):
        print((output / part / "report.md").read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
