"""Scores of single generated sequences: by the profile of their family, and against the members of training.

A sequence is a member of its family by Pfam's criterion if its bit score, of HMMER's hmmsearch without filters, reaches the
family's gathering threshold (Mistry et al. 2021, Nucleic Acids Res. 49:D412, doi:10.1093/nar/gkaa913).
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.config.generate import MIN_BITS
from phylocli.core.alphabet import MISSING, encode_states
from phylocli.core.errors import BadInputError, unknown_name
from phylocli.core.words import counted
from phylocli.formats import Family, Sequence, read_families
from phylocli.formats.hmm import read_hmms
from phylocli.formats.streams import PathLike
from phylocli.hmmer import SearchOptions, align_to, build_hmm, hmmsearch
from phylocli.statistics.identity import identity

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM

logger = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
States = npt.NDArray[np.uint8]

CANDIDATES = 5
"""Members of training that are aligned with a sequence to find the nearest."""


@dataclass(frozen=True)
class Scored:
    """A sequence as a member of a family.

    Attributes:
        bits: of hmmsearch; 0 where it finds no domain.
        threshold: of the family, in bits.
        nearest: id of the nearest member of training.
        identity: with it, identical residues of a global alignment as a fraction of the longer sequence.
        copied: whether it is a part of a member of training, or equal to one.
    """

    bits: float
    threshold: float
    nearest: str
    identity: float
    copied: bool

    @property
    def above(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.bits >= self.threshold

    def describe(self) -> str:
        """Return the columns of a FASTA header."""
        return (
            f"bits={self.bits:.1f} threshold={self.threshold:.1f} above_threshold={'yes' if self.above else 'no'} "
            f"nearest={self.nearest} nearest_identity={self.identity:.4f} copied={'yes' if self.copied else 'no'}"
        )


@dataclass(frozen=True)
class FamilyProfile:
    """A family's profile HMM, the threshold of its members, and the members of training.

    Attributes:
        label: accession or name of the family.
        hmm: its profile.
        threshold: bits.
        gathering: whether the threshold is the family's gathering threshold, or the default.
        members: of training.
    """

    label: str
    hmm: HMM
    threshold: float
    gathering: bool
    members: list[Sequence]

    @classmethod
    def of(cls, family: Family, hmm: HMM | None = None, min_bits: float = MIN_BITS) -> FamilyProfile:
        """Return the profile of an aligned family of training members.

        Args:
            family: the members.
            hmm: its profile, such as Pfam's; None builds one from the alignment.
            min_bits: threshold if neither the profile nor a line `#=GF GA` has a gathering threshold.

        Raises:
            BadInputError: the family is not aligned, or HMMER cannot build a profile from it.
        """
        profile = hmm if hmm is not None else build_hmm(family)
        gathering = _gathering(family, profile)
        threshold = min_bits if gathering is None else gathering
        return cls(family.label, profile, threshold, gathering is not None, family.sequences())

    @cached_property
    def states(self) -> States:
        """Residues of the training members at the match states, see `match_states`."""
        return self.match_states([member.residues for member in self.members])

    def match_states(self, letters: SequenceOf[str]) -> States:
        """Return the residues of sequences at the match states of the profile, shape (n, M): 0–19, or `MISSING`."""
        if not letters:
            return np.zeros((0, self.hmm.M), dtype=np.uint8)
        rows, reference = align_to(self.hmm, letters, threads=1)
        return encode_states(rows)[:, [c != "." for c in reference]]

    def match_rows(self, letters: SequenceOf[str]) -> list[tuple[str, list[int]]]:
        """Return each sequence with the position of its residue at each match state, −1 for a gap."""
        rows, reference = align_to(self.hmm, letters, threads=1)
        found = []
        for text, row in zip(letters, rows, strict=True):
            residue = np.array([c not in "-." for c in row])
            places = np.where(residue, np.cumsum(residue) - 1, -1)
            found.append((text, places[[c == "x" for c in reference]].tolist()))
        return found

    def bits(self, letters: SequenceOf[str]) -> FloatArray:
        """Return the bit scores of sequences, (n,); 0 where HMMER finds no domain."""
        found = np.zeros(len(letters))
        if letters:
            (hits,) = hmmsearch([self.hmm], letters, SearchOptions(evalue=math.inf, filters=False))
            found[hits.target] = hits.score
        return found

    def score(self, letters: SequenceOf[str]) -> list[Scored]:
        """Return the scores of sequences."""
        bits = self.bits(letters)
        nearest = [self._nearest(text, states) for text, states in zip(letters, self.match_states(letters), strict=True)]
        whole = "\n".join(member.residues for member in self.members)
        return [
            Scored(float(value), self.threshold, member, alike, text in whole)
            for text, value, (member, alike) in zip(letters, bits, nearest, strict=True)
        ]

    def _nearest(self, letters: str, states: States) -> tuple[str, float]:
        """Return id and identity of the nearest training member, among those most alike at the match states."""
        alike = ((self.states == states) & (states != MISSING)).sum(axis=1)
        candidates = np.argsort(-alike, kind="stable")[:CANDIDATES]
        found = [(identity(letters, self.members[k].residues, of="longer"), -k) for k in candidates.tolist()]
        best, place = max(found)
        return self.members[-place].id, best


def read_profiles(
    families: Iterable[Family], hmms: PathLike | None = None, min_bits: float = MIN_BITS
) -> dict[str, FamilyProfile]:
    """Return the profiles of families of training members by label.

    Args:
        families: aligned.
        hmms: a file of HMMER3 profiles, found by accession or name; None, or where it has none, a profile is built.
        min_bits: threshold of families without a gathering threshold.

    Raises:
        BadInputError: a file cannot be read, or a family is not aligned.
    """
    known = {} if hmms is None else _by_name(read_hmms(hmms))
    found: dict[str, FamilyProfile] = {}
    for family in families:
        hmm = next((known[name] for name in (family.accession, family.name) if name and name in known), None)
        found[family.label] = FamilyProfile.of(family, hmm, min_bits)
    stated = sum(not profile.gathering for profile in found.values())
    if stated:
        logger.info(f"{counted(stated, 'family')} without a gathering threshold: {min_bits:g} bits")
    return found


_FAMILY = re.compile(r"(?:^|\s)family=(\S+)")
_SPACE = re.compile(r"\s+")


def in_header(label: str) -> str:
    """Return the label of a family as it is in ids and headers: without white space, which would end it."""
    return _SPACE.sub("_", label.strip())


def family_of(
    sequence: Sequence,
    profiles: Mapping[str, FamilyProfile],
    left_out: Mapping[str, str] | None = None,
    *,
    where: str = "",
) -> str:
    """Return the label of the family that a generated sequence's header names (`family=NAME`), else of that whose profile
    gives it the highest bit score.

    Args:
        sequence: a generated sequence.
        profiles: of families by label.
        left_out: why other families have no profile, by label.
        where: beginning of messages.

    Raises:
        BadInputError: there is no profile of the family in the header; with the reason, if `left_out` has one.
    """
    named = _FAMILY.search(sequence.description)
    if named is None:
        return max(profiles, key=lambda label: profiles[label].bits([sequence.residues])[0])
    written = {in_header(label): label for label in profiles}
    if named[1] not in written:
        reason = {in_header(label): reason for label, reason in (left_out or {}).items()}.get(named[1])
        if reason is not None:
            raise BadInputError(
                f"{where}{sequence.id} is of {named[1]}, with which it cannot be compared",
                why=f"{named[1]} {reason}",
                fix="leave its sequences out, or give a split that holds out some of its members",
            )
        error = unknown_name(f"{where}{sequence.id} is of an unknown family,", named[1], written, most=10)
        raise BadInputError(error.what, fix=f"give the family records that the model was trained on; {error.fix}") from error
    return written[named[1]]


def score_sequences(sequences: Iterable[Sequence], profiles: Mapping[str, FamilyProfile]) -> Iterator[Sequence]:
    """Yield sequences with their scores in the description: of the family there, else of that with the highest score."""
    for sequence in sequences:
        label = family_of(sequence, profiles)
        (scored,) = profiles[label].score([sequence.residues])
        family = "" if _FAMILY.search(sequence.description) else f"family={in_header(label)}"
        about = [sequence.description, family, scored.describe()]
        yield Sequence(sequence.id, sequence.residues, " ".join(part for part in about if part))


def families_by_label(source: PathLike) -> dict[str, Family]:
    """Return the aligned families of a file by label.

    Raises:
        BadInputError: it cannot be read, a family is not aligned, or two have one label.
    """
    found: dict[str, Family] = {}
    for family in read_families(source):
        if in_header(family.label) in map(in_header, found):
            raise BadInputError(
                f"{source}: two families are called {family.label!r}",
                why="headers of sequences name the family by its accession or, without one, its name",
                fix="give each record an accession (#=GF AC) of its own",
            )
        found[family.label] = family
    loose = next((family for family in found.values() if not family.aligned), None)
    if loose is not None:
        raise BadInputError(
            f"{source}: {loose.label} is not aligned",
            why="scores need a profile of the family",
            fix="align it first with 'phylocli align'",
        )
    return found


def _gathering(family: Family, hmm: HMM) -> float | None:
    """Return the gathering threshold of whole sequences in bits, of the profile or of the record."""
    gathering = hmm.cutoffs.gathering1
    if gathering is not None:
        return float(gathering)
    text = next((text for tag, text in family.features if tag == "GA"), "")
    try:
        return float(text.replace(";", " ").split()[0])
    except (IndexError, ValueError):
        return None


def _by_name(hmms: Iterable[HMM]) -> dict[str, HMM]:
    found: dict[str, HMM] = {}
    for hmm in hmms:
        for name in (hmm.name, (hmm.accession or "").split(".")[0]):
            if name:
                found[name] = hmm
    return found
