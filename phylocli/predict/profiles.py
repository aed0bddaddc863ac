"""Predicted profiles, in the formats of HMMER and PSI-BLAST."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.formats import Sequence
from phylocli.hmmer import amino, digital_msa

ROWS = 100
"""Rows of the alignment that stands for a predicted profile: frequencies are exact to a hundredth."""

ORDER = "ARNDCQEGHILKMFPSTWYV"
"""Amino acids in the order of NCBI's matrices."""

# Robinson & Robinson 1991 (doi:10.1073/pnas.88.20.8880), the background frequencies of BLAST.
_BACKGROUND = (
    *(0.07805, 0.05129, 0.04487, 0.05364, 0.01925, 0.04264, 0.06295, 0.07377, 0.02199, 0.05142),
    *(0.09019, 0.05744, 0.02243, 0.03856, 0.05203, 0.07120, 0.05841, 0.01330, 0.03216, 0.06441),
)
LAMBDA = 0.3176
"""Scale of PSI-BLAST's scores, that of ungapped BLOSUM62: nats per unit."""

_HEADER = (
    "Last position-specific scoring matrix computed, weighted observed percentages rounded down, information per position, "
    "and relative weight of gapless real matches to pseudocounts"
)
_STATISTICS = """
                      K         Lambda
Standard Ungapped    0.1345     0.3176
Standard Gapped      0.0410     0.2670
PSI Ungapped         0.1345     0.3176
PSI Gapped           0.0410     0.2670
"""

Floats = npt.NDArray[np.floating]


def pssm_text(sequence: Sequence, probabilities: Floats) -> str:
    """Return PSI-BLAST's ASCII matrix (`-out_ascii_pssm`): log odds, percentages, information in bits.

    Scores are log(p/q) / `LAMBDA`, rounded, with BLAST's background frequencies q. The last column, the weight of observed
    residues to pseudocounts, is 1: a predicted profile has no pseudocounts.

    Args:
        sequence: of the rows.
        probabilities: of the amino acids in the order of `AMINO_ACIDS`, (L, 20).
    """
    p = np.asarray(probabilities, dtype=np.float64)[:, [AMINO_ACIDS.index(letter) for letter in ORDER]]
    background = np.array(_BACKGROUND) / sum(_BACKGROUND)
    log_odds = np.log(np.maximum(p, 1e-9) / background)
    scores = np.clip(np.rint(log_odds / LAMBDA), -16, 16).astype(int)
    bits = (p * log_odds).sum(axis=1) / np.log(2)
    percent = np.floor(100 * p + 1e-6).astype(int)
    lines = ["", _HEADER, " " * 11 + "".join(f"{c:>4}" for c in ORDER) + "".join(f"{c:>4}" for c in ORDER)]
    for k, letter in enumerate(sequence.residues):
        numbers = "".join(f"{n:4d}" for n in (*scores[k].tolist(), *percent[k].tolist()))
        lines.append(f"{k + 1:5d} {letter}    {numbers} {bits[k]:5.2f} {1.0:4.2f}")
    return "\n".join(lines) + "\n" + _STATISTICS


def stacked_rows(probabilities: Floats, rows: int = ROWS) -> list[str]:
    """Return the rows of an alignment whose frequencies are these, exact to 1 / rows (largest remainders).

    Letters are arranged at random within each column, so that columns are independent; the same profile gives the same rows.

    Args:
        probabilities: (L, 20).
        rows: number of rows.
    """
    exact = np.asarray(probabilities, dtype=np.float64) * rows
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, axis=1, kind="stable")
    missing = rows - counts.sum(axis=1)
    np.put_along_axis(counts, order, np.take_along_axis(counts, order, 1) + (np.arange(20) < missing[:, None]), 1)
    letters = np.frombuffer(AMINO_ACIDS.encode(), dtype="S1")
    rng = np.random.default_rng(0)
    columns = [rng.permutation(np.repeat(letters, row)) for row in counts]
    return [row.tobytes().decode() for row in np.stack(columns, axis=1)]


def hmm_bytes(sequence: Sequence, probabilities: Floats) -> bytes:
    """Return a HMMER3 profile, as hmmbuild makes it from an alignment with these frequencies, calibrated for E-values.

    Every residue of the sequence is a match state. The effective number of sequences is HMMER's, by relative entropy.

    Args:
        sequence: gives the profile its name and description.
        probabilities: (L, 20).
    """
    from pyhmmer import plan7

    builder = plan7.Builder(amino(), architecture="hand", weighting="none")
    alignment = digital_msa(stacked_rows(probabilities), np.ones(len(probabilities), dtype=bool), sequence.id)
    profile, _, _ = builder.build_msa(alignment, plan7.Background(amino()))
    profile.description = sequence.description or None
    # Without command line and time, the same sequence gives the same bytes.
    profile.command_line, profile.creation_time = None, None
    stream = io.BytesIO()
    profile.write(stream)
    return stream.getvalue()
