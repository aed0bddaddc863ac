"""Distillation: teacher, student, and student without a teacher on validation sets; resumable.

    python benchmarks/distillation.py DATA -o FOLDER [--steps 300] [--teacher default] [--members 12] [--more]
                                      [--crop 0.3 128] [--only VARIANT]

DATA is the folder of the evaluation sets. Every variant trains the same small student on the same pairs, of `--members`
members of each family of `families/train.sto.gz` (`--more`: and of `more.sto.gz`), with other losses beside the contrast.
Then all students, the teacher and an untrained student, whitened as the others, are measured on the domains of the hidden
SCOPe folds and on the dev families, with 95 % intervals. What is done is read: the same command continues, and other options
or another teacher make new runs and tables beside the others. CPU seconds include those of attempts that were interrupted,
but not of those that were killed.

A teacher may be a model or a table of embeddings. For one, `--write-sequences` writes FOLDER/train.fasta, scope.fasta and
dev.fasta; with the tables of another program for them, such as `unirep.py`,

    python benchmarks/distillation.py DATA -o FOLDER --teacher FOLDER/train.parquet

measures FOLDER/scope.parquet and FOLDER/dev.parquet as the teacher.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from default_model import fitted, hidden_folds
from experiments import fewer, labels_of

import phylocli
from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.core.threads import limit_threads
from phylocli.formats.streams import file_sha256
from phylocli.models import load as load_model
from phylocli.probe import NamedSource
from phylocli.train.data.loading import load_corpus

VARIANTS: dict[str, dict[str, float]] = {
    "contrast": {},
    "contrast-crd": {"distillation.weights.crd": 1.0},
    "contrast-regression": {"distillation.weights.embedding-regression": 1.0},
    "contrast-similarity": {"distillation.weights.similarity-distillation": 1.0},
    "contrast-both": {"distillation.weights.crd": 1.0, "distillation.weights.similarity-distillation": 1.0},
    "teacher-alone": {
        "distillation.weights.crd": 1.0,
        "distillation.weights.similarity-distillation": 1.0,
        "distillation.contrast": 0.0,
    },
}
"""Losses beside the contrast, by the name of the variant."""

STUDENT = {
    "view.name": "across-groups",
    "encoder.preset": "tiny",
    "encoder.pooling": "feature-mean",
    "encoder.pooling_parameters.features": 256,
    "whitening.power": 0.4,
    "whitening.vectors": 4000,
    "validation.fraction": 0.2,
    "log.mfu": False,
}
MEMBERS = 12
"""Members of each dev family that are measured."""

SEEN = ("sensitivity to first FP",)
"""Metrics of the table."""


def training_families(data: Path, folder: Path, members: int, *, more: bool) -> Path:
    """Write so many members of each training family, and return the file."""
    path = folder / f"train-{'more-' * more}{members}.sto.gz"
    if not path.is_file():
        sources = [data / "families" / f"{name}.sto.gz" for name in ("train", *(["more"] * more))]
        families = itertools.chain.from_iterable(map(phylocli.read_families, sources))
        phylocli.write_families((fewer(family, members) for family in families), path)
    return path


def dev_families(data: Path, folder: Path) -> Path:
    """Write at most `MEMBERS` members of each dev family, and return the file."""
    path = folder / "dev.sto.gz"
    if not path.is_file():
        families = phylocli.read_families(data / "families" / "dev.sto.gz")
        phylocli.write_families((fewer(family, MEMBERS) for family in families), path)
    return path


def write_sequences(families: Path, data: Path, folder: Path) -> None:
    """Write the sequences that are trained on, and those that are measured, as FASTA for another program."""
    scope = pl.read_csv(hidden_folds(data, folder) / "scope" / "dev.tsv", separator="\t", infer_schema=False)
    sets = {name: [(s.id, s.residues) for s in phylocli.read_sequences(path)] for name, path in (
        ("train", families), ("dev", dev_families(data, folder)))}  # fmt: skip
    sets["scope"] = list(scope.select("id", "sequence").iter_rows())
    for name, sequences in sets.items():
        (folder / f"{name}.fasta").write_text("".join(f">{i}\n{letters}\n" for i, letters in sequences), encoding="utf-8")


def student(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of all students."""
    fraction, length = options.crop
    return {**STUDENT, "view.across-groups.min_fraction": fraction, "view.across-groups.max_length": int(length)}


def key_of(*facts: object) -> str:
    """Return a short name for some facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def fingerprint_of(source: Path | str) -> str:
    """Return the digest of a model, or of a table of embeddings."""
    return file_sha256(Path(source)) if Path(source).is_file() else load_model(source).fingerprint


def timed(path: Path, work: Callable[[], object]) -> float:
    """Do some work unless it is complete, and return its CPU seconds, those of interrupted attempts too."""
    before = json.loads(path.read_text()) if path.is_file() else {"seconds": 0.0, "complete": False}
    if before["complete"]:
        return float(before["seconds"])
    started, complete = time.process_time(), False
    try:
        work()
        complete = True
    finally:
        seconds = before["seconds"] + time.process_time() - started
        path.write_text(json.dumps({"seconds": seconds, "complete": complete}), encoding="utf-8")
    return float(seconds)


def train(variant: str, families: Path, folder: Path, options: argparse.Namespace) -> tuple[Path, float]:
    """Train a student, or continue; return the run folder, named by all that the result depends on, and the CPU seconds."""
    losses = VARIANTS[variant]
    settings = {**student(options), "batch.pairs": options.pairs, "validation.every": options.steps, **losses}
    weights = {"distillation.weights.crd": 0.0, "distillation.weights.similarity-distillation": 0.0}  # of the recipe
    settings = {**weights, **settings}
    teachers = (options.teacher,) if losses else ()
    key = key_of(settings, [fingerprint_of(teacher) for teacher in teachers], file_sha256(families))
    run = folder / f"{variant}-{options.steps}-seed{options.seed}-{key}"
    seconds = timed(
        run.with_name(f"{run.name}.seconds.json"),
        lambda: phylocli.train_model(
            [families], run, recipe="distil", steps=options.steps, seed=options.seed, device="cpu", resume=True,
            cache=folder / "cache", teachers=teachers, settings=settings,
        ),
    )  # fmt: skip
    return run, seconds


def teach(families: Path, folder: Path, options: argparse.Namespace) -> float:
    """Compute the teacher's vectors, unless they are in the cache, and return the CPU seconds that this took."""
    settings = {**student(options), "distillation.weights.crd": 1.0}
    config = TrainConfig.of(None, {"recipe": "distil", "teachers": (options.teacher,), **nested(settings)})
    key = key_of(settings, fingerprint_of(options.teacher), file_sha256(families))
    return timed(folder / f"teacher-{key}.seconds.json", lambda: load_corpus([families], config, cache=folder / "cache"))


