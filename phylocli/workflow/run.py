"""The pipeline of `phylocli run`: families → align → tree → split → pairs → train → embed → map → probe, resumable."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO

import tomli_w

from phylocli import models
from phylocli.config.pairs import PairsConfig
from phylocli.config.run import DEFAULT_PAIRS, RunConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import Sequence, read_families, read_sequences, write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.sequences import fasta
from phylocli.formats.streams import PathLike, locks, open_text_output, write_text
from phylocli.formats.tables import TableWriter, pairs_schema
from phylocli.workflow.preflight import check_families, check_run, describe, shared_member, sizes_of
from phylocli.workflow.stages import Ledger, Rows, Stage
from phylocli.workflow.summary import summarise, tally, write_multiqc

logger = logging.getLogger(__name__)

_ACCESSION = re.compile(r"^PF\d{5}(\.\d+)?$")
MODEL_FILES = ("config.json", "model.safetensors")


def run_chain(config: RunConfig, output: PathLike, *, store: PathLike | None = None) -> Path:
    """Run all stages that are not yet completed; return the path of the report.

    The folder then contains `alignments.sto.gz`, `trees.sto.gz`, `members.fasta` (all members), `labels.tsv`, `embeddings/`,
    `map.html` and `report/`; with `config.group` also `families.sto.gz`. Without `config.model`, it also contains the split
    (`split.tsv`, `train.sto.gz`), `pairs.parquet` (if a number of pairs is given or training needs them), and the training
    run `run/` with the trained `model/`. `stages.json` records completed stages; a stage is skipped if its inputs and
    options are unchanged. `multiqc/` has statistics that MultiQC reads.

    Args:
        config: options.
        output: the output folder; created if it does not exist. Calling the function again resumes the run.
        store: the folder of the store for fetched families; None for the default.

    Raises:
        InUseError: another process is writing to the folder.
        PhylocliError: inputs or options are invalid, which is detected before the first stage if possible, or a stage fails;
            completed stages are kept.

    Examples:
        >>> report = phylocli.run_chain(config, "demo")  # doctest: +SKIP
    """
    folder = Path(output)
    chain = Chain(config, folder, store)
    check_run(chain)
    with locks.exclusive(folder):
        write_text(folder / "run.toml", tomli_w.dumps(config.to_toml()))
        ledger, seconds, skipped = Ledger(folder), dict[str, float](), set[str]()
        for stage in chain.stages():
            if not ledger.perform(stage):
                skipped.add(stage.name)
            seconds[stage.name] = ledger.entries[stage.name].get("seconds", 0.0)
        found = summarise(
            folder.resolve().name,
            seconds,
            skipped,
            made={stage: ledger.entries[stage].get("made", {}) for stage in ("align", "tree")},
            split=chain.split if "split" in seconds else None,
            pairs=chain.pairs if "pairs" in seconds else None,
            embeddings=chain.trained,
            metrics=chain.report / "metrics.parquet",
        )
        write_multiqc(found, folder / "multiqc")
        for line in found.lines():
            logger.info(line)
    return chain.report / "report.html"


def plan_run(config: RunConfig, output: PathLike, *, store: PathLike | None = None) -> list[tuple[str, str]]:
    """Return the stages of `run_chain` as (name, description), without running them.

    Raises:
        PhylocliError: inputs or options are invalid.
    """
    chain = Chain(config, Path(output), store)
    found = check_run(chain)
    ledger, steps, unchanged = Ledger(Path(output)), [], True
    for stage in chain.stages():
        unchanged = unchanged and all(path.is_file() for path in stage.inputs) and ledger.is_done(stage, stage.key())
        steps.append((stage.name, "unchanged, skipped" if unchanged else describe(stage.name, chain, found)))
    return steps


class Chain:
    """The stages of a run and the paths of their files.

    Args:
        config: options.
        folder: the folder of the run.
        store: the folder of the store for fetched families; None for the default.
    """

    def __init__(self, config: RunConfig, folder: Path, store: PathLike | None = None) -> None:
        self.config = config
        self.store = store
        self.grouped = folder / "families.sto.gz"
        self.grouped_members = folder / "families.tsv"
        self.aligned = folder / "alignments.sto.gz"
        self.trees = folder / "trees.sto.gz"
        self.split = folder / "split.tsv"
        self.train = folder / "train.sto.gz"
        self.members = folder / "members.fasta"
        self.labels = folder / "labels.tsv"
        self.pairs = folder / "pairs.parquet"
        self.negatives = folder / "negatives.tsv"
        self.run = folder / "run"
        self.model = self.run / "model"
        self.trained = folder / "embeddings" / "trained.parquet"
        self.untrained = folder / "embeddings" / "untrained.parquet"
        self.map = folder / "map.html"
        self.report = folder / "report"
        if config.model is not None:
            self.model = models.find(config.model)
            self.trained = folder / "embeddings" / f"{self.model.name}.parquet"

    def stages(self) -> Iterator[Stage]:
        """Yield the stages in order.

        A generator, because the key of a stage hashes its inputs, which earlier stages write.
        """
        if self.config.group:
            yield self._grouping()
        yield self._aligning()
        yield self._inferring()
        if self.config.model is None:
            yield self._splitting()
            if self.sampling is not None:
                yield self._sampling(self.sampling)
            if self.config.pairs.hard_negatives is not None:
                yield self._mining(self.config.pairs.hard_negatives)
            yield self._training()
        else:
            yield self._listing()
        yield self._embedding()
        yield self._mapping()
        yield self._probing()

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The input files among `config.families`; the others are accessions.

        Raises:
            UsageError: there are no inputs, or `group` is given together with accessions.
            BadInputError: an input is neither a file nor an accession.
        """
        config = self.config
        if not config.families and not config.clans:
            raise UsageError("no families given", fix='give files or accessions, or families = ["PF00042"] in the file')
        files = tuple(Path(name) for name in config.families if not _ACCESSION.match(name))
        for file in files:
            if file.is_dir():
                raise BadInputError(
                    f"{file} is a folder, not a file", fix=f"name the files in it, for example {file}/*.fasta"
                )
            if not file.is_file():
                raise BadInputError(
                    f"{file}: no such file, and not a Pfam accession",
                    fix="check the path, or write it as PF00042, a clan as CL0090; 'phylocli fetch NAME' finds accessions",
                )
        if config.group and len(files) < len(config.families):
            named = next(name for name in config.families if _ACCESSION.match(name))
            raise UsageError(f"--group applies to sequence files, but {named} is a family", fix="omit one of them")
        return files

    @cached_property
    def sampling(self) -> PairsConfig | None:
        """The options for the table of pairs; None if the run has none."""
        pairs = self.config.pairs
        if pairs.number is None and self.config.trains_on_pairs:
            return pairs.updated(number=DEFAULT_PAIRS)
        return pairs if pairs.number is not None else None

    def _grouping(self) -> Stage:
        config = self.config.grouping

        def group(resuming: bool) -> None:
            from phylocli.families import find_families
            from phylocli.families.write import write_members, write_records

            sequences = read_sequences(
                self.files, on_duplicate=config.on_duplicate, report=False, genetic_code=config.code
            )  # reported by check_run
            with find_families(sequences, config) as found:
                write_records(found, self.grouped, None, config)
                write_members(found, self.grouped_members, config)
                logger.info(found.summary())
            check_families(self, list(sizes_of(read_families(self.grouped))))

        return Stage("families", group, self.files, config.identity(), (self.grouped, self.grouped_members))

    def _aligning(self) -> Stage:
        config, run = self.config.align, self.config

        def align(resuming: bool) -> Rows:
            from phylocli.align import align_families

            source = read_families(self.grouped) if run.group else _check_unique(_collected(run, self.store))
            rows: Rows = {}
            write_families(tally(align_families(source, config), rows), self.aligned)
            write_sidecar(self.aligned, "align", config.to_parameters())
            return rows

        given = [path for path in (config.hmm, config.seed_alignment) if path is not None]
        if run.group:
            return Stage("align", align, (self.grouped, *given), config.identity(), (self.aligned,))
        # A file is identified by its name and content, not its location, because a run may be moved.
        named = {"families": [Path(name).name for name in run.families], "clans": list(run.clans)}
        parameters = {**named, **run.fetch.identity(), **config.identity()}
        return Stage("align", align, (*self.files, *given), parameters, (self.aligned,))

    def _inferring(self) -> Stage:
        config = self.config.tree

        def infer(resuming: bool) -> Rows:
            from phylocli.tree import infer_trees

            rows: Rows = {}
            write_families(tally(infer_trees(read_families(self.aligned), config), rows), self.trees)
            write_sidecar(self.trees, "tree", config.to_parameters(), config.seed)
            return rows

        return Stage("tree", infer, (self.aligned,), config.identity(), (self.trees,))

    def _splitting(self) -> Stage:
        fractions = {"test": self.config.holdout.fraction, "validation": self.config.train.validation.fraction}
        seed = self.config.seed

        def split(resuming: bool) -> None:
            write_split(self, fractions["test"], fractions["validation"], seed)
            for path in outputs:
                write_sidecar(path, "split", fractions, seed)

        outputs = (self.split, self.train, self.members, self.labels)
        return Stage("split", split, (self.trees,), {**fractions, "seed": seed}, outputs)

    def _listing(self) -> Stage:
        def list_members(resuming: bool) -> None:
            seen: dict[str, str] = {}
            several = sum(1 for _ in read_families(self.trees)) > 1
            with open_text_output(self.members) as members, open_text_output(self.labels) as labels:
                labels.write("id\tfamily\n" if several else "id\tclade\n")
                for family in read_families(self.trees):
                    clades = {} if several else _clades(family)
                    for sequence in _own_members(family, seen):
                        labels.write(f"{sequence.id}\t{family.label if several else clades[sequence.id]}\n")
                        fasta.write([sequence], members)

        return Stage("members", list_members, (self.trees,), {}, (self.members, self.labels))

    def _sampling(self, config: PairsConfig) -> Stage:
        def sample(resuming: bool) -> None:
            from phylocli.pairs import iter_pairs

            with TableWriter(self.pairs, pairs_schema()) as writer:
                for frame in iter_pairs(read_families(self.train), config):
                    writer.write(frame)
            write_sidecar(self.pairs, "pairs", config.to_parameters(), config.seed)

        return Stage("pairs", sample, (self.train,), config.identity(), (self.pairs,))

    def _mining(self, how: str) -> Stage:
        config = self.config.pairs

        def mine(resuming: bool) -> None:
            from phylocli.workflow.negatives import write_negatives

            families = read_families(self.train)
            write_negatives(families, self.negatives, how, count=config.negatives, seed=config.seed)

        path = Path(how)
        sources = [path] if path.is_file() else [path / part for part in MODEL_FILES] if path.is_dir() else []
        parameters = {"hard_negatives": how, "negatives": config.negatives, "seed": config.seed}
        return Stage("negatives", mine, (self.train, *sources), parameters, (self.negatives,))

    def _training(self) -> Stage:
        config = self.config
        source = self.pairs if config.trains_on_pairs else self.train
        sources = [source, self.split, *([self.negatives] if config.pairs.hard_negatives is not None else [])]
        train = config.train
        if self.negatives in sources and not train.batch.hard_negatives:
            train = train.updated(batch={"hard_negatives": str(self.negatives)})

        def fit(resuming: bool) -> None:
            from phylocli.train import train_model

            chosen = train if train.validation.split else train.updated(validation={"split": str(self.split)})
            if not resuming and self.run.exists():
                shutil.rmtree(self.run)
            train_model([source], self.run, chosen, resume=resuming and self.run.exists())

        # `config.train`, not `train`: the path of the table of negatives must not be part of the key.
        parameters = config.train.identity()
        return Stage("train", fit, tuple(sources), parameters, tuple(self.model / part for part in MODEL_FILES))

    def _embedding(self) -> Stage:
        # The members are already translated, and one table is not divided among workers.
        config, seed = self.config.embed.updated(translate=False, jobs=1, cluster=None), self.config.seed

        def embed(resuming: bool) -> None:
            from phylocli.embed import embed_file

            embed_file(self.members, self.trained, config, model=self.model)
            embed_file(self.members, self.untrained, config.updated(untrained=seed), model=self.model)

        inputs = (self.members, *(self.model / part for part in MODEL_FILES))
        return Stage("embed", embed, inputs, {**config.identity(), "seed": seed}, (self.trained, self.untrained))

    def _mapping(self) -> Stage:
        config = self.config.map

        def plot(resuming: bool) -> None:
            from phylocli.probe import draw_map

            # For several families, the records also provide names and descriptions; a single family is labelled by clade.
            several = "family" in self.labels.read_text(encoding="utf-8").split("\n", 1)[0].split("\t")
            draw_map(self.trained, self.map, config, labels=self.trees if several else self.labels)

        return Stage("map", plot, (self.trained, self.labels, self.trees), config.identity(), (self.map,))

    def _probing(self) -> Stage:
        config = self.config.probe

        def probe(resuming: bool) -> None:
            from phylocli.probe import run_probes

            tables = [self.trained, self.untrained]
            run_probes(tables, self.labels, self.report, config, sequences=self.members, trees=self.trees)

        inputs = (self.trained, self.untrained, self.members, self.labels, self.trees)
        outputs = tuple(self.report / name for name in ("report.html", "report.json", "metrics.parquet"))
        return Stage("probe", probe, inputs, config.identity(), outputs)


