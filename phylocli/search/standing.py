"""E-values of what residues' alignments and cosines say together: how far a pair stands out from what chance does.

Both scores are measured against the table, as cosines are by themselves (`significance`):

1. An alignment's score grows with the target's length M by log(M) / λ, where nothing is related (`extreme`): that is taken
   off.
2. z = (score - m) / s, m the median of the query's scores with a sample of the table's rows, s the distance from there to
   the ninth decile in units of the normal distribution's. What a query's composition gives to every score is gone then, and
   it is much: coiled coils align with all coiled coils.
3. The z of the alignment and that of the cosine are added. They err differently: the sum finds more than either.
4. The sum's null distribution comes from decoys aligned with the same sample, so that it does not matter how far the
   two depend on each other: `fit_tail`, as for cosines.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.formats.embeddings import EmbeddingTable
from phylocli.search.again import ResidueScores
from phylocli.search.database import FloatArray
from phylocli.search.extreme import fit_gumbel
from phylocli.search.significance import Floats, Significance, Tail, bulk, fit_tail, sample_rows

DECOYS, SAMPLED = 32, 64
"""Decoys and rows of the table that are aligned, each with each."""


def sampled_ids(table: EmbeddingTable) -> list[str]:
    """Return the ids of the rows that queries are measured against."""
    return [table.ids[row] for row in sample_rows(len(table), SAMPLED)]


@dataclass(frozen=True)
class Standing:
    """E-values of alignments and cosines together, for one table.

    Attributes:
        look: aligns.
        sample: sequences of the rows that queries are measured against, (m,).
        rate: λ, by which a score is brought to the scale on which lengths add their logarithm.
        tail: the null distribution of the two z added.
        rows: of the table.
    """

    look: ResidueScores
    sample: list[str]
    rate: float
    tail: Tail
    rows: int

    def __call__(self, query: str, targets: SequenceOf[str], z: Floats) -> tuple[Floats, Floats]:
        """Return the alignments' scores and the E-values of a query with its hits, (k,) each.

        Args:
            query: sequence.
            targets: sequences of its hits.
            z: of their cosines, as `Significance.standardised` gives it.
        """
        scores = self.look(query, [*self.sample, *targets])
        level = levelled(scores, [*self.sample, *targets], self.rate)
        count = len(self.sample)
        middle, scale = bulk(level[None, :count])
        return scores[count:], self.rows * self.tail.chance((level[count:] - middle) / scale + z)


def levelled(scores: Floats, targets: SequenceOf[str], rate: float) -> Floats:
    """Return scores, (…, k), as they would be if all k targets were of one length."""
    return rate * scores - np.log([max(1, len(target)) for target in targets])


def calibrate_alignments(
    look: ResidueScores,
    significance: Significance,
    table: EmbeddingTable,
    sample: SequenceOf[str],
    decoys: SequenceOf[str],
    vectors: FloatArray,
) -> Standing:
    """Return what turns alignments and cosines with a table's rows into E-values.

    Args:
        look: aligns.
        significance: of cosines with that table.
        table: that is searched.
        sample: sequences of the rows `sampled_ids`.
        decoys: sequences related to nothing in it, see `make_decoys`; some tens.
        vectors: their unit vectors, (d, D).
    """
    scores = np.stack([look(decoy, sample) for decoy in decoys])
    cells = np.outer([len(decoy) for decoy in decoys], [len(target) for target in sample])
    rate = fit_gumbel(scores.ravel(), cells.ravel()).rate
    level = levelled(scores, sample, rate)
    middle, scale = bulk(level)
    cosines: npt.NDArray[np.float32] = vectors @ table.take(sample_rows(len(table), SAMPLED)).T
    z = (level - middle[:, None]) / scale[:, None] + significance.standardised(vectors, cosines)
    return Standing(look, list(sample), rate, fit_tail(z), len(table))
