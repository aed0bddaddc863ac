"""Alignment of every member to the family's profile HMM (HMMER's hmmalign, via pyhmmer).

Eddy, PLoS Comput. Biol. 7:e1002195 (2011), doi:10.1371/journal.pcbi.1002195; Larralde & Zeller, Bioinformatics 39:btad214
(2023), doi:10.1093/bioinformatics/btad214. Members are aligned independently, so time and memory are linear in their number,
and adding members does not change existing rows.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.align.settings import Aligned, Settings
from phylocli.core.errors import BadInputError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.hmm import read_hmms
from phylocli.formats.provenance import versions
from phylocli.formats.streams import PathLike
from phylocli.hmmer import align_to, build_hmm
from phylocli.store import Store

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM


def align(family: Family, settings: Settings) -> Aligned:
    """Return the members' rows, aligned to the family's HMM.

    The HMM is the first available of: `settings.hmm`, one built from `settings.seed_alignment`, the profile in the store,
    one built from the family's own alignment.

    Raises:
        BadInputError: no HMM and no alignment to build one from, or files that are not protein HMMs or alignments.
    """
    hmm, origin = _profile(family, settings)
    rows, reference = align_to(hmm, [sequence.residues for sequence in family.sequences()], threads=settings.threads)
    return Aligned(rows, reference, f"hmmalign, pyhmmer {versions()['pyhmmer']}, {origin} of {hmm.M} match states")


def has_profile(family: Family, settings: Settings) -> bool:
    """Return whether there is an HMM for a family, or an alignment to build one from."""
    if settings.hmm is not None or settings.seed_alignment is not None or family.aligned:
        return True
    stored = settings.store is not None and family.accession
    return bool(stored and Store(settings.store).profile_path(family.accession).is_file())


def _profile(family: Family, settings: Settings) -> tuple[HMM, str]:
    """Return the family's HMM and its source."""
    if settings.hmm is not None:
        return _pick(family, _hmms(str(settings.hmm)), settings.hmm, "HMM"), f"HMM {Path(settings.hmm).name}"
    if settings.seed_alignment is not None:
        return _pick(
            family, _seeds(str(settings.seed_alignment)), settings.seed_alignment, "alignment"
        ), "HMM built from a seed"
    if settings.store is not None and family.accession:
        path = Store(settings.store).profile_path(family.accession)
        if path.is_file():
            return _pick(family, _hmms(str(path)), path, "HMM"), "HMM of the store"
    if len({len(row) for row in family.rows}) == 1:
        return build_hmm(family.as_aligned()), "HMM built from the record's alignment"
    raise BadInputError(
        f"{family.label} is not aligned and has no profile HMM to align to",
        why="the engine 'profile' needs the family's HMM, or an alignment of some members to build one from",
        fix="give --hmm FILE or --seed-alignment FILE, or align de novo with --engine famsa",
    )


@functools.lru_cache(maxsize=2)
def _seeds(path: PathLike) -> dict[str, HMM]:
    """Return HMMs built from the alignments of a file, by accession and by name."""
    found: dict[str, HMM] = {}
    for number, seed in enumerate(read_families(path)):
        hmm = build_hmm(seed.as_aligned())
        found.update({key: hmm for key in (seed.accession, seed.name) if key})
        found.setdefault(f"#{number}", hmm)
    return found


def read_profiles(path: PathLike) -> dict[str, HMM]:
    """Return the HMMs of a file by accession (without version) and by name.

    Raises:
        BadInputError: the file cannot be read, is not in HMMER's format, or has an HMM with another alphabet.
    """
    found: dict[str, HMM] = {}
    for hmm in read_hmms(path):
        found[hmm.name] = hmm
        if hmm.accession:
            found[hmm.accession.split(".")[0]] = hmm
    if not found:
        raise BadInputError(f"{path} has no HMM", fix="give a profile in the text format of HMMER 3, as hmmbuild writes it")
    return found


_hmms = functools.lru_cache(maxsize=2)(read_profiles)


def _pick(family: Family, known: dict[str, HMM], path: PathLike, what: str) -> HMM:
    for key in (family.accession, family.name):
        if key and key in known:
            return known[key]
    different = {id(value): value for value in known.values()}
    if len(different) == 1:
        return next(iter(different.values()))
    raise BadInputError(
        f"{path} has no {what} for {family.label}",
        why=f"none of its {len(different)} has the family's accession or name",
        fix=f"give a file with one {what}, or one with the family's name",
    )
