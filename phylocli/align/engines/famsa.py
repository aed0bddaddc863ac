"""De novo alignment with FAMSA (pyfamsa): needs no profile, fast up to 100,000 sequences.

Deorowicz, Debudaj-Grabysz & Gudyś, Sci. Rep. 6:33964 (2016), doi:10.1038/srep33964. Optional:
`pip install '.[famsa]'`.
"""

from __future__ import annotations

import numpy as np

from phylocli.align.settings import Aligned, Settings
from phylocli.core.errors import MissingDependencyError, PhylocliError
from phylocli.formats.family import Family
from phylocli.hmmer import plain, restore

OCCUPANCY = 0.5
"""Columns in which at least this fraction of members have a residue are match states, as in HMMER's `symfrac`."""


def align(family: Family, settings: Settings) -> Aligned:
    """Return the aligned rows of the members.

    Raises:
        MissingDependencyError: pyfamsa is not installed.
        PhylocliError: FAMSA failed.
    """
    try:
        import pyfamsa
    except ImportError as error:
        raise MissingDependencyError(
            "the engine famsa needs pyfamsa", why=str(error), fix="pip install '.[famsa]', or use --engine profile"
        ) from error
    sequences = [sequence.residues for sequence in family.sequences()]
    description = f"FAMSA, pyfamsa {pyfamsa.__version__}"
    if len(sequences) == 1:
        return Aligned(sequences, "x" * len(sequences[0]), description)
    aligner = pyfamsa.Aligner(threads=settings.threads)
    try:
        found = aligner.align(pyfamsa.Sequence(str(i).encode(), plain(s).encode()) for i, s in enumerate(sequences))
    except (RuntimeError, ValueError) as error:
        raise PhylocliError(f"{family.label}: FAMSA failed", why=str(error), fix="use --engine profile") from error
    rows = [""] * len(sequences)
    for row in found:
        rows[int(row.id)] = row.sequence.decode()
    match = _match_columns(rows)
    rows = [restore(_cased(row, match), sequence) for row, sequence in zip(rows, sequences, strict=True)]
    return Aligned(rows, "".join("x" if m else "." for m in match), description)


def _match_columns(rows: list[str]) -> list[bool]:
    letters = np.frombuffer("".join(rows).encode(), dtype=np.uint8).reshape(len(rows), -1)
    occupied: list[bool] = ((letters != ord("-")).mean(axis=0) >= OCCUPANCY).tolist()
    return occupied if any(occupied) else [True] * len(occupied)


def _cased(row: str, match: list[bool]) -> str:
    """Return a row with insert columns in lower case and their gaps as `.`."""
    return "".join(c if m else "." if c == "-" else c.lower() for c, m in zip(row, match, strict=True))
