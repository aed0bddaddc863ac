"""The distance matrix that distance engines start from."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.tree.distances.matrix import distance_matrix_report, fill_undefined
from phylocli.tree.settings import Settings, describe_model, shape
from phylocli.tree.skbio import import_skbio

logger = logging.getLogger(__name__)

SINGLE_ABOVE = 2_000
"""Larger families have their matrix, and what scikit-bio makes of it, in single precision: half the memory and time."""


def distances(states: npt.NDArray[np.uint8], settings: Settings) -> tuple[Any, str, float]:
    """Return scikit-bio's distance matrix of the rows, ids being row numbers, a description of it, and the α used."""
    alpha = shape(states, settings)
    matrix, report = distance_matrix_report(
        states,
        model=settings.model,
        alpha=alpha,
        min_overlap=settings.min_overlap,
        max_distance=settings.max_distance,
        dtype=np.float32 if len(states) > SINGLE_ABOVE else np.float64,
    )
    filled = fill_undefined(matrix)
    description = describe_model(settings, alpha)
    if report.saturated:
        description += f", {report.saturated} of {report.pairs} pairs saturated"
    if filled:
        description += f", {filled} of {report.pairs} pairs share too few columns and go by way of others"
    logger.debug(f"distances: {description}")
    ids = [str(i) for i in range(len(states))]
    return import_skbio().DistanceMatrix(matrix, ids, validate=False), description, alpha
