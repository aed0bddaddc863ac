"""E-values of the alignment of residue embeddings and of the cosine together.

1. The query is aligned with the 128 reversed proteins of the background that are most similar to it by cosine, hence at most
in composition. A Gumbel distribution, which depends on both lengths, is fitted to these scores (`gumbel`), as in Pearson
1998 (doi:10.1006/jmbi.1997.1525) for the scores of a library. It gives the p-value of each hit's score among proteins of
similar cosine.
2. The p-value of the cosine (`evalues`) and that of the alignment are combined: p = (p₁ · p₂)^(1 / c). The sum of their
logarithms is Fisher's statistic, scaled as for dependent p-values (Brown 1975, doi:10.2307/2529826), because proteins with
the composition of the query have both a high cosine and a high alignment score: c = 2 would be correct if one determined the
other.

E = p · rows of the table. As for cosines, it depends on the query, the target, the model and the number of rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import numpy as np

from phylocli.search.background import Background
from phylocli.search.database import FloatArray
from phylocli.search.evalues import Floats
from phylocli.search.gumbel import fit_gumbel
from phylocli.search.rerank import ResidueScores

ALIGNED = 128
"""Reversed proteins that a query is aligned with."""


DEPENDENCE = 1.7
"""c, chosen so that reversed and shuffled domains of SCOPe's validation folds have as many hits as the E-values predict."""


class Combined(NamedTuple):
    """A query's hits by residue embeddings.

    Attributes:
        scores: of the alignments, (k,).
        bits: the same, normalised (`gumbel`), (k,).
        evalues: of alignment and cosine together, (k,).
    """

    scores: Floats
    bits: Floats
    evalues: Floats


class CombinedEvalues:
    """Scores hits by alignment of residue embeddings, with E-values of alignment and cosine combined.

    Args:
        aligner: aligns.
        background: unrelated proteins with their sequences; without it there are no bits and no E-values (NaN).
        rows: of the table.
    """

    def __init__(self, aligner: ResidueScores, background: Background | None, rows: int) -> None:
        self.aligner, self._background, self._rows = aligner, background, rows

    def __call__(self, query: str, vector: FloatArray, targets: SequenceOf[str], cosines: FloatArray) -> Combined:
        """Return scores and E-values of a query with its hits.

        Args:
            query: sequence.
            vector: its unit vector (D,).
            targets: sequences of its hits.
            cosines: of its hits (k,).
        """
        scores = self.aligner(query, targets)
        if self._background is None:
            unknown = np.full(len(targets), np.nan)
            return Combined(scores, unknown, unknown)
        unrelated = self._background.nearest_reversed(vector, ALIGNED)
        null = fit_gumbel(self.aligner(query, unrelated), cells(query, unrelated))
        product = null.log_p_values(scores, cells(query, targets))
        product += self._background.log_p_values(vector[None], cosines[None])[0]
        return Combined(scores, null.bits(scores), self._rows * np.exp(product / DEPENDENCE))


def cells(query: str, targets: SequenceOf[str]) -> Floats:
    """Return the product of both lengths for each target, (k,)."""
    return np.array([len(query) * len(target) for target in targets], dtype=np.float64)
