"""E-values of alignments of residue embeddings, corrected for composition by the query in reverse order.

1. The query is aligned with the 64 proteins of the background that have the highest cosine to it. A Gumbel distribution,
which depends on both lengths, is fitted to these scores (`gumbel`), as in Pearson 1998 (doi:10.1006/jmbi.1997.1525) for the
scores of a database search. The largest four are censored: they may be those of homologs.
2. Each target is also aligned with the residues of the query in reverse order, which have the same composition, but are not
homologous (the reverse-sequence null model: Karplus et al. 2005, doi:10.1093/bioinformatics/bti629). If that score is above
the mean of the Gumbel distribution, query and target resemble each other in composition more than the background does, and
the excess, or a fraction of it, is subtracted from the score (`Comparison.composition`, a property of the model's scores).
3. The Gumbel distribution gives the p-value of what remains.

E = p · (rows of the table). It depends only on the query, the target, the model and the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np

from phylocli.search.background import Background
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.evalues import Floats
from phylocli.search.local_alignment import INCLUDED, LocalAlignment
from phylocli.search.rerank import ResidueScores
from phylocli.statistics.gumbel import Gumbel, fit_gumbel

ALIGNED, CENSORED = 64, 4
"""Number of unrelated proteins with which a query is aligned; number of the largest scores of these that are censored."""


@dataclass(frozen=True)
class Scored:
    """Scores of the k hits of a query.

    Attributes:
        scores: scores of the best local alignments, (k,).
        evalues: their E-values, (k,); NaN without a background.
        excess: the part of each score that is attributed to composition, at least 0, (k,).
        null: the distribution of the scores of unrelated proteins; None without a background.
    """

    scores: Floats
    evalues: Floats
    excess: Floats
    null: Gumbel | None

    def take(self, index: IntArray) -> Scored:
        """Return some hits."""
        return Scored(self.scores[index], self.evalues[index], self.excess[index], self.null)


class ResidueEvalues:
    """Scores hits by alignment of residue embeddings, with E-values.

    Args:
        aligner: the aligner of residue embeddings.
        background: unrelated proteins with sequences; if None, there are no bits and E-values (NaN).
        rows: the number of rows of the table.
    """

    def __init__(self, aligner: ResidueScores, background: Background | None, rows: int) -> None:
        self.aligner, self._background, self._rows = aligner, background, rows

    @property
    def has_evalues(self) -> bool:
        """Whether there is a background."""
        return self._background is not None

    def __call__(self, query: str, vector: FloatArray, targets: SequenceOf[str]) -> Scored:
        """Align a query with its hits.

        Args:
            query: the unaligned query.
            vector: the unit vector of the query, (D,).
            targets: the unaligned sequences of the hits.
        """
        scores, backwards = self.aligner(query, targets)
        if self._background is None:
            return Scored(scores, np.full(len(targets), np.nan), np.zeros(len(targets)), None)
        unrelated = self._background.nearest(vector, ALIGNED)
        chance = self.aligner(query, unrelated, backwards=False)[0]
        if np.isnan(chance).any():  # the query is too long to be aligned with them
            return Scored(scores, np.full(len(targets), np.nan), np.zeros(len(targets)), None)
        null = fit_gumbel(chance, cells(query, unrelated), CENSORED)
        sizes = cells(query, targets)
        excess = self.aligner.comparison.composition * np.maximum(backwards - null.means(sizes), 0)
        evalues = self._rows * np.exp(null.log_p_values(scores - excess, sizes))
        return Scored(scores, evalues, excess, null)

    def alignments(self, query: str, targets: SequenceOf[str], scored: Scored) -> list[list[LocalAlignment]]:
        """Return the local alignments of a query with each target, best first: the best, and others with E ≤ 0.01.

        Args:
            query, targets: unaligned.
            scored: their scores. Without a background, only the best alignment is returned, without bits.
        """
        null = scored.null
        least = np.full(len(targets), np.inf)
        if null is not None:
            least = null.scores_at(INCLUDED / self._rows, cells(query, targets)) + scored.excess
        found: list[list[LocalAlignment]] = []
        paths = self.aligner.paths(query, targets, least.astype(np.float32))
        for of, target, excess in zip(paths, targets, scored.excess, strict=True):
            bits = [np.nan if null is None else float(null.bits(np.array(path.score - excess))) for path in of]
            found.append([LocalAlignment.of(b, p.pairs, query, target) for b, p in zip(bits, of, strict=True)])
        return found


def cells(query: str, targets: SequenceOf[str]) -> Floats:
    """Return the product of the lengths of the query and each target, (k,)."""
    return np.array([len(query) * len(target) for target in targets], dtype=np.float64)