def _collected(config: RunConfig, store: PathLike | None) -> Iterator[Family]:
    named = [name for name in config.families if _ACCESSION.match(name)]
    for file in config.families:
        if file not in named:
            yield from read_families(
                file, on_duplicate=config.align.on_duplicate, genetic_code=config.align.code, report=False
            )  # reported by check_run
    if named or config.clans:
        from phylocli.workflow.source import families

        yield from families(None, family=named, clan=config.clans, store=store, upto="fetch", fetch=config.fetch)


def _check_unique(families: Iterator[Family]) -> Iterator[Family]:
    seen: dict[str, str] = {}
    for family in families:
        if family.label in seen:
            raise BadInputError(
                f"the family {family.label} occurs twice: {seen[family.label]} and {family.where}",
                fix="name each family once; two files without accessions need different names",
            )
        seen[family.label] = family.where
        yield family


def write_split(chain: Chain, test: float, validation: float, seed: int) -> None:
    """Split each family by whole clades; write the split, the training families, all members as FASTA, and their labels.

    Args:
        chain: provides the paths of the files.
        test: fraction of the members of each family for the test part.
        validation: fraction of the remaining members for the validation part.
        seed: the seed for the choice of clades.

    Raises:
        BadInputError: a sequence id occurs in two families.
    """
    import polars as pl

    from phylocli.pairs import Split, split_clades

    rows: list[tuple[str, str, str, str]] = []
    seen: dict[str, str] = {}

    def training(members: IO[str], labels: IO[str]) -> Iterator[Family]:
        for family in read_families(chain.trees):
            held_out = split_clades(family, test, seed) if len(family) > 3 else set()
            kept = family.subset(set(family.ids) - held_out)
            validated = _validated(kept, validation, seed)
            for sequence in _own_members(family, seen):
                name = sequence.id
                part = "test" if name in held_out else "validation" if name in validated else "train"
                rows.append((family.label, family.clan, name, part))
                labels.write(f"{name}\t{family.label}\t{'test' if part == 'test' else 'train'}\n")
                fasta.write([sequence], members)
            if len(kept) >= 2:
                yield kept

    with open_text_output(chain.members) as members, open_text_output(chain.labels) as labels:
        labels.write("id\tfamily\tsplit\n")
        write_families(training(members, labels), chain.train)
    table = pl.DataFrame(rows, schema=["family", "clan", "id", "part"], orient="row")
    Split(table).write(chain.split)
    sizes = {part: table.filter(pl.col("part") == part).height for part in ("train", "validation", "test")}
    logger.info(
        f"split: {sizes['train']} members to train on, {sizes['validation']} to validate on, {sizes['test']} to test on, as "
        "whole clades"
    )


def _clades(family: Family) -> dict[str, str]:
    """Return the clade of each member, as labels for a run with a single family."""
    from phylocli.tree.clades import deepest_clades

    found = deepest_clades(family.require_tree(), max(2, round(len(family) ** 0.5)))
    return {member: f"clade {number}" for number, members in enumerate(found, 1) for member in members}


def _own_members(family: Family, seen: dict[str, str]) -> Iterator[Sequence]:
    """Yield the members of a family, and add them to `seen`.

    Args:
        family: the family.
        seen: the family of each id so far; updated.

    Raises:
        BadInputError: a member is also a member of another family.
    """
    for sequence in family.sequences():
        other = seen.setdefault(sequence.id, family.label)
        if other != family.label:
            raise shared_member(sequence.id, other, family.label)
        yield sequence


def _validated(family: Family, fraction: float, seed: int) -> set[str]:
    """Return the validation members as chosen by training: whole clades, with at least two members in each part."""
    from phylocli.pairs import split_clades

    if fraction == 0 or len(family) < 4:
        return set()
    chosen = split_clades(family, fraction, seed)
    return chosen if len(chosen) >= 2 and len(family) - len(chosen) >= 2 else set()
