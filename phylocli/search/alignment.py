"""Local alignment of residue embeddings by the Smith–Waterman algorithm with position-specific scores.

The score of a pair of residues is computed from their embeddings by a `Comparison`: the log-likelihood ratio of homology if
the model has a residue PLDA (`residue_plda`), else the standardised cosine (`StandardisedCosine`). The alignment is local,
with affine gap costs (Smith & Waterman 1981, doi:10.1016/0022-2836(81)90087-5; Gotoh 1982,
doi:10.1016/0022-2836(82)90398-9).

The recursion is vectorised over anti-diagonals, whose cells are independent, and over a batch of targets. With Numba,
compiled code does the same (`compiled`).
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phylocli.search.compiled import kernel
from phylocli.search.database import FloatArray, IntArray

CELLS = 1 << 21
"""Maximum number of cells in a batch, including padding (a few arrays of 8 MB)."""

NEVER = -1e4
"""Score of padding."""


@dataclass(frozen=True)
class Gaps:
    """Affine gap costs.

    Attributes:
        opening: cost of a gap of one residue.
        extension: cost of each further residue, at most `opening`.
    """

    opening: float
    extension: float


class Comparison(Protocol):
    """Scores of pairs of residues."""

    @property
    def gaps(self) -> Gaps:
        """Gap costs in units of the scores."""
        ...

    @property
    def composition(self) -> float:
        """The fraction of the score due to composition that E-values do not count, 0 to 1; see `residue_evalues`."""
        ...

    def scores(self, query: FloatArray, targets: FloatArray, lengths: IntArray) -> FloatArray:
        """Return the scores of all residues of a query with all residues of B targets, (L, B, M).

        Args:
            query: coordinates of the residues of the query, (L, D).
            targets: coordinates of the residues of the targets, (B, M, D), padded with zeros.
            lengths: lengths of the targets, (B,); scores of padding are undefined.
        """
        ...


@dataclass(frozen=True)
class StandardisedCosine:
    """Cosines standardised by row and by column: the mean of both z-scores minus a threshold (Pantolini et al. 2024).

    The standardisation removes the similarity of residues that resemble all others. It has no fitted parameters, so it can
    be used with any model. doi:10.1093/bioinformatics/btad786

    Attributes:
        threshold: the threshold in standard deviations; dissimilar residues score below 0.
        gaps: gap costs in standard deviations.
        composition: 0: the standardisation removes it already.
    """

    threshold: float = 1.0
    gaps: Gaps = Gaps(4.0, 1.0)
    composition: float = 0.0

    def scores(self, query: FloatArray, targets: FloatArray, lengths: IntArray) -> FloatArray:
        """Return the scores of unit vectors; see `Comparison.scores`."""
        cosines = _products(query, targets)  # 0 for padding, which therefore does not contribute to sums
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
    """Return the score of the best local alignment for each of B score matrices, (B,), at least 0.

    Args:
        scores: the score of residue i of a query with residue j of target b, (L, B, M); `NEVER` for padding.
        gaps: gap costs.
    """
    return _fill(scores, gaps, None)[0]


@dataclass(frozen=True)
class Path:
    """A local alignment.

    Attributes:
        score: the sum of the scores of the pairs minus gap costs.
        pairs: indices of the aligned residues in query and target, counted from 0, increasing; (n, 2), n ≥ 1.
    """

    score: float
    pairs: IntArray


def local_paths(scores: FloatArray, gaps: Gaps, least: FloatArray) -> list[list[Path]]:
    """Return the local alignments for each of B score matrices, best first: the best one, and others of at least a score.

    Each is the best that contains no pair of residues which both lie within an earlier alignment (between its first and
    last pair). Waterman & Eggert 1987 (doi:10.1016/0022-2836(87)90478-5) exclude only the pairs of earlier alignments; that
    would report the same domain again, shifted. Of alignments with equal scores, the one that ends first is returned.

    Args:
        scores, gaps: see `local_scores`.
        least: minimum scores of alignments after the first, (B,).
    """
    found: list[list[Path]] = [[] for _ in range(scores.shape[1])]
    left = list(range(len(found)))
    while left:
        rows, batch, columns = scores.shape
        moves = np.zeros((rows + columns - 1, rows, batch), dtype=np.uint8)
        best, ends = _fill(scores, gaps, moves)
        again = []
        for place, index in enumerate(left):
            pairs = _trace(moves[:, :, place], ends[place])
            if len(pairs) and (best[place] >= least[index] or not found[index]):
                found[index].append(Path(float(best[place]), pairs))
            if len(pairs) and best[place] >= least[index]:
                again.append(place)
        left = [left[place] for place in again]
        scores = scores[:, again]
        for place, index in enumerate(left):
            (first, start), (last, stop) = found[index][-1].pairs[[0, -1]].tolist()
            scores[first : last + 1, place, start : stop + 1] = NEVER
    return found


_DIAGONAL, _ALONG, _DOWN, _SOURCE = 1, 2, 3, 3
"""Traceback codes for the origin of the score of a cell; 0: no alignment ends in the cell."""

_EXTENDS_ALONG, _EXTENDS_DOWN = 4, 8
"""Traceback flags: the gap that ends in the cell is longer than one residue."""


def _fill(scores: FloatArray, gaps: Gaps, moves: npt.NDArray[np.uint8] | None) -> tuple[FloatArray, IntArray]:
    """Fill the dynamic-programming matrices; return the best score of each, (B,), and, with `moves`, its cell, (B, 2).

    Args:
        scores, gaps: see `local_scores`.
        moves: an array of zeros (L + M - 1, L, B) for the traceback code of cell (i, j) at [i + j, i]; None: no traceback.
    """
    rows, batch, columns = scores.shape
    compiled = kernel()
    if compiled is not None:
        codes = np.zeros((1, 1, 1), dtype=np.uint8) if moves is None else moves
        found: tuple[FloatArray, IntArray] = compiled(
            scores, np.float32(gaps.opening), np.float32(gaps.extension), codes, moves is not None
        )
        return found
    # Make the cells of an anti-diagonal contiguous: skewed[i + j, i] = scores[i, :, j].
    skewed = np.empty((rows + columns - 1, rows, batch), dtype=np.float32)
    line, cell, one = skewed.strides
    np.lib.stride_tricks.as_strided(skewed, (rows, batch, columns), (line + cell, one, line))[...] = scores
    # Row 0 of each array is the border above the first residue. Gap scores may start at 0, because a gap at 0 is no better
    # than the start of a new alignment.
    before, last, new = (np.zeros((rows + 1, batch), dtype=np.float32) for _ in range(3))
    along, down, falling = (np.zeros((rows + 1, batch), dtype=np.float32) for _ in range(3))
    opened, best = np.empty_like(last), np.zeros_like(last)
    opening, extension = np.float32(gaps.opening), np.float32(gaps.extension)
    top, ends = np.zeros(batch, dtype=np.float32), np.full((batch, 2), -1, dtype=np.int64)
    for diagonal in range(rows + columns - 1):
        first, stop = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        here, above = slice(first + 1, stop + 1), slice(first, stop)
        np.subtract(last[first : stop + 1], opening, out=opened[first : stop + 1])
        along[here] -= extension
        np.subtract(down[above], extension, out=falling[here])
        if moves is not None:
            kept = moves[diagonal, first:stop]
            kept[along[here] > opened[here]] = _EXTENDS_ALONG
            kept[falling[here] > opened[above]] += _EXTENDS_DOWN
        np.maximum(along[here], opened[here], out=along[here])
        np.maximum(falling[here], opened[above], out=falling[here])
        np.add(before[above], skewed[diagonal, first:stop], out=new[here])
        if moves is not None:
            gap = np.where(along[here] >= falling[here], _ALONG, _DOWN).astype(np.uint8)
            source = np.where(new[here] >= np.maximum(along[here], falling[here]), np.uint8(_DIAGONAL), gap)
        np.maximum(new[here], along[here], out=new[here])
        np.maximum(new[here], falling[here], out=new[here])
        np.maximum(new[here], 0, out=new[here])
        if moves is not None:
            kept += np.where(new[here] > 0, source, np.uint8(0))
            row = new[here].argmax(axis=0)
            found = np.take_along_axis(new[here], row[None], axis=0)[0]
            better = found > top
            top[better] = found[better]
            ends[better] = np.stack([row + first, diagonal - row - first], axis=1)[better]
        np.maximum(best[here], new[here], out=best[here])
        before, last, new = last, new, before
        down, falling = falling, down
    return np.asarray(best.max(axis=0), dtype=np.float32), ends


def _trace(moves: npt.NDArray[np.uint8], end: IntArray) -> IntArray:
    """Trace back the alignment that ends in a cell; return its index pairs, (n, 2), none if the cell is (-1, -1)."""
    i, j = end.tolist()
    pairs: list[tuple[int, int]] = []
    state = _DIAGONAL
    while i >= 0 and j >= 0:
        move = int(moves[i + j, i])
        if state == _DIAGONAL:
            state = move & _SOURCE
            if state == 0:
                break
            if state == _DIAGONAL:
                pairs.append((i, j))
                i, j = i - 1, j - 1
        elif state == _ALONG:
            state = _ALONG if move & _EXTENDS_ALONG else _DIAGONAL
            j -= 1
        else:
            state = _DOWN if move & _EXTENDS_DOWN else _DIAGONAL
            i -= 1
    return np.array(pairs[::-1], dtype=np.int64).reshape(-1, 2)


def align_residues(
    query: FloatArray, targets: SequenceOf[FloatArray], comparison: Comparison, *, backwards: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Return the scores of the best local alignments of a query with each target, (k,), in order and backwards.

    Backwards, the residues of the query are in reverse order. They have the same embeddings, so the score is that of chance
    for this composition; zeros if `backwards` is false or `comparison.composition` is 0. Time is O(L · M) per target.
    `CELLS` cells (or one target) are in memory at most.

    Args:
        query: coordinates of the residues of the query, (L, D).
        targets: coordinates of the residues of each target, (M, D).
        comparison: provides scores and gap costs.
        backwards: whether to align backwards, which takes as long as in order.
    """
    found, chance = np.zeros((2, len(targets)), dtype=np.float32)
    for group, scores in _matrices(query, targets, comparison):
        found[group] = local_scores(scores, comparison.gaps)
        if backwards and comparison.composition:
            chance[group] = local_scores(scores[::-1], comparison.gaps)
    return found, chance


