"""How many unrelated sequences would score as well: E-values for cosines, from decoys that are related to nothing.

Cosines as such cannot be compared between queries: embeddings fill a cone, and a query near its axis is close to everything.
So every query is measured against the table that it is searched in:

1. The cosine is stretched by Fisher's transformation, t = artanh(cosine), which takes away that cosines end at 1 (for
   correlations it makes the spread the same everywhere: Fisher 1915, doi:10.1093/biomet/10.4.507).
2. z = (t - m) / s, with m the median of t over a sample of the table, and s the distance from there to the ninth decile in
   units of the normal distribution's. Both describe the bulk, which is unrelated to the query as long as its relatives are
   less than a tenth of the table; where they are more, E-values come out too large, never too small.
3. How far z reaches without any relationship is seen on decoys: the queries reversed, and, where these are few, shuffled
   within windows of 20 residues. They have length and composition of real proteins and no homologs. Their z, each
   relative to its own bulk, give the null distribution: as observed in the bulk, and beyond the quantile 0.999 a
   generalised Pareto distribution (Pickands 1975, doi:10.1214/aos/1176343003) fitted by probability-weighted moments
   (Hosking & Wallis 1987, doi:10.1080/00401706.1987.10488243), with no end: a shape below 0 is taken as 0.

p = P(z of a decoy ≥ z); E = p · rows of the table: the number of unrelated rows expected to be as near to this query.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.formats.embeddings import EmbeddingTable
from phylocli.search.database import FloatArray, IntArray

Floats = npt.NDArray[np.float64]

SAMPLE = 8_192
"""Rows of the table that decoys are held against."""

BULK = 4_096
"""Of these, the rows from which a query's own location and scale are taken."""

TAIL = 1e-3
"""Share of the decoys' scores to which the tail is fitted, if that is at least `EXCESSES` of them."""

EXCESSES = 250
UPPER = 0.9
NORMAL_UPPER = 1.2815515655446004
"""The ninth decile of the standard normal distribution."""

_LARGEST = 1 - 2.0**-21


def stretch(cosines: npt.NDArray[np.floating]) -> Floats:
    """Return artanh of cosines; 1 is taken as the largest number below it that a search tells apart."""
    return np.arctanh(np.clip(cosines.astype(np.float64), -_LARGEST, _LARGEST))


def bulk(stretched: Floats) -> tuple[Floats, Floats]:
    """Return median and scale of each row of scores, (n,) each; see above."""
    middle, upper = np.quantile(stretched, (0.5, UPPER), axis=1)
    return middle, np.maximum((upper - middle) / NORMAL_UPPER, 1e-6)


@dataclass(frozen=True)
class Tail:
    """The null distribution of z.

    Attributes:
        knots: z in rising order, and
        chances: of reaching them, falling, down to `share` at the last.
        share: chance of reaching the last knot, where the Pareto tail begins.
        scale, shape: of that tail.
    """

    knots: Floats
    chances: Floats
    share: float
    scale: float
    shape: float

    def chance(self, z: npt.NDArray[np.floating]) -> Floats:
        """Return P(Z ≥ z)."""
        inside = np.exp(np.interp(z, self.knots, np.log(self.chances)))
        excess = np.maximum(z - self.knots[-1], 0) / self.scale
        if self.shape > 0:
            beyond = (1 + self.shape * excess) ** (-1 / self.shape)
        else:
            beyond = np.exp(-excess)
        return np.where(z > self.knots[-1], self.share * beyond, inside)


def fit_tail(z: npt.NDArray[np.floating]) -> Tail:
    """Return the distribution that scores of no relationship follow.

    Args:
        z: scores of decoys, any shape, a few thousand or more.
    """
    ordered = np.sort(np.asarray(z, dtype=np.float64), axis=None)
    count = len(ordered)
    share = min(0.5, max(TAIL, EXCESSES / count))
    chances = np.geomspace(1, share, 256)
    knots = np.maximum.accumulate(np.quantile(ordered, 1 - chances))
    excess = ordered[ordered > knots[-1]] - knots[-1]
    if len(excess) < 10 or excess[-1] <= 0:
        return Tail(knots, chances, share, 1.0, 0.0)  # nothing to fit to: the bulk's own scale
    # Probability-weighted moments: a0 = E[X], a1 = E[X (1 - F(X))].
    a0 = excess.mean()
    a1 = np.mean(excess * (len(excess) - np.arange(1, len(excess) + 1)) / max(len(excess) - 1, 1))
    shape = 2 - a0 / (a0 - 2 * a1)
    if shape <= 0:
        return Tail(knots, chances, share, float(a0), 0.0)
    return Tail(knots, chances, share, float(2 * a0 * a1 / (a0 - 2 * a1)), float(shape))


@dataclass(frozen=True)
class Significance:
    """E-values of cosines with the rows of one table.

    Attributes:
        sample: unit vectors of rows of the table, (m, D).
        tail: the null distribution.
        rows: of the table.
    """

    sample: FloatArray
    tail: Tail
    rows: int

    def evalues(self, queries: FloatArray, cosines: FloatArray) -> Floats:
        """Return the number of unrelated rows expected to reach these cosines, (n, k).

        Args:
            queries: unit vectors (n, D).
            cosines: of each query with rows of the table, (n, k); -inf gives the number of all rows.
        """
        z = self.standardised(queries, cosines)
        return np.where(np.isfinite(cosines), self.rows * self.tail.chance(z), self.rows)

    def standardised(self, queries: FloatArray, cosines: FloatArray) -> Floats:
        """Return z of these cosines, each query measured against the table; arguments as `evalues`."""
        found = np.empty(cosines.shape)
        for start in range(0, len(queries), 1024):
            part = slice(start, start + 1024)
            middle, scale = bulk(stretch(queries[part] @ self.sample[:BULK].T))
            found[part] = (stretch(cosines[part]) - middle[:, None]) / scale[:, None]
        return found


def sample_rows(rows: int, size: int) -> IntArray:
    """Return the numbers of `size` rows, or all, spread over a table in an order that has nothing to do with its own."""
    return np.random.default_rng(0).permutation(rows)[:size].astype(np.int64)


def calibrate(table: EmbeddingTable, decoys: FloatArray | None = None) -> Significance:
    """Return what turns cosines with a table's rows into E-values.

    Args:
        table: that is searched.
        decoys: unit vectors of sequences related to nothing in it, (d, D), some dozens. None takes rows of the table
            itself: their relatives are among the scores then, so E-values are too large, the more so the more relatives
            each row has.
    """
    sample = table.take(sample_rows(len(table), SAMPLE))
    own = decoys is None
    probes = sample[:128] if decoys is None else decoys
    scores = stretch(probes @ sample.T)
    middle, scale = bulk(scores[:, :BULK])
    z = (scores - middle[:, None]) / scale[:, None]
    if own:
        z = z[~np.eye(len(z), z.shape[1], dtype=np.bool_)]
    return Significance(sample, fit_tail(z), len(table))
