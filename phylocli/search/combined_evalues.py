"""E-values of hits from the alignment of residue embeddings and the cosine combined.

1. The query is aligned with the 128 reversed proteins of the background that have the highest cosine to it; they resemble it
only in composition. A Gumbel distribution, which depends on both lengths, is fitted to these scores (`gumbel`), as in
Pearson 1998 (doi:10.1006/jmbi.1997.1525) for the scores of a database search. It gives the p-value of the alignment score of
a hit among proteins of similar cosine.
2. The p-values of the cosine (`evalues`) and of the alignment are combined: p = (p₁ · p₂)^(1 / c). The sum of their
logarithms is Fisher's statistic, scaled for dependent p-values (Brown 1975, doi:10.2307/2529826), because proteins with the
composition of the query have both a high cosine and a high alignment score. c = 2 corresponds to complete dependence.

E = p · (rows of the table). As for cosines, it depends only on the query, the target, the model and the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import numpy as np

from phylocli.search.background import Background
from phylocli.search.database import FloatArray
from phylocli.search.evalues import Floats
from phylocli.search.gumbel import Gumbel, fit_gumbel
from phylocli.search.local_alignment import INCLUDED, LocalAlignment
from phylocli.search.rerank import ResidueScores

ALIGNED = 128
"""Number of reversed proteins with which a query is aligned."""


DEPENDENCE = 1.7
"""c, calibrated on the validation folds of SCOPe: E-values match the number of hits of reversed and shuffled domains."""


class Combined(NamedTuple):
    """Scores of the k hits of a query.

    Attributes:
        scores: raw alignment scores, (k,).
        evalues: E-values of alignment and cosine combined, (k,).
        null: the distribution of the scores of unrelated proteins; None without a background.
    """

    scores: Floats
    evalues: Floats
    null: Gumbel | None


class CombinedEvalues:
    """Scores hits by alignment of residue embeddings, with E-values of alignment and cosine combined.

    Args:
        aligner: the aligner of residue embeddings.
        background: unrelated proteins with sequences; if None, there are no bits and E-values (NaN).
        rows: the number of rows of the table.
    """

    def __init__(self, aligner: ResidueScores, background: Background | None, rows: int) -> None:
        self.aligner, self._background, self._rows = aligner, background, rows

    def __call__(self, query: str, vector: FloatArray, targets: SequenceOf[str], cosines: FloatArray) -> Combined:
        """Align a query with its hits; return scores and E-values.

        Args:
            query: the unaligned query.
            vector: the unit vector of the query, (D,).
            targets: the unaligned sequences of the hits.
            cosines: the cosines of the hits, (k,).
        """
        scores = self.aligner(query, targets)
        if self._background is None:
            return Combined(scores, np.full(len(targets), np.nan), None)
        unrelated = self._background.nearest_reversed(vector, ALIGNED)
        null = fit_gumbel(self.aligner(query, unrelated), cells(query, unrelated))
        product = null.log_p_values(scores, cells(query, targets))
        product += self._background.log_p_values(vector[None], cosines[None])[0]
        return Combined(scores, self._rows * np.exp(product / DEPENDENCE), null)

    def alignments(self, query: str, targets: SequenceOf[str], null: Gumbel | None) -> list[list[LocalAlignment]]:
        """Return the local alignments of a query with each target, best first: the best, and others with E ≤ 0.01.

        Their E-values are those of the alignment alone: the expected number of alignments of this score in the table.

        Args:
            query, targets: unaligned.
            null: as returned by `__call__`; None: the best alignment only, without bits.
        """
        if null is None:
            least = np.full(len(targets), np.inf)
        else:
            least = null.scores_at(INCLUDED / self._rows, cells(query, targets))
        found = self.aligner.paths(query, targets, least.astype(np.float32))
        bits = [[float("nan") if null is None else float(null.bits(np.array(path.score))) for path in of] for of in found]
        return [
            [LocalAlignment.of(b, path.pairs, query, target) for b, path in zip(values, of, strict=True)]
            for values, of, target in zip(bits, found, targets, strict=True)
        ]


def cells(query: str, targets: SequenceOf[str]) -> Floats:
    """Return the product of the lengths of the query and each target, (k,)."""
    return np.array([len(query) * len(target) for target in targets], dtype=np.float64)
