"""What an aligner is given, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from phylocli.formats.streams import PathLike


@dataclass(frozen=True)
class Settings:
    """How families are aligned.

    Attributes:
        hmm: file of profile HMMs (HMMER3), one for all families or one for each by accession or name.
        seed_alignment: file of alignments that HMMs are built from, likewise.
        store: the store's folder, whose profiles serve where `hmm` and `seed_alignment` are not given; None looks nowhere.
        threads: CPU threads; 0 takes all.
    """

    hmm: PathLike | None = None
    seed_alignment: PathLike | None = None
    store: PathLike | None = None
    threads: int = 0


class Aligned(NamedTuple):
    """What an aligner returns: one row a member, in their order, which columns are match states, and how it was done."""

    rows: list[str]
    reference: str
    description: str
