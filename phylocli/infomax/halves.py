"""The two halves of aligned domains as continuous profiles: the two views of most experiments.

As the upper and lower halves of an image (Tschannen et al. 2020), the halves of a domain share its family, and differ in
all else. A half is divided into bins of match columns; a bin's features are the frequencies of the 20 amino acids in its
columns.
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

from phylocli.config.infomax import SHOTS
from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats import Family, read_families
from phylocli.formats.streams import PathLike, atomic_path

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised by any change that changes the halves of the same families."""
BINS = 4
"""Bins of a half."""
LETTERS = len(AMINO_ACIDS)
FEATURES = BINS * LETTERS
COVERED = 0.3
"""Minimum fraction of the columns of each half in which a member has residues."""
HELD_OUT = 0.25
"""Fraction of the members of each training family on which information is estimated."""
FEWEST = 8
"""Minimum number of members of a family."""
_INDEX = np.full(256, -1)
_INDEX[np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)] = np.arange(LETTERS)

Profiles = tuple[str, npt.NDArray[np.float32]]
"""Clan of a family, or else its name, and the halves of its members."""


@dataclass(frozen=True)
class Scored:
    """First halves of members on which quality is measured by family.

    Attributes:
        halves: (m, FEATURES).
        family: code of their families, (m,).
        is_test: whether a member is in the probe's test part, (m,).
    """

    halves: Tensor
    family: npt.NDArray[np.int64]
    is_test: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Halves:
    """Pairs of halves, standardised by the training pairs.

    Attributes:
        train: first and second halves of training members, (n, FEATURES) each.
        held_out: of other members of the same families.
        unseen: members of families that were not trained on.
        seen: members of training families, tested on held-out ones.
    """

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    unseen: Scored
    seen: Scored