def residue_paths(
    query: FloatArray, targets: SequenceOf[FloatArray], comparison: Comparison, least: FloatArray
) -> list[list[Path]]:
    """Return the local alignments of a query with each target, best first; see `local_paths`.

    It takes twice the time of `align_residues` for each round of alignments.

    Args:
        query, targets, comparison: see `align_residues`.
        least: minimum scores of alignments after the first, (k,).
    """
    found: list[list[Path]] = [[] for _ in targets]
    for group, scores in _matrices(query, targets, comparison):
        for index, paths in zip(group, local_paths(scores, comparison.gaps, least[group]), strict=True):
            found[index] = paths
    return found


def _matrices(
    query: FloatArray, targets: SequenceOf[FloatArray], comparison: Comparison
) -> Iterator[tuple[list[int], FloatArray]]:
    """Yield batches: indices of targets of similar length, and the scores of their residues with the query, (L, B, M)."""
    for group in _batches([len(t) for t in targets], len(query)):
        lengths = np.array([len(targets[i]) for i in group], dtype=np.int64)
        block = np.zeros((len(group), lengths.max(), query.shape[1]), dtype=np.float32)
        for row, index in enumerate(group):
            block[row, : lengths[row]] = targets[index]
        scores = comparison.scores(query, block, lengths)
        scores[:, np.arange(scores.shape[2]) >= lengths[:, None]] = NEVER
        yield group, scores


def _batches(lengths: SequenceOf[int], rows: int) -> Iterator[list[int]]:
    """Yield indices of targets of similar length, with about `CELLS` cells for a query of `rows` residues."""
    order = np.argsort(lengths, kind="stable")[::-1].tolist()
    while order:
        size = max(1, CELLS // max(1, rows * lengths[order[0]]))
        yield order[:size]
        order = order[size:]
