"""Pairs of views for the experiments: halves of aligned domains, pairs of homologs, or halves of profiles of a few members.

As the upper and lower halves of an image (Tschannen et al. 2020), the halves of a domain share its family, and differ in
all else. Two homologs differ by what evolution has changed since their last common ancestor. All views are continuous: a
half, or a whole domain, is divided into bins of match columns, and a bin's features are the frequencies of the 20 amino
acids in its columns, in one sequence or in the mean of a few members.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.config.infomax import SHOTS, InfomaxConfig
from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats import Family, read_families
from phylocli.formats.streams import PathLike, atomic_path
from phylocli.objectives import Batch

logger = logging.getLogger(__name__)

VERSION = 2
"""Raised by any change that changes the views of the same families."""
BINS = 4
"""Bins of a view."""
LETTERS = len(AMINO_ACIDS)
FEATURES = BINS * LETTERS
COVERED = 0.3
"""Minimum fraction of the columns of each half in which a member has residues."""
HELD_OUT = 0.25
"""Fraction of the members of each training family on which information is estimated."""
FEWEST = 8
"""Minimum number of members of a family."""
GROUP = 3
"""Members of a profile."""
PARTNERS = 4
"""Training pairs that each member begins, of homologs; it begins one held-out pair."""
_INDEX = np.full(256, -1)
_INDEX[np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)] = np.arange(LETTERS)

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sampled:
    """Sampled members of a family.

    Attributes:
        group: clan of the family, or else its name.
        halves: both halves of the members, (members, 2, FEATURES).
        at: number of the family in its file.
        members: numbers of the members in the family, (members,).
    """

    group: str
    halves: Features
    at: int
    members: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Views of members on which quality is measured by family.

    Attributes:
        features: (m, FEATURES).
        family: code of their families, (m,).
        is_test: whether a member is in the probe's test part, (m,).
    """

    features: Tensor
    family: npt.NDArray[np.int64]
    is_test: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """Pairs of views, standardised by the training pairs.

    Attributes:
        train: first and second views of training pairs, (n, FEATURES) each.
        held_out: of pairs of other members of the same families.
        unseen: members of families that were not trained on.
        seen: members of training families, tested on held-out ones.
        families: codes of the families, or clans, of the views of each training pair, (n, 1) if both views have the same and
            else (n, 2); training pairs with a common code are no negatives of each other. None: all others are negatives, as
            between the halves of domains.
    """

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    unseen: Scored
    seen: Scored
    families: Tensor | None = None

    def batch(self, rows: Tensor) -> Batch:
        """Return which of these training pairs are negatives of each other."""
        found = Batch.of_pairs(len(rows))
        if self.families is not None:
            codes = self.families[rows]
            found.equal = (codes[:, None, :, None] == codes[None, :, None, :]).any(-1).any(-1)
        return found


def profile_halves(family: Family) -> Features:
    """Return both halves of the members that cover them, (members, 2, FEATURES), for an aligned family.

    Raises:
        BadInputError: the family is not aligned.
    """
    return _covering(family)[0]