def profile_halves(family: Family) -> npt.NDArray[np.float32]:
    """Return both halves of the members that cover them, (members, 2, FEATURES), for an aligned family.

    Raises:
        BadInputError: the family is not aligned.
    """
    length = int(family.match_columns().sum())
    found = np.zeros((len(family), 2 * BINS, LETTERS), dtype=np.float32)
    if length < 2 * BINS:
        return found[:0].reshape(0, 2, FEATURES)
    for row, (sequence, columns) in enumerate(zip(family.sequences(), family.match_positions(), strict=True)):
        letters = _INDEX[np.frombuffer(sequence.residues.encode(), dtype=np.uint8)]
        known = (columns >= 0) & (letters >= 0)
        np.add.at(found[row], (columns[known] * 2 * BINS // length, letters[known]), 1.0)
    sizes = np.bincount(np.arange(length) * 2 * BINS // length, minlength=2 * BINS)
    covered = found.sum(2).reshape(-1, 2, BINS).sum(2) / sizes.reshape(2, BINS).sum(1)
    profiles = (found / sizes[:, None].astype(np.float32)).reshape(-1, 2, FEATURES)
    return profiles[(covered >= COVERED).all(1)]


def make_halves(
    families: PathLike, evaluate: PathLike | None, folder: Path, *, count: int, members: int, scored: int
) -> Path:
    """Write the halves of a random sample of families, and return the file; one that exists is kept.

    With one file, no clan is in both parts. With fewer than `count + scored` usable families, a third of them are for
    quality, or `scored`.

    Args:
        families: Stockholm records, aligned.
        evaluate: other families, on which quality is measured; None: some of `families`, which are then not trained on.
        folder: of the file, whose name depends on the contents of the inputs and on the numbers.
        count: of training families.
        members: maximum members per family.
        scored: number of families on which quality is measured.

    Raises:
        BadInputError: too few families or members, a family that is not aligned, or one that is in both files.
    """
    digest = hashlib.sha256(f"{VERSION} {count} {members} {scored}".encode())
    for source in (families, *([] if evaluate is None else [evaluate])):
        with Path(source).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    path = folder / f"halves-{digest.hexdigest()[:12]}.npz"
    if path.is_file():
        return path
    rng = np.random.default_rng(0)
    records = list(read_families(families))
    if evaluate is None:
        first, others = _divided(_usable(records, members, rng), count, scored)
    else:
        elsewhere = list(read_families(evaluate))
        _check_disjoint(families, records, evaluate, elsewhere)
        first = list(itertools.islice(_usable(records, members, rng), count))
        others = list(itertools.islice(_usable(elsewhere, members, rng), scored))
        if clans := {group for group, _ in first if group} & {group for group, _ in others}:
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
    training = [part for _, part in first]
    held = [rng.random(len(part)) < HELD_OUT for part in training]
    arrays = {
        "train": np.concatenate([part[~out] for part, out in zip(training, held, strict=True)]),
        "held_out": np.concatenate([part[out] for part, out in zip(training, held, strict=True)]),
        **_scored("unseen", [(part[:SHOTS, 0], part[SHOTS:, 0]) for _, part in others]),
        **_scored(
            "seen", [(p[~out][:SHOTS, 0], p[out][:, 0]) for p, out in zip(training[:scored], held[:scored], strict=True)]
        ),
    }
    for name in ("unseen", "seen"):
        family, is_test = arrays[f"{name}_family"], arrays[f"{name}_is_test"]
        if len(np.unique(family[~is_test])) < 2 or is_test.sum() < 2:
            raise BadInputError(
                f"{families}: too few members to measure quality on {name} families",
                why=f"a quarter of the members of training families is held out, and {SHOTS} members train the probe",
                fix="give more families, or raise --members",
            )
    with atomic_path(path) as part, part.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    logger.info(
        f"{counted(len(first), 'family')} with {len(arrays['train']):,} members for training; quality on "
        f"{len(arrays['unseen_halves']):,} members of {counted(len(others), 'family')}"
    )
    return path


def _usable(records: Sequence[Family], members: int, rng: np.random.Generator) -> Iterator[Profiles]:
    """Yield families with enough members, in random order, each with up to `members` random members."""
    for at in rng.permutation(len(records)):
        part = profile_halves(records[at])
        if len(part) >= FEWEST:
            family = records[at]
            yield family.clan or family.accession or family.name, part[rng.permutation(len(part))[:members]]


def _divided(usable: Iterator[Profiles], count: int, scored: int) -> tuple[list[Profiles], list[Profiles]]:
    """Return families for training and for quality, without a common clan.

    A clan joins the part that has the smaller fraction of its families, as long as it has room.
    """
    found = list(itertools.islice(usable, count + scored))
    if len(found) < count + scored:
        count = min(count, len(found) - min(scored, len(found) // 3))
        scored = min(scored, len(found) - count)
    parts: tuple[list[Profiles], list[Profiles]] = ([], [])
    wanted = (max(count, 1), max(scored, 1))
    side: dict[str, int] = {}
    for family in itertools.chain(found, usable):
        group, _ = family
        emptier = int(len(parts[1]) * wanted[0] < len(parts[0]) * wanted[1])
        at = side.setdefault(group, emptier) if group else emptier
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


def _scored(
    name: str, families: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of `Scored` for families of a training and a test part."""
    parts = [part for family in families for part in family]
    sizes = [len(part) for part in parts]
    return {
        f"{name}_halves": np.concatenate(parts),
        f"{name}_family": np.repeat(np.arange(len(parts)) // 2, sizes),
        f"{name}_is_test": np.repeat(np.arange(len(parts)) % 2 == 1, sizes),
    }


@functools.lru_cache(maxsize=2)
def read_halves(path: Path) -> Halves:
    """Return the halves of a file of `make_halves`."""
    with np.load(path) as stored:
        arrays = dict(stored)
    train = torch.from_numpy(arrays["train"])
    mean, scale = train.mean(0), train.std()  # one scale for all features keeps their geometry

    def standard(x: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        both = (torch.from_numpy(x) - mean) / scale
        return both[:, 0].contiguous(), both[:, 1].contiguous()

    def scored(name: str) -> Scored:
        halves = (torch.from_numpy(arrays[f"{name}_halves"]) - mean[0]) / scale
        return Scored(halves, arrays[f"{name}_family"], arrays[f"{name}_is_test"])

    return Halves(standard(arrays["train"]), standard(arrays["held_out"]), scored("unseen"), scored("seen"))
