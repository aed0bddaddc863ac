"""Options of `phylocli align`: how the sequences of a family are aligned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from phylocli.config._translation import TranslationConfig
from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Fraction, OnDuplicate, Threads
from phylocli.core.plugins import ALIGNERS


class AlignConfig(ParallelConfig, TranslationConfig):
    """How the sequences of each family are aligned."""

    table: ClassVar[str] = "align"

    engine: Annotated[str, Cli(values=ALIGNERS.names, formerly=("method",))] = "auto"
    """Align to a profile HMM of the family, de novo by FAMSA, or not at all; auto uses a profile if there is one, or an
    alignment to build it from, else FAMSA."""
    hmm: Annotated[Path | None, Cli()] = None
    """Profile HMMs (HMMER 3): one, or one for each family by accession or name."""
    seed_alignment: Annotated[Path | None, Cli()] = None
    """Build the HMM from this alignment (Stockholm or aligned FASTA)."""
    trim: Annotated[str, Cli(metavar="none|match|gappy=X", also=("none", "match", "gappy=0.9"))] = "none"
    """Columns to keep: all, match columns only, or (gappy=0.9) those with at most 90 % gaps."""
    min_coverage: Annotated[Fraction, Cli(metavar="X")] = 0.0
    """Remove members with residues in a smaller fraction of the match columns."""
    on_duplicate: OnDuplicate = "error"
    threads: Threads = 0
