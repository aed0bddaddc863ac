"""Separation of homologous from unrelated pairs by a common similarity threshold."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks import retrieval
from phylocli.probe.tasks._contract import SEARCH_BLOCK, Measurement, Metric
from phylocli.statistics.bootstrap import Estimate
from phylocli.statistics.ranking import Ranked
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

BY_SIMILARITY = True
ORDER = 20
TITLE = "Pairwise homology"
IDENTITY_BINS = ((0.0, 0.2), (0.2, 0.3), (0.3, 0.5), (0.5, 1.01))


def _bin_name(low: float, high: float) -> str:
    if low == 0:
        return f"AUROC, identity under {high:.0%}"
    return f"AUROC, identity {low:.0%} or more" if high > 1 else f"AUROC, identity {low:.0%} to {high:.0%}"


METRICS = {
    "AUROC": Metric(
        "Probability that a pair of homologs is more similar than an unrelated pair: 1 is perfect, 0.5 is random. Unlike "
        "in retrieval, similarities of different queries are compared. The bootstrap resamples queries."
    ),
    "precision at half recall": Metric(
        "Fraction of homologs among the pairs above the median similarity of homologs, with equal numbers of homologous and "
        "unrelated pairs."
    ),
    **{
        _bin_name(*edges): Metric(
            "AUROC of homologs with a sequence identity in this range (global alignment, BLOSUM62, relative to the shorter "
            "sequence) against all unrelated pairs."
        )
        for edges in IDENTITY_BINS
    },
}
MAX_QUERIES = 1_000
PARTNERS = 10
"""Maximum number of homologs, and of unrelated partners, sampled per query."""
MAX_ALIGNED = 2_000
MIN_IN_BIN = 30
REPLICATES = 500


def levels(data: Dataset) -> list[str]:
    """Return the levels of retrieval that have homologous and unrelated pairs."""
    return [c for c in retrieval.levels(data) if len(_pairs(data, c, 0)[0])]


def _pairs(data: Dataset, level: str, seed: int) -> tuple[IntArray, IntArray, npt.NDArray[np.bool_]]:
    """Return rows of queries, rows of partners, and whether they are homologs; both kinds equally often for each query."""
    rows = retrieval.judged_rows(data, level)
    queries = subsample(retrieval.queries(data, level), MAX_QUERIES, seed)
    here, finer, coarse = retrieval.judged_levels(data, level, rows)
    place = np.searchsorted(rows, queries)
    rng = np.random.default_rng(seed)
    first: list[IntArray] = []
    second: list[IntArray] = []
    truth: list[npt.NDArray[np.bool_]] = []
    for row, at in zip(queries, place, strict=True):
        homologs = np.flatnonzero((here == here[at]) & (finer != finer[at]))
        unrelated = np.flatnonzero(coarse != coarse[at])
        count = min(PARTNERS, len(homologs), len(unrelated))
        for pool, related in ((homologs, True), (unrelated, False)):
            second.append(rows[rng.choice(pool, count, replace=False)])
            truth.append(np.full(count, related))
        first.append(np.full(2 * count, row))
    if not first:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    return np.concatenate(first), np.concatenate(second), np.concatenate(truth)


def _scores(data: Dataset, embedding: Embedding, first: IntArray, second: IntArray) -> FloatArray:
    """Return the similarity of each pair, computed in blocks of queries."""
    rows = data.evaluated_rows()
    similarity = embedding.similarity(rows)
    queries, owner = np.unique(first, return_inverse=True)
    column = np.searchsorted(rows, second)
    found = np.zeros(len(first))
    step = max(1, SEARCH_BLOCK // len(rows))
    for start in range(0, len(queries), step):
        block = similarity(queries[start : start + step])
        inside = (owner >= start) & (owner < start + step)
        found[inside] = block[owner[inside] - start, column[inside]]
    return found


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Compute the metrics on pairs that depend on data and seed only, not on the embedding."""
    first, second, truth = _pairs(data, level, seed)
    scores = _scores(data, embedding, first, second)
    queries, owner = np.unique(first, return_inverse=True)
    n = len(queries)

    def estimate(metric: str, keep: npt.NDArray[np.bool_], chance: float, recall: float | None = None) -> Estimate:
        ranked = Ranked(scores[keep], truth[keep], owner[keep], n)
        ask = ranked.auroc if recall is None else partial(ranked.precision_at, recall)
        return Estimate(metric, ask(), n, statistic=ask, rows=queries, chance=chance, replicates=REPLICATES)

    everything = np.ones(len(truth), dtype=bool)
    estimates = [estimate("AUROC", everything, 0.5), estimate("precision at half recall", everything, 0.5, 0.5)]
    if all(data.ids[row] in data.sequences for row in (*first, *second)):
        aligned = subsample(np.flatnonzero(truth), MAX_ALIGNED, seed)
        values = np.array([data.identity(int(a), int(b)) for a, b in zip(first[aligned], second[aligned], strict=True)])
        for low, high in IDENTITY_BINS:
            inside = aligned[(values >= low) & (values < high)]
            if len(inside) >= MIN_IN_BIN:
                keep = ~truth
                keep[inside] = True
                estimates.append(estimate(_bin_name(low, high), keep, 0.5))
    curve = {"ROC": Ranked(scores, truth, owner, n).roc()}
    return Measurement(
        estimates, curve, f"{truth.sum():,} homologous pairs and as many unrelated ones, of {counted(n, 'query')}"
    )
