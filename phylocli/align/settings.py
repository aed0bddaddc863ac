"""Input settings and output of an aligner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from phylocli.formats.streams import PathLike


@dataclass(frozen=True)
class Settings:
    """How families are aligned.

    Attributes:
        hmm: file of profile HMMs (HMMER3), one for all families or one for each by accession or name.
        seed_alignment: file of alignments to build HMMs from, selected in the same way.
        store: folder of the store, whose profiles are used if `hmm` and `seed_alignment` are not given; None: not used.
        threads: CPU threads; 0 uses all cores.
    """

    hmm: PathLike | None = None
    seed_alignment: PathLike | None = None
    store: PathLike | None = None
    threads: int = 0


class Aligned(NamedTuple):
    """The output of an aligner: one row per member, in their order, the match columns, and a description."""

    rows: list[str]
    reference: str
    description: str
