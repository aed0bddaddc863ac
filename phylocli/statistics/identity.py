"""Sequence identity of two sequences, or of two rows of an alignment.

Percent identity is not uniquely defined: May 2004 (Structure 12:737, doi:10.1016/j.str.2004.04.001) and Raghava & Barton
2006 (BMC Bioinformatics 7:415, doi:10.1186/1471-2105-7-415) compare four definitions, which differ in the denominator. Every
figure here says which it is: identical residues over aligned pairs of residues (their PID2), over the residues of the
shorter sequence (their PID3), or over those of the longer one. With the second, a chance overlap of a few residues does not
make a fragment a near-duplicate; with the third, a fragment is not near its whole either.

Letters are read by the policy of `phylocli.core.alphabet` (U as C, O as K). Unknown residues (X, N) are never identical to
anything.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import MISSING, decode_tokens, degap, encode_tokens


@cache
def _aligner(alphabet: str) -> Any:
    from Bio import Align

    aligner: Any = Align.PairwiseAligner(mode="global")
    if alphabet == "protein":
        aligner.substitution_matrix = Align.substitution_matrices.load("BLOSUM62")
        aligner.open_gap_score, aligner.extend_gap_score = -11, -1
    else:
        aligner.match_score, aligner.mismatch_score = 2, -3
        aligner.open_gap_score, aligner.extend_gap_score = -5, -2
    aligner.end_gap_score = 0
    return aligner


def identity(a: str, b: str, alphabet: str = "protein", *, of: Literal["aligned", "shorter", "longer"] = "aligned") -> float:
    """Return the sequence identity of two sequences in a global alignment with free end gaps, 0 to 1.

    Proteins are aligned with BLOSUM62, gap open −11 and gap extend −1; nucleotides with match 2, mismatch −3, and gaps −5
    and −2 (Biopython's `PairwiseAligner`).

    Args:
        a, b: letters; gaps are dropped.
        alphabet: `protein` or `dna`.
        of: the denominator: `aligned` pairs of residues, or the residues of the `shorter` or `longer` sequence.
    """
    first, second = (decode_tokens(encode_tokens(degap(text), alphabet), alphabet) for text in (a, b))
    if not first or not second:
        return 0.0
    unknown = "X" if alphabet == "protein" else "N"
    identical = aligned = 0
    for (start, end), (other, _) in zip(*_aligner(alphabet).align(first, second)[0].aligned, strict=True):
        aligned += int(end - start)
        pairs = zip(first[start:end], second[other : other + end - start], strict=True)
        identical += sum(x == y != unknown for x, y in pairs)
    lengths = sorted((len(first), len(second)))
    total = {"aligned": aligned, "shorter": lengths[0], "longer": lengths[1]}[of]
    return identical / total if total else 0.0


def identity_of_rows(
    a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the identity of pairs of aligned rows, and the number of aligned residues, shapes (m,).

    The identity is 0 if no column has a known residue in both.

    Args:
        a, b: states of the rows as returned by `phylocli.core.alphabet.encode_states`, shape (m, columns); gaps and unknown
        residues are missing.
    """
    both = (a != MISSING) & (b != MISSING)
    aligned = both.sum(axis=1)
    return ((a == b) & both).sum(axis=1) / np.maximum(aligned, 1), aligned
