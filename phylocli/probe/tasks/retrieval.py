"""Retrieval of homologs: search with each sequence against all others by cosine similarity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import HIERARCHY, Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import MAX_SCORES, MIN_QUERIES, SEARCH_BLOCK, Measurement, Metric
from phylocli.statistics.bootstrap import mean_estimate
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

BY_SIMILARITY = True
ORDER = 10
TITLE = "Retrieval"
METRICS = {
    "sensitivity to first FP": Metric(
        "Fraction of a query's homologs that rank above the first false positive, averaged over queries; 1 is perfect. In a "
        "hierarchy a false positive is a hit outside the coarsest level (another fold), closer homologs of a finer level "
        "are ignored, and hits in between are neither true nor false positives, as in the SCOP benchmarks of MMseqs2 and "
        "Foldseek (van Kempen et al. 2023, doi:10.1038/s41587-023-01773-0)."
    ),
    "ROC5": Metric(
        "Area under the curve of true against false positives up to the fifth false positive, averaged over queries; 1 is "
        "perfect (Gribskov & Robinson 1996, doi:10.1016/S0097-8485(96)80004-0). Up to the first it is the sensitivity above."
    ),
    "top-1 accuracy": Metric(
        "Fraction of queries whose nearest neighbour has the query's label; closer homologs of a finer level are ignored."
    ),
    "recall at 10": Metric("Fraction of queries with at least one homolog among the ten nearest neighbours."),
    "mean average precision": Metric(
        "Average precision of the ranking of all others, averaged over queries: 1 if all homologs rank first."
    ),
}
RANKS = (1, 2, 3, 5, 10, 20, 50, 100)


def levels(data: Dataset) -> list[str]:
    """Return the levels of the hierarchy, or all columns of classes if there is none, at which some item has a homolog."""
    known = [c for c in HIERARCHY if c in data.classes]
    wanted = known or list(data.classes)
    return [c for c in wanted if len(queries(data, c))]


def filled(data: Dataset, level: str) -> IntArray:
    """Return the codes of a level, with unknown classes replaced by separate classes of the next finer known level.

    For example, a family without a clan becomes a clan of one family. Unlabelled items are not ranked (`judged_rows`).
    """
    codes = data.classes[level].copy()
    unknown = codes < 0
    if not unknown.any():
        return codes
    order = [c for c in HIERARCHY if c in data.classes]
    finer = filled(data, order[order.index(level) - 1]) if level in order[1:] else np.arange(len(codes))
    codes[unknown] = codes.max(initial=-1) + 1 + finer[unknown]
    return codes


def _ignored_level(data: Dataset, level: str) -> str | None:
    """Return the next finer level, whose members are ignored; None for the finest level and outside the hierarchy."""
    order = [c for c in HIERARCHY if c in data.classes]
    return order[order.index(level) - 1] if level in order[1:] else None


def _coarsest(data: Dataset, level: str) -> str:
    order = [c for c in HIERARCHY if c in data.classes]
    return order[-1] if level in order else level


def judged_rows(data: Dataset, level: str) -> IntArray:
    """Return the rows that are ranked at a level; unlabelled items, which could be homologs, are excluded."""
    rows = data.evaluated_rows()
    columns = [c for c in HIERARCHY if c in data.classes] if level in HIERARCHY else [level]
    return rows[np.any([data.classes[column][rows] >= 0 for column in columns], axis=0)]


def judged_levels(data: Dataset, level: str, rows: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the codes of each row at the level, at the next finer level, and at the coarsest level.

    Hits with the same finer code are ignored, and hits with a different coarsest code are false positives. If there is no
    finer level, each row has a unique code, so that only the query itself is ignored.
    """
    ignored = _ignored_level(data, level)
    finer = filled(data, ignored)[rows] if ignored else np.arange(len(rows))
    return filled(data, level)[rows], finer, filled(data, _coarsest(data, level))[rows]


def queries(data: Dataset, level: str) -> IntArray:
    """Return the rows with at least one homolog: the same class at the level, another class at the next finer level."""
    rows = judged_rows(data, level)
    codes, finer, _ = judged_levels(data, level, rows)
    same = np.bincount(codes, minlength=1)[codes]
    # Members that share both the class and the finer class are not homologs at this level (nor is the item itself).
    _, pair = np.unique(np.stack([codes, finer]), axis=1, return_inverse=True)
    close = np.bincount(pair.ravel())[pair.ravel()]
    return rows[(same - close > 0) & (data.classes[level][rows] >= 0)]


def average_precision(positive: npt.NDArray[np.float32], negative: npt.NDArray[np.float32]) -> float:
    """Return the average precision of a ranking by score, with ties resolved in favour of negatives.

    Args:
        positive: scores of the relevant items, shape (r,), r ≥ 1.
        negative: scores of all others, shape (m,).
    """
    return _precision(_negatives_above(positive, negative, negative[:0]))


def _negatives_above(
    positive: npt.NDArray[np.float32], every: npt.NDArray[np.float32], same: npt.NDArray[np.float32]
) -> IntArray:
    """Return the number of negatives that score at least as high as each positive, best positive first, shape (r,).

    Negatives are the scores in `every` that are not in `same`; passing both avoids a copy of the larger array.
    """
    ranked = np.sort(positive)[::-1]
    found = len(every) - np.searchsorted(np.sort(every), ranked, side="left")
    return np.asarray(found - (len(same) - np.searchsorted(np.sort(same), ranked, side="left")), dtype=np.int64)