def _covering(family: Family) -> tuple[Features, npt.NDArray[np.int64]]:
    """Return both halves of the members that cover them, and the numbers of these members."""
    length = int(family.match_columns().sum())
    found = np.zeros((len(family), 2 * BINS, LETTERS), dtype=np.float32)
    if length < 2 * BINS:
        return found[:0].reshape(0, 2, FEATURES), np.zeros(0, dtype=np.int64)
    for row, (sequence, columns) in enumerate(zip(family.sequences(), family.match_positions(), strict=True)):
        letters = _INDEX[np.frombuffer(sequence.residues.encode(), dtype=np.uint8)]
        known = (columns >= 0) & (letters >= 0)
        np.add.at(found[row], (columns[known] * 2 * BINS // length, letters[known]), 1.0)
    sizes = np.bincount(np.arange(length) * 2 * BINS // length, minlength=2 * BINS)
    covered = found.sum(2).reshape(-1, 2, BINS).sum(2) / sizes.reshape(2, BINS).sum(1)
    profiles = np.asarray(found / sizes[:, None], dtype=np.float32).reshape(-1, 2, FEATURES)
    kept = np.flatnonzero((covered >= COVERED).all(1))
    return profiles[kept], kept


def whole_domains(halves: Features) -> Features:
    """Return the features of whole domains, (members, FEATURES), in bins twice as wide as those of halves."""
    return np.asarray(halves.reshape(-1, BINS, 2, LETTERS).mean(2).reshape(-1, FEATURES), dtype=np.float32)


def divided(
    families: PathLike, evaluate: PathLike | None, config: InfomaxConfig, rng: np.random.Generator
) -> tuple[list[Sampled], list[Sampled], list[Family]]:
    """Return random families for training and for quality, without a common clan, and the records of the first ones' file.

    With one file and fewer than all the wanted families, a third of them are for quality, or `scored_families`.

    Args:
        families: Stockholm records, aligned.
        evaluate: other families, on which quality is measured; None: some of `families`, which are then not trained on.
        config: numbers of families and members.
        rng: random numbers.

    Raises:
        BadInputError: too few families or members, a family that is not aligned, or one that is in both files.
    """
    count, members, scored = config.training_families, config.members, config.scored_families
    records = list(read_families(families))
    if evaluate is None:
        first, others = _divided(_usable(records, members, rng), count, scored)
    else:
        elsewhere = list(read_families(evaluate))
        _check_disjoint(families, records, evaluate, elsewhere)
        first = list(itertools.islice(_usable(records, members, rng), count))
        others = list(itertools.islice(_usable(elsewhere, members, rng), scored))
        if clans := {family.group for family in first if family.group} & {family.group for family in others}:
            logger.warning(
                f"{counted(len(clans), 'clan')} of the training families also in {evaluate}, such as {min(clans)}; "
                "quality on unseen families is then too high"
            )
    if len(first) < 2 or len(others) < 2:
        raise BadInputError(
            f"{families}: {len(first)} families for training and {len(others)} for measuring quality",
            why=f"at least two of each are needed, with {FEWEST} members that cover both halves, and without a common clan",
            fix="give more families, or others with --evaluate",
        )
    return first, others, records


def data_path(kind: str, folder: Path, config: InfomaxConfig, *sources: PathLike | None) -> Path:
    """Return the file of data of a kind, whose name depends on the contents of the sources and on the options."""
    sizes = f"{VERSION} {config.training_families} {config.members} {config.scored_families}"
    digest = hashlib.sha256(sizes.encode())
    for source in sources:
        if source is not None:
            with Path(source).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return folder / f"{kind}-{digest.hexdigest()[:12]}.npz"


def make_pairs(families: PathLike, evaluate: PathLike | None, folder: Path, config: InfomaxConfig) -> Path:
    """Write the pairs of `config.input` of a random sample of families, and return the file; one that exists is kept.

    Args:
        families, evaluate: as for `divided`.
        folder: of the file.
        config: the kind of input, and the numbers of families and members. The same members are sampled for all kinds.

    Raises:
        BadInputError: as for `divided`.
    """
    kind = config.input
    path = data_path(kind, folder, config, families, evaluate)
    if path.is_file():
        return path
    rng = np.random.default_rng(0)
    training, others, _ = divided(families, evaluate, config, rng)
    held = [rng.random(len(family.halves)) < HELD_OUT for family in training]
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, inside in (("train", False), ("held_out", True)):
        partners = 1 if inside else PARTNERS
        kept = [family.halves[out == inside] for family, out in zip(training, held, strict=True)]
        parts = [_paired(kind, halves, partners, rng) for halves in kept]
        arrays[name] = np.concatenate(parts)
        if not inside:
            arrays["train_family"] = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    arrays |= scored_arrays(kind, families, training[: config.scored_families], held, others, rng)
    write_arrays(path, arrays)
    logger.info(
        f"{counted(len(training), 'family')} with {len(arrays['train']):,} pairs for training; quality on "
        f"{len(arrays['unseen_features']):,} members of {counted(len(others), 'family')}"
    )
    return path


def _paired(kind: str, halves: Features, partners: int, rng: np.random.Generator) -> Features:
    """Return the pairs of views of members of one family, (pairs, 2, FEATURES), from their halves.

    Of homologs, each member begins as many pairs as it has partners.
    """
    n = len(halves)
    if kind == "profiles":
        return _grouped(halves, rng)
    if kind == "homologs":
        whole = whole_domains(halves)
        first = np.repeat(np.arange(n if n > 1 else 0), partners)
        second = (first + rng.integers(1, max(n, 2), len(first))) % max(n, 1)
        return np.stack([whole[first], whole[second]], axis=1)
    return halves


def _grouped(halves: Features, rng: np.random.Generator) -> Features:
    """Return the mean of each member and up to `GROUP` - 1 random others, in the shape of the members."""
    orders = [[k for k in rng.permutation(len(halves)) if k != i] for i in range(len(halves))]
    means = [halves[[i, *order[: GROUP - 1]]].mean(0) for i, order in enumerate(orders)]
    return np.asarray(means, dtype=np.float32).reshape(halves.shape)


def scored_arrays(
    kind: str,
    families: PathLike,
    training: Sequence[Sampled],
    held: Sequence[npt.NDArray[np.bool_]],
    others: Sequence[Sampled],
    rng: np.random.Generator,
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of `Scored` for unseen and for seen families.

    Raises:
        BadInputError: too few members.
    """
    labelled = SHOTS * (GROUP if kind == "profiles" else 1)
    parts = {
        "unseen": [(family.halves[:labelled], family.halves[labelled:]) for family in others],
        "seen": [(f.halves[~out][:labelled], f.halves[out]) for f, out in zip(training, held, strict=False)],
    }
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, both in parts.items():
        # Of the shots, the first `SHOTS` groups have no member in common.
        views = [(_first_views(kind, shots, rng, GROUP), _first_views(kind, tests, rng, 1)) for shots, tests in both]
        arrays |= _scored(name, views)
        family, is_test = arrays[f"{name}_family"], arrays[f"{name}_is_test"]
        if len(np.unique(family[~is_test])) < 2 or is_test.sum() < 2:
            raise BadInputError(
                f"{families}: too few members to measure quality on {name} families",
                why=f"a quarter of the members of training families is held out, and {labelled} members train the probe",
                fix="give more families, or raise --members",
            )
    return arrays


def _first_views(kind: str, halves: Features, rng: np.random.Generator, step: int) -> Features:
    """Return the first view of each member, (members, FEATURES); of profiles, one of every `step` successive members."""
    if kind == "homologs":
        return whole_domains(halves)
    if kind == "profiles" and step > 1:
        return np.stack([part.mean(0) for part in np.split(halves, range(step, len(halves), step))])[:, 0]
    return _grouped(halves, rng)[:, 0] if kind == "profiles" else halves[:, 0]


def write_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Write arrays as NPZ."""
    with atomic_path(path) as part, part.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _usable(records: Sequence[Family], members: int, rng: np.random.Generator) -> Iterator[Sampled]:
    """Yield families with enough members, in random order, each with up to `members` random members."""
    for at in rng.permutation(len(records)):
        halves, rows = _covering(records[at])
        if len(halves) >= FEWEST:
            family, chosen = records[at], rng.permutation(len(halves))[:members]
            yield Sampled(family.clan or family.accession or family.name, halves[chosen], int(at), rows[chosen])


def _divided(usable: Iterator[Sampled], count: int, scored: int) -> tuple[list[Sampled], list[Sampled]]:
    """Return families for training and for quality, without a common clan.

    A clan joins the part that has the smaller fraction of its families, as long as it has room.
    """
    found = list(itertools.islice(usable, count + scored))
    if len(found) < count + scored:
        count = min(count, len(found) - min(scored, len(found) // 3))
        scored = min(scored, len(found) - count)
    parts: tuple[list[Sampled], list[Sampled]] = ([], [])
    wanted = (max(count, 1), max(scored, 1))
    side: dict[str, int] = {}
    for family in itertools.chain(found, usable):
        emptier = int(len(parts[1]) * wanted[0] < len(parts[0]) * wanted[1])
        at = side.setdefault(family.group, emptier) if family.group else emptier
        if len(parts[at]) < wanted[at]:
            parts[at].append(family)
        if all(len(part) == most for part, most in zip(parts, wanted, strict=True)):
            break
    return parts


def _check_disjoint(families: PathLike, ours: Sequence[Family], evaluate: PathLike, theirs: Sequence[Family]) -> None:
    names = {family.accession or family.name for family in ours} - {""}
    if shared := sorted(names & {family.accession or family.name for family in theirs}):
        raise BadInputError(
            f"{evaluate}: {counted(len(shared), 'family')} also in {families}, such as {shared[0]}",
            why="quality on families that were trained on says nothing about others",
            fix="remove them from one of the files",
        )


def _scored(name: str, families: list[tuple[Features, Features]]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of `Scored` for families of a training and a test part."""
    parts = [part for family in families for part in family]
    sizes = [len(part) for part in parts]
    return {
        f"{name}_features": np.concatenate(parts),
        f"{name}_family": np.repeat(np.arange(len(parts)) // 2, sizes),
        f"{name}_is_test": np.repeat(np.arange(len(parts)) % 2 == 1, sizes),
    }


def scored_part(name: str, arrays: dict[str, npt.NDArray[Any]], mean: Tensor, scale: Tensor) -> Scored:
    """Return the members of a part on which quality is measured, standardised."""
    features = (torch.from_numpy(arrays[f"{name}_features"]) - mean) / scale
    return Scored(features, arrays[f"{name}_family"], arrays[f"{name}_is_test"])


@functools.lru_cache(maxsize=2)
def read_pairs(path: Path) -> Pairs:
    """Return the pairs of a file of `make_pairs`."""
    with np.load(path) as stored:
        arrays = dict(stored)
    train = torch.from_numpy(arrays["train"])
    mean, scale = train.mean(0), train.std()  # one scale for all features keeps their geometry
    if path.name.startswith("homologs"):  # either member may be the first
        mean = mean.mean(0).expand(2, -1)

    def standard(x: Features) -> tuple[Tensor, Tensor]:
        both = (torch.from_numpy(x) - mean) / scale
        return both[:, 0].contiguous(), both[:, 1].contiguous()

    families = None if path.name.startswith("halves") else torch.from_numpy(arrays["train_family"])[:, None]
    unseen, seen = (scored_part(name, arrays, mean[0], scale) for name in ("unseen", "seen"))
    return Pairs(standard(arrays["train"]), standard(arrays["held_out"]), unseen, seen, families)
