"""Loading a corpus: families are compiled and indexed for the view, and unusable families are reported."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

from phylocli import views
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.nucleotides import SAY_DNA, NucleotideCheck
from phylocli.formats.streams import PathLike, display_name
from phylocli.pairs import EmptyBandError, Split
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.compiled import Cache, Compiled, open_compiled
from phylocli.train.data.family_index import EMPTY, FEW, FamilyIndex, SamplingSettings
from phylocli.train.data.hard_negatives import load_hard_negatives
from phylocli.train.data.prepared_families import LazyPrepared, PreparedFamilies
from phylocli.train.data.residue_labels import ResidueLabels, load_residue_labels
from phylocli.train.data.teachers import Teacher, load_targets, open_teachers
from phylocli.train.data.types import FamilySource

logger = logging.getLogger(__name__)


def load_corpus(
    inputs: Sequence[PathLike],
    config: TrainConfig,
    *,
    every_view: bool = False,
    cache: Cache = True,
    teachers: Sequence[Teacher] | None = None,
) -> Corpus:
    """Compile families with trees and pairs tables, unless they are in the cache, and return the corpus.

    Families without pairs (a single member, or no pair in the distance band) are skipped and reported.

    Args:
        inputs: Stockholm records, or pairs tables as TSV, CSV, Parquet or Arrow; `-` is standard input.
        config: configuration of the run; `config.seed` seeds the split and all sampling.
        every_view: whether to sample all views of the composition, not only a pair.
        cache: folder of compiled families; True uses the default cache, False does not keep them.
        teachers: the teachers of the run; None opens those of the configuration.

    Raises:
        BadInputError: an input cannot be read, or no family is usable.
        UsageError: unknown view, or one that cannot be used with the inputs; a member is missing from the split; no pair can
            have a negative.
    """
    view = views.build(config.view.name, config.view.parameters, config.alphabet)
    fraction, given = config.validation.fraction, config.validation.split
    split = Split.read(split_path(given, config.seed)) if given else None
    compiled = open_compiled(list(inputs), config.alphabet, cache)
    if compiled.nucleotides:
        NucleotideCheck(config.alphabet, SAY_DNA).warn(compiled.nucleotides[0])
    draws = PreparedFamilies(compiled, SamplingSettings(view, config.view.parameters, fraction, config.seed, split))
    _report_unusable(compiled, draws.family_index)
    batch = config.batch
    number = _input_numbers(inputs, batch.input_fractions)
    indices = [index for index in range(compiled.families) if draws.family_index.sizes[index]]
    usable = [_source(draws, index, number) for index in indices]
    teachers = open_teachers(config) if teachers is None else teachers
    hard = load_hard_negatives(batch.hard_negatives, usable, batch.hard_negative_fraction) if batch.hard_negatives else None
    return Corpus(
        usable,
        pairs=batch.pairs,
        seed=config.seed,
        negatives=batch.negatives,
        family_power=batch.family_power,
        every_view=every_view,
        hard=hard,
        cross_family_fraction=batch.cross_family_fraction,
        labels=_residue_labels(config),
        input_fractions=batch.input_fractions,
        split=draws.split,
        teachers=load_targets(teachers, compiled, indices, config, cache) if teachers else None,
    )


def check_view(compiled: Compiled, config: TrainConfig) -> None:
    """Check that the view of a run can sample from a family, whatever the distance band; stops at the first such family.

    Raises:
        BadInputError: it cannot: there are no trees, for example.
    """
    view = views.build(config.view.name, config.view.parameters, config.alphabet)
    first: BadInputError | None = None
    for index in range(compiled.families):
        try:
            if compiled.pairs(index) is None:
                view.prepare(compiled.family(index))
            return
        except EmptyBandError:
            return
        except BadInputError as error:
            first = first if first is not None or compiled.too_few(index) else error
    if first is not None:
        raise first


def _residue_labels(config: TrainConfig) -> ResidueLabels | None:
    residues = config.residues
    if not residues.heads:
        return None
    sizes = {"sequences": residues.sequences, "max_length": residues.max_length}
    return load_residue_labels(residues.labels, list(residues.heads), **sizes, seed=config.seed, masked=residues.masked)


def _input_numbers(inputs: Sequence[PathLike], fractions: Sequence[float]) -> dict[str, int]:
    """Return the number of each input by its file name; an empty dict without fractions.

    Raises:
        UsageError: the numbers of fractions and inputs differ, or two inputs have the same file name.
    """
    if not fractions:
        return {}
    names = [Path(display_name(source)).name for source in inputs]
    if len(fractions) != len(names) or len(set(names)) < len(names):
        raise UsageError(
            f"batch.input_fractions has {len(fractions)} numbers for the inputs {', '.join(names)}",
            fix="give one number per input, in the same order, and inputs with different file names",
        )
    return {name: k for k, name in enumerate(names)}


def split_path(pattern: str, seed: int) -> Path:
    """Return the path of the split file: the setting `validation.split` with `{seed}` replaced."""
    return Path(pattern.replace("{seed}", str(seed)))


def _source(draws: PreparedFamilies, index: int, number: dict[str, int]) -> FamilySource:
    compiled, size = draws.compiled, int(draws.family_index.sizes[index])
    held_out = LazyPrepared(draws, index, held_out=True) if draws.family_index.validates[index] else None
    training = LazyPrepared(draws, index, held_out=False)
    members = functools.partial(draws.members, index)
    source = number.get(Path(compiled.sources[index]).name, 0)
    return FamilySource(compiled.labels[index], compiled.clans[index], size, training, held_out, members, source)


def _report_unusable(compiled: Compiled, family_index: FamilyIndex) -> None:
    """Report unusable families.

    Raises:
        BadInputError: no family is usable.
    """
    kinds = {FEW: "fewer than two members", EMPTY: "no pair in the distance band"}
    skipped: dict[str, list[str]] = {}
    for index, (kind, _) in family_index.reasons.items():
        skipped.setdefault(kinds.get(kind, "unusable"), []).append(compiled.labels[index])
    for why, labels in skipped.items():
        shown = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        logger.info(f"skipped {len(labels)} of {compiled.families} families: {why} ({shown})")
    known = [error for kind, error in family_index.reasons.values() if kind != FEW]
    for reason in known:
        logger.debug(str(reason))
    if not family_index.sizes.any():
        if len(family_index.reasons) == 1 and known:
            raise known[0]
        raise BadInputError(
            "no family can be used for training",
            why="; ".join(f"{len(v)} of {compiled.families} families: {k}" for k, v in skipped.items()),
            fix=next((r.fix or r.what for r in known), "give families of two or more members"),
        )
