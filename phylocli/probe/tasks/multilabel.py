"""Multilabel classification: prediction of terms (GO, EC, Pfam) by logistic regression and nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.label_types import Terms
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.probe.tasks._folds import FOLDS, Fold, folds, has_training_split
from phylocli.probe.tasks._heads import TermRegression
from phylocli.statistics.bootstrap import Estimate
from phylocli.statistics.ranking import Ranked, RankedClasses
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

ORDER = 50
TITLE = "Multilabel classification"
METRICS = {
    "Fmax": Metric(
        "Maximum over thresholds of the protein-centric F1: precision is averaged over proteins with a prediction, recall "
        "over all, as in CAFA (Radivojac et al. 2013, doi:10.1038/nmeth.2340). Terms that are missing from the training "
        "part count as false negatives. Chance: term frequencies as predictions for every protein."
    ),
    "5-NN Fmax": Metric(
        "Fmax of annotation transfer from the five nearest neighbours in the training part, weighted by cosine "
        "(Littmann et al. 2021, doi:10.1038/s41598-020-80786-0). Nothing is fitted."
    ),
    "micro AUPRC": Metric(
        "Average precision over all pairs of protein and term, dominated by frequent terms. Chance: term frequencies as "
        "predictions."
    ),
    "macro AUPRC": Metric(
        "Average precision of each term over the proteins, averaged over terms of the test proteins, so that rare terms "
        "count as much as frequent ones. Chance: frequency of each term."
    ),
}
PENALTIES = (3e-2, 3e-3, 3e-4, 3e-5)
"""Penalties of the squared weights, relative to the cross entropy summed over terms and averaged over proteins."""
THRESHOLDS = np.linspace(0.01, 1.0, 100)
MAX_TRAIN = 20_000
MAX_TERMS = 2_000
MIN_ITEMS = 10
NEIGHBOURS = 5
REPLICATES = 200


def _rows(data: Dataset, level: str) -> IntArray:
    known = np.flatnonzero(data.terms[level].known)
    return known if has_training_split(data) else np.intersect1d(known, data.evaluated_rows())


def levels(data: Dataset) -> list[str]:
    """Return the columns of terms with enough proteins for training and test."""
    found = []
    for column in data.terms:
        rows = _rows(data, column)
        parts = folds(data, rows, 0)[0] if len(rows) >= FOLDS * MIN_ITEMS else []
        if parts and all(len(f.train) >= MIN_ITEMS and len(f.test) >= MIN_ITEMS for f in parts):
            found.append(column)
    return found


def fmax(counts: FloatArray, hits: FloatArray, sizes: FloatArray) -> float:
    """Return CAFA's Fmax.

    Args:
        counts: number of predicted terms at each threshold, shape (n, thresholds).
        hits: number of correctly predicted terms at each threshold, shape (n, thresholds).
        sizes: number of true terms of each protein, shape (n,), at least 1.
    """
    return _fmax(*_precision_recall(counts, hits, sizes), np.ones(len(sizes)))


def _precision_recall(counts: FloatArray, hits: FloatArray, sizes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return coverage (1 if any term is predicted), precision and recall of each protein at each threshold."""
    return (counts > 0).astype(np.float64), hits / np.maximum(counts, 1), hits / sizes[:, None]


def _fmax(some: FloatArray, precision: FloatArray, recall: FloatArray, weights: FloatArray) -> float:
    covered = weights @ some
    p = weights @ precision / np.maximum(covered, 1e-300)
    r = weights @ recall / weights.sum()
    return float(np.max(np.where(covered > 0, 2 * p * r / np.maximum(p + r, 1e-300), 0.0)))


