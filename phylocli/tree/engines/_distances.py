"""The distance matrix for distance engines."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.tree.distances.matrix import fill_undefined
from phylocli.tree.settings import Settings, describe_model, distances_of, shape
from phylocli.tree.skbio import import_skbio

logger = logging.getLogger(__name__)


def distances(states: npt.NDArray[np.uint8], settings: Settings) -> tuple[Any, str, float]:
    """Return scikit-bio's distance matrix of the rows, whose ids are row numbers, its description, and α."""
    alpha = shape(states, settings)
    matrix, report = distances_of(states, settings, alpha)
    filled = fill_undefined(matrix)
    description = describe_model(settings, alpha)
    if report.saturated:
        description += f", {report.saturated} of {report.pairs} pairs saturated"
    if filled:
        description += f", {filled} of {report.pairs} pairs share too few columns (distance via other rows)"
    logger.debug(f"distances: {description}")
    ids = [str(i) for i in range(len(states))]
    return import_skbio().DistanceMatrix(matrix, ids, validate=False), description, alpha
