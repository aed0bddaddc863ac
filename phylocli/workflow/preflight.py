"""Checks of the inputs and options of a run before the first stage, and the description of its stages."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from phylocli.align.engines.profile import has_profile
from phylocli.align.settings import Settings
from phylocli.config.run import RunConfig
from phylocli.core.errors import BadInputError, MissingDependencyError, ServiceError, UsageError
from phylocli.core.plugins import ALIGNERS, BASELINES, PROBES
from phylocli.core.words import counted
from phylocli.formats import Sequence, read_families, read_sequences
from phylocli.formats.family import Family
from phylocli.formats.nucleotides import TRANSLATE, NucleotideCheck, check_translatable
from phylocli.formats.streams import PathLike
from phylocli.objectives.base.requirements import requirements_of
from phylocli.statistics.shared_kmers import NEAR_DUPLICATE, nearest_identity
from phylocli.store import Store
from phylocli.tree.choices import check_config as check_tree
from phylocli.tree.choices import traits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

FEWEST = 4
"""Minimum size of a family from which members are held out."""
_BLOCK = 500
FEWEST_ALONE = 10
"""Minimum size of a single family, on whose clades embeddings are evaluated."""


class Run(Protocol):
    """The run to check: `workflow.run.Chain`."""

    config: RunConfig
    store: PathLike | None

    @property
    def files(self) -> tuple[Path, ...]:
        """The input files."""


class Size(NamedTuple):
    """The size of a family."""

    label: str
    clan: str
    members: int


@dataclass
class Found:
    """The contents of the inputs.

    Attributes:
        families: the families of the files, and the requested families of the store.
        sequences: the number of sequences in the files, if they are to be grouped.
        alike: whether these are all nearly identical to the first one, and so form one family.
        to_fetch: accessions that are not in the store.
        de_novo: families without an alignment or profile.
    """

    families: list[Size] = field(default_factory=list)
    sequences: int = 0
    alike: bool = False
    to_fetch: list[str] = field(default_factory=list)
    de_novo: list[str] = field(default_factory=list)


def check_run(run: Run) -> Found:
    """Check the inputs and the options of all stages; return the contents of the inputs.

    Raises:
        PhylocliError: inputs or options are invalid.
    """
    config = run.config
    _check_options(config)
    found = _look(run)
    if found.alike:
        check_families(run, [Size("the only family", "", found.sequences)])
    elif not config.group and not config.clans and not found.to_fetch:
        check_families(run, found.families)
    if found.to_fetch and config.fetch.offline:
        raise ServiceError(
            f"not in the store {Store(run.store).root}: {', '.join(found.to_fetch)}",
            fix="fetch them once without --offline, or import them: phylocli store import FILE",
        )
    if found.de_novo and config.align.engine in ("auto", "famsa", "profile"):
        _check_aligner(config, found.de_novo)
    return found


def check_families(run: Run, families: SequenceOf[Size]) -> None:
    """Check that there are enough families and members for training and evaluation.

    Raises:
        BadInputError: there are too few.
    """
    config = run.config
    largest = max((family.members for family in families), default=0)
    also = "" if config.group else ", or --group if the sequences belong to several"
    if config.model is not None:
        if len(families) == 1 and largest < FEWEST_ALONE:
            raise BadInputError(
                f"one family of {counted(largest, 'member')} is too small to evaluate embeddings",
                fix=f"give {FEWEST_ALONE} members or more, or use 'phylocli embed' and 'phylocli map'",
            )
        return
    if not families:
        raise BadInputError("no families were found", fix="relax [grouping] coverage or evalue, or omit --group")
    unrelated = {family.clan or family.label for family in families}
    if len(unrelated) == 1 and _contrasts(config):
        what = "one family is" if len(families) == 1 else f"{len(families)} families of one clan are"
        raise BadInputError(
            f"{what} too few to train on",
            why="pairs of one family or clan are never contrasted with each other",
            fix=f"use the default model (--model default), or add families{also}",
        )
    if largest < FEWEST:
        raise BadInputError(
            f"no family has {FEWEST} members or more, so none can be held out",
            why=f"the largest of {len(families):,} families has {largest}",
            fix="use the default model (--model default), or give larger families",
        )


def sizes_of(families: Iterable[Family]) -> Iterator[Size]:
    """Yield the sizes of families."""
    return (Size(family.label, family.clan, len(family)) for family in families)


def shared_member(name: str, one: str, other: str) -> BadInputError:
    """Return the error for a sequence id that occurs in two families."""
    return BadInputError(
        f"{name!r} is a member of both {one} and {other}",
        why="embeddings and labels are joined by id",
        fix="rename it in one of the families",
    )


def describe(stage: str, run: Run, found: Found) -> str:
    """Return the description of a stage for `--dry-run`."""
    config = run.config
    files = _count(len(run.files), "file")
    stored = [name for name in config.families if Path(name) not in run.files and name not in found.to_fetch]
    of_files = found.families[: len(found.families) - len(stored)]
    known, members = _count(len(of_files), "family", "families"), sum(family.members for family in of_files)
    sources = [
        *([f"{known} of {files}, {members:,} members"] if run.files else []),
        *([f"{_count(len(stored), 'family', 'families')} of the store"] if stored else []),
        *([f"{', '.join(found.to_fetch[:5])}{' …' * (len(found.to_fetch) > 5)}, to be fetched"] if found.to_fetch else []),
        *([f"all families of {', '.join(config.clans)}"] if config.clans else []),
    ]
    what = "the families" if config.group else "; ".join(sources)
    de_novo = f"; {', '.join(found.de_novo[:5])} de novo by FAMSA" if found.de_novo and config.align.engine == "auto" else ""
    texts: Mapping[str, str] = {
        "families": f"group {counted(found.sequences, 'sequence')} of {files} into families, "
        f"engine {config.grouping.engine}; {_families_expected(found, config.grouping.min_size)}",
        "align": f"{what}, engine {config.align.engine}{de_novo}",
        "tree": f"engine {config.tree.engine}, model {config.tree.model}",
        "split": f"hold out {config.holdout.fraction:.0%} of the members of each family, as whole clades",
        "members": "list members with their families, or with the clades of the only family",
        "pairs": "sample pairs into a table",
        "negatives": f"find hard negatives by {config.pairs.hard_negatives}",
        "train": f"{config.train.encoder.name} ({config.train.encoder.preset}), objective {config.train.objective.name}, "
        f"{config.train.steps:,} steps",
        "embed": f"all members, by {config.model or 'the trained model'} and with random weights",
        "map": f"plot the embeddings, projection {config.map.projection}",
        "probe": f"evaluate, report with {config.probe.replicates:,} bootstrap replicates",
    }
    return texts[stage]


def _families_expected(found: Found, min_size: int) -> str:
    if found.alike:
        return "one family, because all are nearly identical"
    few = f"fewer than [grouping] min_size = {min_size}, so there may be none" if found.sequences < min_size else ""
    return few or "the number of families is known only after this stage"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _check_options(config: RunConfig) -> None:
    """Check the options of all stages, as far as possible without inputs."""
    from phylocli.probe.map.coordinates import check_projection

    check_tree(config.tree)
    if config.tree.engine != "auto" and not traits_of(config.tree.engine).available():
        raise MissingDependencyError(f"the tree engine {config.tree.engine} is not installed", fix="see 'phylocli doctor'")
    ALIGNERS.load(config.align.engine)
    for name in config.probe.tasks:
        PROBES.load(name)
    for name in config.probe.baselines or ():
        if name not in ("untrained", "none"):
            BASELINES.load(name)
    check_projection(config.probe.projection)
    check_projection(config.map.projection)
    if config.model is None:
        from phylocli.train.checks import check_config as check_training

        check_training(config.train.updated(inputs=("trees",)))


def _look(run: Run) -> Found:
    """Read the inputs once and return their contents.

    Raises:
        UsageError: there are no nucleotides to translate.
        BadInputError: an input cannot be read, or an id or a family occurs twice.
    """
    config, found = run.config, Found()
    check = NucleotideCheck(config.alphabet, TRANSLATE)
    if config.translate and run.files:
        inputs = (read_sequences(file, on_duplicate=config.align.on_duplicate, report=False) for file in run.files)
        check_translatable(inputs, ", ".join(map(str, run.files)))
    if config.group:
        grouping = config.grouping
        read = read_sequences(list(run.files), on_duplicate=grouping.on_duplicate, genetic_code=grouping.code)
        _count_sequences(check.sequences(read), found)
        return found
    settings = Settings(config.align.hmm, config.align.seed_alignment)
    seen: dict[str, str] = {}
    labels: set[str] = set()

    def add(family: Family) -> None:
        if family.label in labels:
            raise BadInputError(f"the family {family.label} occurs twice", fix="name each family once")
        for name in family.ids:
            if seen.setdefault(name, family.label) != family.label:
                raise shared_member(name, seen[name], family.label)
        labels.add(family.label)
        found.families.append(Size(family.label, family.clan, len(family)))
        if not has_profile(family, settings):
            found.de_novo.append(family.label)

    for file in run.files:
        families = read_families(file, on_duplicate=config.align.on_duplicate, genetic_code=config.align.code)
        for family in check.families(families):
            add(family)
    store = Store(run.store)
    for name in config.families:
        accession = name.split(".")[0]
        if Path(name) in run.files:
            continue
        if accession in store:
            add(store.read(accession))
        else:
            found.to_fetch.append(name)
    return found


def _count_sequences(sequences: Iterator[Sequence], found: Found) -> None:
    """Count the sequences that are to be grouped; set `alike` if they are all near-duplicates of the first."""
    first = next(sequences, None)
    if first is None:
        return
    found.sequences, found.alike = 1, True
    while block := list(itertools.islice(sequences, _BLOCK)):
        found.sequences += len(block)
        if found.alike:
            identities = nearest_identity([sequence.residues for sequence in block], [first.residues])
            found.alike = bool((identities >= NEAR_DUPLICATE).all())
    found.alike = found.alike and found.sequences > 1


def _check_aligner(config: RunConfig, families: list[str]) -> None:
    """Check that families without an alignment or profile can be aligned.

    Raises:
        UsageError: the engine is `profile`.
        MissingDependencyError: FAMSA is not installed.
    """
    if config.align.engine == "profile":
        raise UsageError(
            f"{families[0]} is not aligned, and the engine 'profile' has no profile for it",
            fix="omit [align] engine, or give [align] hmm or seed_alignment",
        )
    try:
        import pyfamsa  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{families[0]} is not aligned, and FAMSA is not installed",
            fix="pip install '.[famsa]', or --group, which aligns to profiles of the families that it finds",
        ) from error


def _contrasts(config: RunConfig) -> bool:
    """Return whether the objective uses other pairs of a batch as negatives, and so needs unrelated families."""
    from phylocli.critics import build_critic
    from phylocli.objectives import build_objective

    chosen = config.train.objective, config.train.critic
    critic = build_critic(chosen[1].name, 2, chosen[1].parameters)
    objective = build_objective(chosen[0].name, critic, chosen[0].parameters, dimension=2, features=2)
    return requirements_of(objective).negatives and config.train.batch.negatives != "pair"


__all__ = ["Found", "Size", "check_families", "check_run", "describe", "shared_member", "sizes_of"]
