"""Prediction of residue labels, such as secondary structure, by logistic regression on residue embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.sequences.fasta import shorten
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.probe.tasks._folds import has_training_split
from phylocli.probe.tasks._linear import fit_logistic
from phylocli.statistics.bootstrap import Estimate
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

NEEDS_RESIDUES = True
ORDER = 70
TITLE = "Residue labels"
METRICS = {
    "residue accuracy": Metric(
        "Fraction of residues whose label is predicted correctly, over all test sequences (Q3 for three states of secondary "
        "structure, Q8 for eight). The bootstrap resamples sequences. Chance: the most frequent label."
    ),
    "residue macro-F1": Metric(
        "F1 of each label over all residues, averaged over labels, so that rare labels count as much as frequent ones."
    ),
}
PENALTIES = (0.01, 1.0)
MAX_TRAIN, MAX_VALID, MAX_SCORED = 600, 150, 400
UNKNOWN = frozenset("-.?~ ")
"""Letters in a label string that stand for unlabelled residues."""


def levels(data: Dataset) -> list[str]:
    """Return the columns of residue labels, if there are training, validation and test sequences."""
    parts = _parts(data, 0)
    return list(data.residue_labels) if all(len(part) for part in parts) else []


def _parts(data: Dataset, seed: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return training, validation and test rows: the split of the labels, or a random split of 65 : 15 : 20."""
    if has_training_split(data):
        train, scored = data.rows_of("train"), data.evaluated_rows()
        valid = data.rows_of("valid") if data.evaluate == "test" else train[:0]
    else:
        order = np.random.default_rng(seed).permutation(len(data))
        cut = round(0.8 * len(order))
        train, scored, valid = np.sort(order[:cut]), np.sort(order[cut:]), order[:0]
    train = subsample(train, MAX_TRAIN + (0 if len(valid) else MAX_VALID), seed)
    if not len(valid):
        pick = subsample(np.arange(len(train)), max(1, len(train) * 3 // 16), seed + 1)
        train, valid = np.delete(train, pick), train[pick]
    return train, subsample(valid, MAX_VALID, seed), subsample(scored, MAX_SCORED, seed)


def _flat(
    data: Dataset, embedding: Embedding, level: str, rows: IntArray, codes: dict[str, int]
) -> tuple[FloatArray, IntArray, IntArray]:
    """Return features, (residues, D), label codes and index in `rows` of all labelled residues."""
    assert embedding.residues is not None
    arrays = embedding.residues([data.ids[row] for row in rows])
    features, labels, owners = [], [], []
    for place, (row, values) in enumerate(zip(rows, arrays, strict=True)):
        text = data.residue_labels[level][row]
        mask = data.residue_mask[row] if data.residue_mask else ""
        if len(text) != len(values):
            raise BadInputError(
                f"{embedding.name}: {shorten(data.ids[row])!r} has embeddings of {len(values)} residues, "
                f"but {len(text)} letters in the column {level!r}",
                fix="embed the sequences of the labels table",
            )
        found = np.array([codes.get(c, -1) for c in text], dtype=np.int64)
        if mask:
            found[np.array(list(mask)) == "0"] = -1
        features.append(values[found >= 0])
        labels.append(found[found >= 0])
        owners.append(np.full(len(labels[-1]), place))
    return np.concatenate(features), np.concatenate(labels), np.concatenate(owners)


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit on the residues of training sequences and score the residues of test sequences."""
    train, valid, scored = _parts(data, seed)
    letters = sorted(set("".join(data.residue_labels[level])) - UNKNOWN)
    codes = {letter: code for code, letter in enumerate(letters)}
    x_train, y_train, _ = _flat(data, embedding, level, train, codes)
    x_valid, y_valid, _ = _flat(data, embedding, level, valid, codes)
    x, truth, owner = _flat(data, embedding, level, scored, codes)
    predict = fit_logistic(x_train, y_train, x_valid, y_valid, PENALTIES)
    guess = predict(x)

    size = len(letters)
    tables = np.bincount((owner * size + truth) * size + guess, minlength=len(scored) * size * size)
    confusion = tables.reshape(len(scored), size, size).astype(np.float64)

    def accuracy(index: IntArray) -> float:
        whole = confusion[index].sum(axis=0)
        return float(np.trace(whole) / whole.sum())

    def macro_f1(index: IntArray) -> float:
        whole = confusion[index].sum(axis=0)
        present = whole.sum(axis=1) > 0
        return float(np.mean(2 * np.diag(whole)[present] / (whole.sum(axis=0) + whole.sum(axis=1))[present]))

    everything = np.arange(len(scored))
    majority = float(np.mean(truth == np.bincount(y_train, minlength=size).argmax()))
    n = len(scored)
    estimates = [
        Estimate("residue accuracy", accuracy(everything), n, statistic=accuracy, rows=scored, chance=majority),
        Estimate(
            "residue macro-F1",
            macro_f1(everything),
            n,
            statistic=macro_f1,
            rows=scored,
            interval="normal",
            bounds=(0.0, 1.0),
        ),
    ]
    said = f"{counted(len(truth), 'residue')} of {counted(n, 'sequence')}, {size} labels ({', '.join(letters)})"
    return Measurement(estimates, note=f"{said}; trained on {counted(len(train), 'sequence')}")
