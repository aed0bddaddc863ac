"""Train the default model and compute all figures of its model card; or only the figures, for an existing model.

    python benchmarks/default_model.py DATA -o FOLDER [--first 2400] [--steps 2000] [--processes 2] [--also unirep=TABLES]

DATA holds `families/{train,more,dev}.sto.gz` (dev shares no clan with the others), `scope/`, `secondary_structure/` and
`tape_remote_homology/`. Trees are inferred, and the recipe `default-model` is trained (with `--processes 2` by two processes
on one machine): a first run with 512 features and no kernel means, and a second one that starts from its weights and ends
with the average of both. The result is held against the untrained encoder, this with the same kernel means and
whitening fitted to it, composition, k-mers and phmmer. Everything stays in FOLDER; what is there already is used again.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from pathlib import Path

import polars as pl
from experiments import fewer

import phylocli
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.formats.tables import read_table
from phylocli.models.model import Model
from phylocli.probe import NamedSource
from phylocli.probe.inputs.tables import parse_source
from phylocli.search import fit_residue_plda
from phylocli.search.residue_plda import FILE
from phylocli.train.data.loading import load_corpus
from phylocli.train.finalize import finalization_steps
from phylocli.train.parallel.execution import choose_precision
from phylocli.train.task import ContrastiveTask

FIRST = [
    "encoder.pooling_parameters.features=512",
    "kernel.features=0",
    "whitening.power=0.5",
    "whitening.vectors=12000",
    "whitening.dimension=0",
]
"""Settings of the first run, which mostly brings the encoder forward; its own model is the first row of `fits.py`."""

KMERS = ["composition", "dipeptides", "tripeptides"]


def with_trees(sources: list[Path], target: Path, limit: int | None, members: int | None = None) -> Path:
    """Infer the trees of all families of these files, once; of at most so many families and members of each."""
    if not target.is_file():
        records = itertools.chain.from_iterable(phylocli.read_families(source) for source in sources)
        if members:
            records = (fewer(family, members) for family in records)
        phylocli.write_families(phylocli.infer_trees(itertools.islice(records, limit), jobs=2), target)
    return target


def trained(families: Path, run: Path, steps: int, seed: int, processes: int, changes: list[str]) -> Path:
    """Start or resume training; return the model folder."""
    if not (run / "model" / "config.json").is_file():
        command = ["-m", "phylocli", "train", str(families), "--recipe", "default-model", "--resume", "-o", str(run)]
        command += ["--steps", str(steps), "--seed", str(seed), *(part for c in changes for part in ("--set", c))]
        if processes > 1:
            command = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), *command]
        subprocess.run([sys.executable, *command], check=True)
    return run / "model"


def untrained_but_fitted(run: Path, target: Path) -> Path:
    """Return a model with random weights and the fitted kernel means and whitening, as a control."""
    if not target.is_dir():
        config = TrainConfig.read(run / "config.toml").updated(encoder={"start": "", "average_coefficient": 0.0})
        inputs = [run.parent / Path(name).name for name in config.inputs]
        task = ContrastiveTask(config)
        task.execution.precision = choose_precision("auto", task.device)
        corpus = load_corpus(inputs, config)
        for step in finalization_steps(config):
            step.fit(task, corpus)
        task.model.save(target)
    return target


def labels_of(dev: Path, folder: Path) -> Path:
    """Write family and clan (where a family has none, itself) of the dev members."""
    members = [(i, f.accession, f.clan or f.accession) for f in phylocli.read_families(dev) for i in f.ids]
    rows = pl.DataFrame(members, schema=["id", "family", "superfamily"], orient="row")
    labels = folder / "dev_labels.tsv"
    rows.unique("id", keep="first", maintain_order=True).write_csv(labels, separator="\t")
    return labels


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a model folder to score instead of training one")
    parser.add_argument("--first", type=int, default=2400, help="steps of the first run")
    parser.add_argument("--steps", type=int, default=2000, help="steps of the second run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the training run")
    parser.add_argument("--families", type=int, help="only so many training and dev families, for a try")
    parser.add_argument("--members", type=int, help="only so many members of each dev family, for a slow peer's sake")
    parser.add_argument("--also", metavar="NAME=FOLDER", help="tables scope.parquet and dev.parquet of another model")
    parser.add_argument("--only", action="append", metavar="REPORT", help="scope, dev, structure or tape; may be repeated")
    options = parser.parse_args()
    console.show_messages(console.QUIET)
    folder, families = options.output, options.data / "families"
    folder.mkdir(parents=True, exist_ok=True)
    dev = with_trees([families / "dev.sto.gz"], folder / "dev.sto.gz", options.families, options.members)
    model, extra = options.model, []
    if model is None:
        sources = [families / "train.sto.gz", families / "more.sto.gz"]
        training = with_trees(sources, folder / "train.sto.gz", options.families)
        run = folder / "run"
        begun = trained(training, folder / "first", options.first, options.seed, options.processes, [*FIRST, *options.set])
        further = [f"encoder.start={begun}", "encoder.average_coefficient=0.5", *options.set]
        model = trained(training, run, options.steps, options.seed, options.processes, further)
        if not (model / FILE).is_file():  # the residue PLDA for `search --rerank residues`
            fit_residue_plda(Model.load(model), phylocli.read_families(training)).save(model)
        for part in (folder / "first", run):
            metrics = read_table(part / "metrics.parquet")
            print(f"{part.name}: {metrics['residues'].sum():,} residues in {metrics['seconds'].sum() / 60:.1f} minutes")
        extra = [f"untrained, fitted={untrained_but_fitted(run, folder / 'untrained_fitted')}"]
    models = [parse_source(text) for text in (f"phylocli={model}", *extra)]

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
