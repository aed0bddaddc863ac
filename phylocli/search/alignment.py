"""Local alignment of residue embeddings: Smith & Waterman with a score for each pair of residues at hand.

The score of aligning residue i with residue j comes from their embeddings, by a `Comparison`: the log-likelihood ratio of
homology where the model has a residue PLDA (`residue_plda`), else their standardised cosine (`StandardisedCosine`). The
alignment is local, with affine gaps (Smith & Waterman 1981, doi:10.1016/0022-2836(81)90087-5; Gotoh 1982,
doi:10.1016/0022-2836(82)90398-9).

Many targets are aligned at once: the recursion runs along anti-diagonals, whose cells do not depend on each other, over
all targets of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from phylocli.search.database import FloatArray, IntArray

CELLS = 1 << 20
"""Cells of a batch, padding included (a few arrays of 4 MB)."""

NEVER = -1e4
"""Score of a residue that is not there."""


@dataclass(frozen=True)
class Gaps:
    """What gaps cost.

    Attributes:
        opening: of a gap, its first residue included.
        extension: of each further residue, at most `opening`.
    """

    opening: float
    extension: float


class Comparison(Protocol):
    """Scores of residues against residues."""

    @property
    def gaps(self) -> Gaps:
        """What gaps cost in the unit of the scores."""
        ...

    def scores(self, query: FloatArray, targets: FloatArray, lengths: IntArray) -> FloatArray:
        """Return the score of each residue of a query with each of its targets', (L, B, M).

        Args:
            query: coordinates of residues, (L, D).
            targets: likewise, (B, M, D), zero beyond their ends.
            lengths: residues of each target, (B,); scores beyond are void.
        """
        ...


@dataclass(frozen=True)
class StandardisedCosine:
    """Cosines in standard deviations from the mean of their row and from that of their column, averaged, less a threshold.

    What resembles everything then resembles nothing. It needs no fit, so it serves any model (Pantolini et al. 2024,
    doi:10.1093/bioinformatics/btad786).

    Attributes:
        threshold: in standard deviations, so that residues of no likeness score below 0.
        gaps: costs, likewise.
    """

    threshold: float = 1.0
    gaps: Gaps = Gaps(4.0, 1.0)

    def scores(self, query: FloatArray, targets: FloatArray, lengths: IntArray) -> FloatArray:
        """Return the scores of unit vectors, see `Comparison.scores`."""
        cosines = _products(query, targets)  # 0 beyond the ends, so that sums are those of what is there
        count = lengths.astype(np.float32)[:, None, None].transpose(1, 0, 2)
        rows = cosines.sum(axis=2, keepdims=True) / count
        columns = cosines.mean(axis=0)
        spread = np.einsum("lbm,lbm->lb", cosines, cosines)[:, :, None] / count - rows**2
        width = np.einsum("lbm,lbm->bm", cosines, cosines) / len(cosines) - columns**2
        by_row, by_column = (0.5 / np.sqrt(np.maximum(variance, 1e-6)) for variance in (spread, width))
        result: FloatArray = cosines * (by_row + by_column)
        result -= rows * by_row
        result -= columns * by_column + np.float32(self.threshold)
        return result


def _products(query: FloatArray, targets: FloatArray) -> FloatArray:
    flat: FloatArray = query @ targets.reshape(-1, targets.shape[2]).T
    return flat.reshape(len(query), *targets.shape[:2])


def local_scores(scores: FloatArray, gaps: Gaps) -> FloatArray:
    """Return the score of the best local alignment of each matrix, (B,), at least 0.

    Args:
        scores: of aligning residue i of a query with residue j of target b, (L, B, M); `NEVER` where there is none.
        gaps: what they cost.
    """
    rows, batch, columns = scores.shape
    # A diagonal's cells side by side: skewed[i + j, i] = scores[i, :, j].
    skewed = np.empty((rows + columns - 1, rows, batch), dtype=np.float32)
    line, cell, one = skewed.strides
    np.lib.stride_tricks.as_strided(skewed, (rows, batch, columns), (line + cell, one, line))[...] = scores
    # Row 0 of each array is the border above the first residue. Gaps that have not begun may stand at 0: no better than
    # to start afresh.
    before, last, new = (np.zeros((rows + 1, batch), dtype=np.float32) for _ in range(3))
    along, down, falling = (np.zeros((rows + 1, batch), dtype=np.float32) for _ in range(3))
    opened, best = np.empty_like(last), np.zeros_like(last)
    opening, extension = np.float32(gaps.opening), np.float32(gaps.extension)
    for diagonal in range(rows + columns - 1):
        first, stop = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        here, above = slice(first + 1, stop + 1), slice(first, stop)
        np.subtract(last[first : stop + 1], opening, out=opened[first : stop + 1])
        along[here] -= extension
        np.maximum(along[here], opened[here], out=along[here])
        np.subtract(down[above], extension, out=falling[here])
        np.maximum(falling[here], opened[above], out=falling[here])
        np.add(before[above], skewed[diagonal, first:stop], out=new[here])
        np.maximum(new[here], along[here], out=new[here])
        np.maximum(new[here], falling[here], out=new[here])
        np.maximum(new[here], 0, out=new[here])
        np.maximum(best[here], new[here], out=best[here])
        before, last, new = last, new, before
        down, falling = falling, down
    return np.asarray(best.max(axis=0), dtype=np.float32)


def align_residues(query: FloatArray, targets: SequenceOf[FloatArray], comparison: Comparison) -> FloatArray:
    """Return the score of the best local alignment of a query with each target, (k,).

    Time: L · M cells a target, some ten operations each. `CELLS` of them are held at once (or one target).

    Args:
        query: coordinates of residues, (L, D).
        targets: likewise, (M, D) each.
        comparison: gives scores and the costs of gaps.
    """
    found = np.zeros(len(targets), dtype=np.float32)
    for group in _batches([len(t) for t in targets], len(query)):
        lengths = np.array([len(targets[i]) for i in group], dtype=np.int64)
        block = np.zeros((len(group), lengths.max(), query.shape[1]), dtype=np.float32)
        for row, index in enumerate(group):
            block[row, : lengths[row]] = targets[index]
        scores = comparison.scores(query, block, lengths)
        scores[:, np.arange(scores.shape[2]) >= lengths[:, None]] = NEVER
        found[group] = local_scores(scores, comparison.gaps)
    return found


def _batches(lengths: SequenceOf[int], rows: int) -> Iterator[list[int]]:
    """Yield places of targets of like length, so many that they make `CELLS` cells with a query of `rows` residues."""
    order = np.argsort(lengths, kind="stable")[::-1].tolist()
    while order:
        size = max(1, CELLS // max(1, rows * lengths[order[0]]))
        yield order[:size]
        order = order[size:]