def _at_thresholds(scores: Float32Array, truth: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Return the number of predicted and of correctly predicted terms at each threshold, shape (n, thresholds)."""
    # A term is predicted at all thresholds up to its score, so counts are reverse cumulative histograms.
    step = np.searchsorted(THRESHOLDS, scores.astype(np.float64) + 1e-9, side="right")
    size = len(THRESHOLDS) + 1
    flat = step + np.arange(len(step))[:, None] * size
    every = np.bincount(flat.ravel(), minlength=len(step) * size).reshape(len(step), size)
    right = np.bincount(flat[truth], minlength=len(step) * size).reshape(len(step), size)
    counts, hits = (np.cumsum(a[:, ::-1], axis=1)[:, ::-1][:, 1:] for a in (every, right))
    return counts.astype(np.float64), hits.astype(np.float64)


def _fmax_figure(metric: str, scores: Float32Array, truth: npt.NDArray[np.bool_], rows: IntArray, chance: float) -> Estimate:
    counts, hits = _at_thresholds(scores, truth)
    curves = _precision_recall(counts, hits, truth.sum(axis=1).astype(np.float64))

    def again(index: IntArray) -> float:
        return _fmax(*curves, np.bincount(index, minlength=len(rows)).astype(np.float64))

    value = _fmax(*curves, np.ones(len(rows)))
    return Estimate(metric, value, len(rows), statistic=again, rows=rows, chance=chance, replicates=5 * REPLICATES)


def _neighbours(unit: Float32Array, fold: Fold, member: Any) -> Float32Array:
    """Return the terms of each test protein as the cosine-weighted mean over its nearest neighbours."""
    count = min(NEIGHBOURS, len(fold.train))
    similarity = unit[fold.test] @ unit[fold.train].T
    near = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    weights = np.maximum(np.take_along_axis(similarity, near, axis=1), 0)
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    learned = member[fold.train]
    found = np.zeros((len(fold.test), member.shape[1]), dtype=np.float32)
    for k in range(count):
        found += weights[:, k : k + 1] * learned[near[:, k]].toarray()
    return found


def _predicted(
    x: Float32Array, unit: Float32Array, terms: Terms, fold: Fold, seed: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Return predictions for test proteins by regression, neighbours and term frequencies, (test, terms) each."""
    member = terms.member.astype(np.float32)
    frequency = np.asarray(member[fold.train].mean(axis=0)).ravel()
    # Only the most frequent terms are predicted; terms that are missing from the training part never are.
    learned = np.sort(np.argsort(-frequency, kind="stable")[: min(MAX_TERMS, int((frequency > 0).sum()))])
    inner, valid = fold.train, fold.valid
    if not len(valid):
        pick = subsample(np.arange(len(inner)), max(1, len(inner) // 6), seed)
        inner, valid = np.delete(inner, pick), inner[pick]
    target = member[:, learned]
    model = TermRegression(x[inner], target[inner].toarray())
    sizes = terms.member[valid].sum(axis=1).A1.astype(np.float64)
    held = target[valid].toarray().astype(bool)
    scores = []
    for penalty in PENALTIES:  # from strong to weak, with warm starts
        model.fit(penalty)
        counts, hits = _at_thresholds(model.predict(x[valid]), held)
        scores.append(fmax(counts, hits, sizes))
    final = TermRegression(x[fold.train], target[fold.train].toarray())
    final.fit(PENALTIES[int(np.argmax(scores))])
    said = np.zeros((len(fold.test), len(terms.names)), dtype=np.float32)
    said[:, learned] = final.predict(x[fold.test])
    plain = np.broadcast_to(frequency.astype(np.float32), said.shape)
    return said, _neighbours(unit, fold, member), plain


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit on the training proteins of each fold and score its test proteins; every protein is scored once."""
    terms = data.terms[level]
    parts, said = folds(data, _rows(data, level), seed)
    unit = embedding.unit_rows()
    found = []
    for fold in parts:
        fold.train = subsample(fold.train, MAX_TRAIN, seed)
        found.append(_predicted(embedding.vectors, unit, terms, fold, seed))
    regression, neighbours, plain = (np.concatenate(part) for part in zip(*found, strict=True))
    rows = np.concatenate([fold.test for fold in parts])
    truth = terms.member[rows].toarray()
    sizes = truth.sum(axis=1).astype(np.float64)
    chance = fmax(*_at_thresholds(plain, truth), sizes)

    n, width = truth.shape
    owners = np.repeat(np.arange(n), width)
    micro = Ranked(regression.ravel(), truth.ravel(), owners, n)
    plain_micro = Ranked(plain.ravel(), truth.ravel(), owners, n).average_precision()
    macro = RankedClasses(regression, truth)
    estimates = [
        _fmax_figure("Fmax", regression, truth, rows, chance),
        _fmax_figure("5-NN Fmax", neighbours, truth, rows, chance),
        Estimate(
            "micro AUPRC",
            micro.average_precision(),
            n,
            statistic=micro.average_precision,
            rows=rows,
            chance=plain_micro,
            replicates=REPLICATES,
        ),
        Estimate(
            "macro AUPRC",
            macro.average_precision(),
            n,
            statistic=macro.average_precision,
            rows=rows,
            chance=float(truth.mean(axis=0)[truth.any(axis=0)].mean()),
            interval="normal",  # resampled duplicates bias the precision of rare terms upwards
            bounds=(0.0, 1.0),
            replicates=REPLICATES // 4,
        ),
    ]
    used = int(truth.any(axis=0).sum())
    return Measurement(estimates, note=f"{n:,} proteins, {used:,} terms, {sizes.mean():.1f} per protein; {said}")
