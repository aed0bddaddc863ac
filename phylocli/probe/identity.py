"""Identity of two sequences in a global alignment."""

from __future__ import annotations

from functools import cache
from typing import Any

from phylocli import alphabet


@cache
def _aligner() -> Any:
    from Bio.Align import PairwiseAligner, substitution_matrices

    aligner: Any = PairwiseAligner(mode="global", open_gap_score=-11, extend_gap_score=-1)
    aligner.substitution_matrix = substitution_matrices.load("BLOSUM62")
    aligner.end_gap_score = 0.0
    return aligner


def identity(a: str, b: str) -> float:
    """Return the share of identical residues over the shorter sequence in the best alignment of two sequences.

    BLOSUM62, 11 to open a gap and 1 to extend it, end gaps free (Biopython's PairwiseAligner). Letters that BLOSUM62 does
    not know count as X.
    """
    first, second = (_plain(text) for text in (a, b))
    if not first or not second:
        return 0.0
    best = _aligner().align(first, second)[0]
    return float(best.counts().identities / min(len(first), len(second)))


_UNKNOWN = str.maketrans("UOJ", "XXX")


def _plain(text: str) -> str:
    return alphabet.degap(text).upper().translate(_UNKNOWN)