def _precision(above: IntArray) -> float:
    """Return the average precision, given the number of negatives above each positive, best positive first."""
    place = np.arange(1, len(above) + 1)
    return float(np.mean(place / (place + above)))


def _members(codes: IntArray) -> dict[int, IntArray]:
    """Return the indices of each code, ascending."""
    order = np.argsort(codes, kind="stable")
    names, starts = np.unique(codes[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))


def sensitivities(positive: npt.NDArray[np.float32], false: npt.NDArray[np.float32], n: int) -> FloatArray:
    """Return the fractions of relevant items above the first, second, … n-th false positive, shape (n,).

    Their mean is ROCₙ. Ties are resolved in favour of the false positive. If there are fewer than n false positives, all
    items with a score (not −inf) are above the missing ones.

    Args:
        positive: scores of the relevant items, shape (r,), r ≥ 1.
        false: scores of the false positives, shape (m,).
    """
    count = min(n, len(false))
    first = np.full(n, -np.inf)
    first[:count] = np.sort(np.partition(false, len(false) - count)[len(false) - count :])[::-1] if count else first[:0]
    return np.asarray((positive[:, None] > first).mean(axis=0), dtype=np.float64)


def expected_average_precision(relevant: FloatArray, others: FloatArray) -> FloatArray:
    """Return the expected average precision of a random order of `relevant` + `others` items.

    For R relevant of N items: (R−1)/(N−1) + (H_N/N)·(N−R)/(N−1), where H_N is the N-th harmonic number.
    """
    from scipy.special import digamma

    total = relevant + others
    harmonic = digamma(total + 1) + np.euler_gamma
    rest = np.maximum(total - 1, 1)
    return np.where(others == 0, 1.0, (relevant - 1) / rest + harmonic / total * others / rest)


def expected_roc(false: FloatArray, n: int) -> FloatArray:
    """Return the expected ROCₙ of a random order of relevant items and `false` false positives.

    A relevant item is equally likely to be in each of the `false` + 1 gaps between false positives, of which i are above the
    i-th false positive.
    """
    ranks = np.arange(1, n + 1)
    return np.asarray(np.minimum(1.0, ranks / (false[:, None] + 1)).mean(axis=1), dtype=np.float64)


def expected_recall(relevant: FloatArray, others: FloatArray, k: int) -> FloatArray:
    """Return the probability of at least one relevant item among the first `k` of a random order (hypergeometric)."""
    from scipy.stats import hypergeom

    total = relevant + others
    return np.asarray(hypergeom.sf(0, total, relevant, np.minimum(k, total)), dtype=np.float64)


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Score the queries at a level in blocks, which bounds memory."""
    rows = judged_rows(data, level)
    every = queries(data, level)
    asked = subsample(every, max(MIN_QUERIES, MAX_SCORES // len(rows)), seed)
    similarity = embedding.similarity(rows)
    place = np.searchsorted(rows, asked)
    here, finer, coarse = judged_levels(data, level, rows)
    ignored_level = _ignored_level(data, level)

    n = len(asked)
    sensitivity, roc, top, precision, first = (np.zeros(n) for _ in range(5))
    relevant, others, wrong = np.zeros(n), np.zeros(n), np.zeros(n)
    peers, homologs = _members(here), _members(coarse)
    step = max(1, SEARCH_BLOCK // len(rows))
    for start in range(0, n, step):
        part = place[start : start + step]
        scores = similarity(rows[part])
        for offset, query in enumerate(part):
            score = scores[offset]
            same, close = peers[here[query]], homologs[coarse[query]]
            own = score[same]
            positive = own[finer[same] != finer[query]]
            at = start + offset
            above = _negatives_above(positive, score, own)
            first[at] = 1 + above[0]
            top[at] = first[at] == 1
            precision[at] = _precision(above)
            relevant[at], others[at], wrong[at] = len(positive), len(rows) - len(same), len(rows) - len(close)
            score[close] = -np.inf  # the remaining ones are false positives
            areas = sensitivities(positive, score, 5)
            sensitivity[at], roc[at] = areas[0], areas.mean()
    curve = [float(np.mean(first <= k)) for k in RANKS]
    estimates = [
        mean_estimate("sensitivity to first FP", sensitivity, asked, float(np.mean(1 / (wrong + 1)))),
        mean_estimate("ROC5", roc, asked, float(np.mean(expected_roc(wrong, 5)))),
        mean_estimate("top-1 accuracy", top, asked, float(np.mean(relevant / (relevant + others)))),
        mean_estimate("recall at 10", first <= 10, asked, float(np.mean(expected_recall(relevant, others, 10)))),
        mean_estimate(
            "mean average precision", precision, asked, float(np.mean(expected_average_precision(relevant, others)))
        ),
    ]
    ignored = f"; the same {ignored_level} ignored" if ignored_level else ""
    drawn = f" (sampled from {len(every):,})" if n < len(every) else ""
    note = f"{counted(n, 'query')}{drawn} against {counted(len(rows), 'sequence')}{ignored}"
    return Measurement(estimates, {"recall at rank": ([float(k) for k in RANKS], curve)}, note)
