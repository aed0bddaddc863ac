"""Profile HMMs from aligned rows by HMMER's builder, with a faster estimate of the effective number of sequences.

HMMER chooses the effective number of sequences so that the profile has a given mean relative entropy per column (Johnson
2006; Eddy 2011, doi:10.1371/journal.pcbi.1002195). Its bisection builds a complete profile at each step, which takes about
90 % of the time. Here the number is found by the secant method on a sample of the columns.
"""

from __future__ import annotations

import threading
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt
from pyhmmer import easel, plan7
from pyhmmer.errors import UnexpectedError

from phylocli.hmmer import amino, digital_msa

SEED = 42
# Maximum number of rows of a profile, which bounds building time in large families; further rows add little information.
_MOST_ROWS = 400
# Number of random sequences for calibrating the E-values of a profile. The standard error of the Gumbel location is about
# 1.05 / (0.69 sqrt(n)) bits: 0.3 bits, compared with 0.1 for HMMER's default of 200, which takes most of the search time.
_CALIBRATION = 25
# Minimum fraction of residues of a match column. With HMMER's default of 0.5, profiles would become shorter in every round,
# because partially aligned members reduce the occupancy of the terminal columns.
_COLUMN_OCCUPANCY = 0.2
# Minimum number of evenly spaced columns for computing the effective number; for long profiles, an eighth of the columns.
_SAMPLED_COLUMNS = 64
_ENTROPY_TOLERANCE = 0.01
_ENTROPY_STEPS = 8
_FIRST_GUESS = 4.0
# Approximate increase of a column's relative entropy, in bits, as the number of sequences grows by a factor e.
_USUAL_SLOPE = 0.2
_GAPS = np.frombuffer(b"-.", dtype=np.uint8)


class Builders:
    """HMMER's builders, one set per thread. Every profile uses the same seed, so results do not depend on the thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def single_sequence(self) -> plan7.Builder:
        """Return this thread's builder for single sequences, as in phmmer."""
        if not hasattr(self._local, "single"):
            self._local.single = plan7.Builder(amino(), **_calibration(_CALIBRATION))
        return self._local.single

    def background(self) -> plan7.Background:
        """Return this thread's background model."""
        if not hasattr(self._local, "background"):
            self._local.background = plan7.Background(amino())
        return self._local.background

    def profile(self, rows: list[bytes], *, fixed: bool = False) -> plan7.HMM | None:
        """Return the profile HMM of aligned rows, or None if HMMER cannot build one.

        At most `_MOST_ROWS` rows, evenly spaced, are used.

        Args:
            rows: aligned rows of equal length.
            fixed: whether all columns are match columns; otherwise those with enough residues are.
        """
        if len(rows) > _MOST_ROWS:
            rows = [rows[i] for i in np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(int)]
        if not rows or not rows[0]:
            return None
        letters = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)
        filled = ~np.isin(letters, _GAPS)
        match = np.ones(letters.shape[1], dtype=bool) if fixed else filled.mean(axis=0) >= _COLUMN_OCCUPANCY
        if not match.any():
            return None
        background = self.background()
        try:
            try:
                number: float | Literal["entropy"] = effective_number(letters[:, match], background)
            except UnexpectedError:  # the short calibration may not converge
                number = "entropy"
            builder = plan7.Builder(amino(), architecture="hand", effective_number=number, **_calibration(_CALIBRATION))
            profile, _, _ = builder.build_msa(_digital(letters, match), background)
        except (ValueError, UnexpectedError):
            return None
        return profile


def effective_number(letters: npt.NDArray[np.uint8], background: plan7.Background) -> float:
    """Return the effective number of sequences of an alignment, between 0 and the number of rows.

    With this number, the mean relative entropy of a match column is HMMER's target: 0.59 bits, or more for short profiles,
    whose total relative entropy must be at least 45 bits plus log2(M (M + 1) / 2) for M columns.

    Args:
        letters: match columns of the alignment, ASCII, shape (rows, columns).
        background: a pyhmmer background model.

    Raises:
        ValueError: HMMER cannot build a profile of the rows.
        UnexpectedError: pyhmmer cannot calibrate the profile.
    """
    rows, columns = letters.shape
    target = max(0.59, (45.0 + np.log2(columns * (columns + 1) / 2)) / columns)
    sampled = np.unique(np.linspace(0, columns - 1, min(max(_SAMPLED_COLUMNS, columns // 8), columns)).astype(int))
    alignment = _digital(letters[:, sampled], np.ones(len(sampled), dtype=bool))
    expected = np.asarray(background.residue_frequencies)

    def entropy(number: float) -> float:
        builder = plan7.Builder(amino(), architecture="hand", effective_number=float(number), **_calibration(20, length=5))
        profile = builder.build_msa(alignment, background)[0]
        emissions = np.asarray(profile.match_emissions)[1:]  # type: ignore[attr-defined]  # the stubs leave it out
        return float((emissions * np.log2(emissions / expected)).sum(axis=1).mean())

    high = float(np.log(rows))
    here = min(float(np.log(_FIRST_GUESS)), high)
    value = entropy(np.exp(here))
    slope = _USUAL_SLOPE
    for _ in range(_ENTROPY_STEPS):
        if abs(value - target) < _ENTROPY_TOLERANCE or (here == high and value < target):
            break
        there = float(np.clip(here + (target - value) / slope, here - 3.0, min(here + 3.0, high)))
        reached = entropy(np.exp(there))
        if reached != value and there != here:
            slope = max((reached - value) / (there - here), 0.02)
        here, value = there, reached
    return float(np.exp(here))


class _Calibration(TypedDict):
    seed: int
    EmN: int
    EvN: int
    EfN: int
    EmL: int
    EvL: int
    EfL: int


def _calibration(number: int, length: int = 200) -> _Calibration:
    """Return calibration settings: `number` random sequences of `length`, at most 100 for Forward scores, as in HMMER."""
    tail = min(length, 100)
    return {"seed": SEED, "EmN": number, "EvN": number, "EfN": number, "EmL": length, "EvL": length, "EfL": tail}


def _digital(letters: npt.NDArray[np.uint8], match: npt.NDArray[np.bool_]) -> easel.DigitalMSA:
    return digital_msa((row.tobytes().decode() for row in letters), match)
