"""Who is learned from and who is scored: the labels' own split, or cross-validation that can keep groups whole."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.probe.inputs.dataset import Dataset

IntArray = npt.NDArray[np.int64]

FOLDS = 5
ONE_FOLD = 25_000
"""Beyond so many items one fold is learned and scored: 5,000 scored items are enough."""


@dataclass
class Fold:
    """Rows to train on, rows to choose settings on (if none, some training rows are held out), and rows to score."""

    train: IntArray
    valid: IntArray
    test: IntArray


def has_training_split(data: Dataset) -> bool:
    """Return whether the labels assign items to training and scoring."""
    return data.split is not None and "train" in data.split and data.evaluate is not None


def folds(data: Dataset, rows: IntArray, seed: int, codes: IntArray | None = None) -> tuple[list[Fold], str]:
    """Return the folds over these rows, and how they were made in words.

    The split of the labels if there is one. Otherwise five folds (only the first one if there are more than `ONE_FOLD`
    items), stratified by class if `codes` are given; with `split_by`, no class of that column is in two folds.

    Args:
        data: the items.
        rows: rows that may be used, shape (rows,).
        seed: of the shuffling.
        codes: class of each of `rows`, shape (rows,).
    """
    if has_training_split(data):
        assert data.split is not None
        split = np.array(data.split, dtype=object)[rows]
        valid = rows[split == "valid"] if data.evaluate == "test" else rows[:0]
        return [
            Fold(rows[split == "train"], valid, rows[split == data.evaluate])
        ], f"learned on train, scored on {data.evaluate}"
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer members than folds: known, and no reason to stop
        if data.split_by is not None:
            groups = data.groups_of(data.split_by, rows)
            count = min(FOLDS, len(np.unique(groups)))
            said = f"{count}-fold cross-validation, no {data.split_by} in two folds"
            if codes is not None:
                parts = list(StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(rows, codes, groups))
            else:
                parts = list(GroupKFold(count, shuffle=True, random_state=seed).split(rows, groups=groups))
        elif codes is not None:
            said = f"{FOLDS}-fold cross-validation, stratified; homologs may be in two folds"
            parts = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, codes))
        else:
            said = f"{FOLDS}-fold cross-validation; homologs may be in two folds"
            parts = list(KFold(FOLDS, shuffle=True, random_state=seed).split(rows))
    if len(rows) > ONE_FOLD:
        parts = parts[:1]
        said = f"one fold of a {said}"
    return [Fold(rows[train], rows[:0], rows[test]) for train, test in parts], said