def evaluate(models: list[NamedSource], data: Path, folder: Path, tables: Path | None) -> pl.DataFrame:
    """Measure the models, and the teacher's tables, on the hidden folds and the dev families, unless this is done."""
    common = {"models": models, "projection": "none", "tasks": ["retrieval"], "baselines": ["untrained"]}
    dev = dev_families(data, folder)
    sets = {
        "scope": (None, {"benchmark": "scope", "data": hidden_folds(data, folder)}),
        "dev": (labels_of(dev, folder), {"sequences": dev}),
    }
    parts = []
    for name, (labels, given) in sets.items():
        also = [NamedSource("teacher", tables / f"{name}.parquet")] if tables else []
        key = key_of([(model.name, fingerprint_of(model.source)) for model in [*models, *also]], MEMBERS)
        target = folder / f"{name}-{key}"
        if not (target / "metrics.parquet").is_file():
            phylocli.run_probes(also, labels, target, **given, **common)
        found = pl.read_parquet(target / "metrics.parquet")
        parts.append(found.with_columns(level=pl.lit(f"{name} ") + pl.col("level")))
    return pl.concat([part.select("embedding", "level", "metric", "value", "low", "high") for part in parts])


def main() -> None:
    """Train the variants, measure them and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--members", type=int, default=12)
    parser.add_argument("--more", action="store_true", help="train on families/more.sto.gz too")
    parser.add_argument("--crop", nargs=2, type=float, default=(0.3, 128), metavar=("FRACTION", "LENGTH"),
                        help="smallest fraction and greatest length of a crop")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher", default="default", help="a model, or a table of embeddings")
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="of the variants; may be repeated")
    parser.add_argument("--write-sequences", action="store_true", help="write the training sequences as FASTA and end")
    options = parser.parse_args()
    console.show_messages(console.NORMAL)
    limit_threads()
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    families = training_families(options.data, folder, options.members, more=options.more)
    if options.write_sequences:
        write_sequences(families, options.data, folder)
        return
    names = options.only or list(VARIANTS)
    seconds = {"teacher": teach(families, folder, options)}
    runs = {name: train(name, families, folder, options) for name in names}
    seconds |= {name: spent for name, (_, spent) in runs.items()}
    models = [NamedSource(name, run / "model") for name, (run, _) in runs.items()]
    first, _ = runs[names[0]]
    start = folder / f"untrained-{first.name}"
    if not start.is_dir():
        fitted(first, start, trained=False, cache=folder / "cache")
    models.append(NamedSource("untrained, whitened", start))
    of_table = Path(options.teacher).is_file()
    if not of_table:
        models.append(NamedSource("teacher", options.teacher))
    console.show_messages(console.QUIET)
    found = evaluate(models, options.data, folder, Path(options.teacher).parent if of_table else None)
    found = found.filter(pl.col("metric").is_in(SEEN))
    levels = list(dict.fromkeys(found["level"]))
    lines = [f"| | CPU s | crd bound, nats | {' | '.join(levels)} |", f"|---|---|---|{'---|' * len(levels)}"]
    for name in dict.fromkeys(found["embedding"]):
        rows = {row["level"]: row for row in found.filter(pl.col("embedding") == name).iter_rows(named=True)}
        cells = [cell(rows.get(level)) for level in levels]
        cpu = f"{seconds[name]:.0f}" if name in seconds else "–"
        lines.append(f"| {name} | {cpu} | {bound_of(runs[name][0]) if name in runs else '–'} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    key = key_of([run.name for run, _ in runs.values()], fingerprint_of(options.teacher))
    (folder / f"table-{options.steps}-{key}.md").write_text(text, encoding="utf-8")
    print(text)


def cell(row: dict[str, Any] | None) -> str:
    """Return a value with its interval, if it has one."""
    if row is None:
        return "–"
    interval = "" if row["low"] is None else f" ({row['low']:.3f}–{row['high']:.3f})"
    return f"{row['value']:.3f}{interval}"


def bound_of(run: Path) -> str:
    """Return the bound of CRD on held-out members after the last step."""
    frame = pl.read_parquet(run / "metrics.parquet")
    if "val_crd_bound" not in frame.columns:
        return "–"
    last = frame.row(-1, named=True)
    return "–" if not np.isfinite(last["val_crd_bound"]) else f"{last['val_crd_bound']:.2f} of {last['val_crd_ceiling']:.2f}"


if __name__ == "__main__":
    main()
