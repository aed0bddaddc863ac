"""The whole chain: families → align → tree → split → pairs → train → embed → probe, in one resumable folder."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.sequences import fasta as fasta_format
from phylocli.formats.streams import PathLike, locks, open_text_output, write_text
from phylocli.formats.tables import TableWriter, pairs_schema
from phylocli.workflow.config import RunConfig
from phylocli.workflow.stages import Ledger, Stage

_ACCESSION = re.compile(r"^PF\d{5}(\.\d+)?$")
DEFAULT_PAIRS = 50_000
MODEL_FILES = ("config.json", "model.safetensors")


def run_chain(config: RunConfig, output: PathLike, *, store: PathLike | None = None) -> Path:
    """Run every stage that is not done yet and return the path of the report.

    The folder then holds `families.sto.gz`, `alignments.sto.gz`, `trees.sto.gz`; the split (`train.sto.gz`,
    `members.fasta`, `labels.tsv`); `pairs.parquet`; the training run `run/` with its `model/`; `embeddings/`; `report/`;
    and `stages.json`, by which a stage is skipped while its inputs and parameters are unchanged.

    Args:
        config: what to do.
        output: the folder; made where it is not there. Calling again resumes.
        store: the store that fetched families are kept in; None for the default.

    Raises:
        InUseError: another process works in the folder.
        PhylocliError: whatever a stage raises; the stages before it stay done.
    """
    folder = Path(output)
    with locks.exclusive(folder):
        write_text(folder / "run.toml", tomli_w.dumps(config.to_dict()))
        ledger = Ledger(folder)
        for stage in _chain(config, folder, store):
            ledger.perform(stage)
    return folder / "report" / "report.html"


def _chain(config: RunConfig, folder: Path, store: PathLike | None) -> Iterator[Stage]:
    # A generator: a stage's key hashes its inputs, which the stages before it have to have written.
    seed = config.seed
    collected = folder / "families.sto.gz"
    aligned = folder / "alignments.sto.gz"
    trees = folder / "trees.sto.gz"
    train = folder / "train.sto.gz"
    members = folder / "members.fasta"
    labels = folder / "labels.tsv"
    pairs = folder / "pairs.parquet"
    run = folder / "run"
    model = run / "model"
    trained = folder / "embeddings" / "trained.parquet"
    untrained = folder / "embeddings" / "untrained.parquet"
    report = folder / "report"

    def collect(resuming: bool) -> None:
        write_families(_check_unique(_collected(config, store)), collected)
        write_sidecar(collected, "families", {"families": config.families, "clans": config.clans})

    files = tuple(Path(f) for f in config.families if not _ACCESSION.match(f))
    for file in files:
        if not file.is_file():
            raise BadInputError(
                f"{file}: no such file, and not a Pfam accession", fix="check the path, or write it as PF00042"
            )
    # A file counts by its name and content, not by where it lies: a run may be moved.
    named = {"families": [Path(f).name for f in config.families], "clans": config.clans}
    yield Stage("families", collect, files, named, (collected,))

    def align(resuming: bool) -> None:
        from phylocli.align import align_families

        write_families(align_families(read_families(collected), **config.align), aligned)
        write_sidecar(aligned, "align", config.align)

    yield Stage("align", align, (collected,), config.align, (aligned,))

    def tree(resuming: bool) -> None:
        from phylocli.tree import infer_trees

        write_families(infer_trees(read_families(aligned), seed=seed, **config.tree), trees)
        write_sidecar(trees, "tree", config.tree, seed)

    yield Stage("tree", tree, (aligned,), {**config.tree, "seed": seed}, (trees,))

    fraction = float(config.holdout.get("fraction", 0.3))

    def split(resuming: bool) -> None:
        _split(trees, (train, members, labels), fraction, seed)

    yield Stage("split", split, (trees,), {"fraction": fraction, "seed": seed}, (train, members, labels))

    drawing = {"number": DEFAULT_PAIRS, "min_dist": 0.0, "max_dist": math.inf, "alphabet": config.alphabet, **config.pairs}
    hard, count = drawing.pop("hard_negatives", ""), drawing.pop("negatives", 5)

    def draw(resuming: bool) -> None:
        from phylocli.pairs import draw_pairs

        with TableWriter(pairs, pairs_schema()) as writer:
            for frame in draw_pairs(read_families(train), seed=seed, **drawing):
                writer.write(frame)
        write_sidecar(pairs, "pairs", drawing, seed)

    yield Stage("pairs", draw, (train,), {**drawing, "max_dist": str(drawing["max_dist"]), "seed": seed}, (pairs,))

    negatives = folder / "negatives.tsv"
    if hard:

        def find_negatives(resuming: bool) -> None:
            from phylocli.workflow.negatives import write_negatives

            write_negatives(read_families(train), negatives, str(hard), count=count, seed=seed)

        named_by = Path(hard)
        sources = (
            [named_by] if named_by.is_file() else [named_by / part for part in MODEL_FILES] if named_by.is_dir() else []
        )
        by = {"hard_negatives": str(hard), "negatives": count, "seed": seed}
        yield Stage("negatives", find_negatives, (train, *sources), by, (negatives,))

    def fit(resuming: bool) -> None:
        from phylocli.train import train_model

        options = {"alphabet": config.alphabet, **config.train}
        if hard:
            options["batch"] = {"hard_negatives": str(negatives), **options.get("batch", {})}
        chosen = {key: options.pop(key) for key in ("recipe", "steps", "device") if key in options}
        if not resuming and run.exists():
            shutil.rmtree(run)
        train_model([pairs], run, seed=seed, resume=resuming and run.exists(), settings=_flat(options), **chosen)

    learned_from = (pairs, negatives) if hard else (pairs,)
    about = {**config.train, "alphabet": config.alphabet, "seed": seed}
    made = tuple(model / part for part in MODEL_FILES)
    yield Stage("train", fit, learned_from, about, made)

    weights = (members, *made)

    def embed(resuming: bool) -> None:
        from phylocli.embed import embed_file

        embed_file(members, trained, model=model, **config.embed)
        embed_file(members, untrained, model=model, untrained=seed, **config.embed)

    yield Stage("embed", embed, weights, {**config.embed, "seed": seed}, (trained, untrained))

    def probe(resuming: bool) -> None:
        from phylocli.probe import run_probes

        run_probes([trained, untrained], labels, report, sequences=members, trees=trees, seed=seed, **config.probe)

    yield Stage(
        "probe",
        probe,
        (trained, untrained, members, labels, trees),
        {**config.probe, "seed": seed},
        (report / "report.html", report / "report.json", report / "metrics.parquet"),
    )


def _collected(config: RunConfig, store: PathLike | None) -> Iterator[Family]:
    named = [f for f in config.families if _ACCESSION.match(f)]
    for file in config.families:
        if file not in named:
            yield from read_families(file)
    if named or config.clans:
        from phylocli.workflow.source import families

        yield from families(None, family=named, clan=config.clans, store=store, upto="fetch")


def _check_unique(families: Iterator[Family]) -> Iterator[Family]:
    seen: dict[str, str] = {}
    for family in families:
        if family.label in seen:
            raise BadInputError(
                f"the family {family.label} comes twice: {seen[family.label]} and {family.where}",
                fix="name each family once; two files without accessions need different names",
            )
        seen[family.label] = family.where
        yield family


def _split(trees: Path, outputs: tuple[Path, Path, Path], fraction: float, seed: int) -> None:
    """Hold out whole clades of every family; write training records, all members as FASTA, and who is in which part."""
    from phylocli.pairs import split_clades

    train, members, labels = outputs
    table = ["id\tfamily\tsplit\n"]
    sequences: list[fasta_format.Sequence] = []
    seen: dict[str, str] = {}
    held_out = 0

    def training() -> Iterator[Family]:
        nonlocal held_out
        for family in read_families(trees):
            out = split_clades(family, fraction, seed) if len(family) > 3 else set()
            held_out += len(out)
            for sequence in family.sequences():
                if sequence.id in seen:
                    raise BadInputError(
                        f"{sequence.id!r} is a member of both {seen[sequence.id]} and {family.label}",
                        why="embeddings and labels are joined by id",
                        fix="rename it in one of the families",
                    )
                seen[sequence.id] = family.label
                sequences.append(sequence)
                table.append(f"{sequence.id}\t{family.label}\t{'test' if sequence.id in out else 'train'}\n")
            kept = family.subset(set(family.ids) - out)
            if len(kept) >= 2:
                yield kept

    write_families(training(), train)
    write_sidecar(train, "split", {"fraction": fraction}, seed)
    with open_text_output(members) as stream:
        fasta_format.write(sequences, stream)
    write_text(labels, "".join(table))
    console.info(f"split: {len(sequences) - held_out} members to train on, {held_out} held out as whole clades")


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as the dotted keys that `--set` takes."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
