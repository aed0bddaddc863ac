"""Training and test items: the split of the labels, or cross-validation that can keep groups together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.probe.inputs.dataset import Dataset

IntArray = npt.NDArray[np.int64]

FOLDS = 5
ONE_FOLD = 25_000
"""Number of items above which only one fold is used; it then has at least 5,000 test items."""


@dataclass
class Fold:
    """Training rows, validation rows for model selection (if empty, training rows are held out), and test rows."""

    train: IntArray
    valid: IntArray
    test: IntArray


def has_training_split(data: Dataset) -> bool:
    """Return whether the labels have a split with training items and items to score."""
    return data.split is not None and "train" in data.split and data.evaluate is not None


def folds(data: Dataset, rows: IntArray, seed: int, codes: IntArray | None = None) -> tuple[list[Fold], str]:
    """Return the folds over these rows, and a description of them.

    The split of the labels is used if there is one. Otherwise there are five folds (only the first of them with more than
    `ONE_FOLD` items), stratified by class if `codes` are given. With `data.split_by`, items of the same class of that column
    are in the same fold.

    Args:
        data: the items.
        rows: rows to use, shape (rows,).
        seed: random seed of the shuffling.
        codes: class of each row, shape (rows,).
    """
    if has_training_split(data):
        assert data.split is not None
        split = np.array(data.split, dtype=object)[rows]
        valid = rows[split == "valid"] if data.evaluate == "test" else rows[:0]
        return [
            Fold(rows[split == "train"], valid, rows[split == data.evaluate])
        ], f"trained on train, scored on {data.evaluate}"
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes with fewer members than folds
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
