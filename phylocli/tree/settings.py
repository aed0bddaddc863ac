"""Settings, traits and results of tree engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from phylocli.formats.tree import Tree
from phylocli.tree.distances.alpha import estimate_alpha
from phylocli.tree.distances.matrix import FORMULAS, MAX_DISTANCE, DistanceReport, distance_matrix_report
from phylocli.tree.models import MODELS

SINGLE_ABOVE = 2_000
"""Number of sequences above which distance matrices are in single precision, which halves memory and time."""


@dataclass(frozen=True)
class Settings:
    """Settings of a tree engine.

    Attributes:
        model: `lg`, `wag`, `jtt`, `poisson`, or for distance engines also `kimura` and `p`.
        alpha: shape of the Γ distribution of site rates, for distances; None estimates it from pairs of rows.
        min_overlap: minimum number of shared columns for the distance of a pair of rows.
        max_distance: distance of saturated pairs.
        seed: random seed.
        timeout: time limit of an external program in seconds of wall time; None sets no limit.
    """

    model: str = "lg"
    alpha: float | None = None
    min_overlap: int = 10
    max_distance: float = MAX_DISTANCE
    seed: int = 0
    timeout: float | None = None


@dataclass(frozen=True)
class Traits:
    """Properties of a tree engine, `TRAITS` of its module.

    Attributes:
        models: names of its models.
        uses_distances: whether it works on the matrix of pairwise distances. This limits the number of sequences; bootstrap
            support is available, and branch lengths and splits are improved by likelihood by default.
        automatic_up_to: maximum number of distinct sequences for which `auto` chooses it; None: it is never chosen.
        available: returns whether its program or package is installed.
    """

    models: tuple[str, ...] = MODELS
    uses_distances: bool = False
    automatic_up_to: float | None = None
    available: Callable[[], bool] = lambda: True


class Inferred(NamedTuple):
    """The result of an engine: a tree whose tips are named by row number, a description of the method, and α."""

    tree: Tree
    description: str
    alpha: float | None = None


def shape(states: npt.NDArray[np.uint8], settings: Settings) -> float:
    """Return α: the user's value, or else an estimate from the rows."""
    if settings.model in FORMULAS:
        return 1.0
    if settings.alpha is not None:
        return settings.alpha
    return estimate_alpha(states, model=settings.model, seed=settings.seed, max_distance=settings.max_distance)


def distances_of(
    states: npt.NDArray[np.uint8], settings: Settings, alpha: float
) -> tuple[npt.NDArray[np.floating[Any]], DistanceReport]:
    """Return the distance matrix, and a report of saturated and undefined pairs."""
    return distance_matrix_report(
        states,
        model=settings.model,
        alpha=alpha,
        min_overlap=settings.min_overlap,
        max_distance=settings.max_distance,
        dtype=np.float32 if len(states) > SINGLE_ABOVE else np.float64,
    )


def describe_model(settings: Settings, alpha: float) -> str:
    """Return the distance's name and parameters, for example `LG+Γ (α = 1)`."""
    if settings.model in ("kimura", "p"):
        return {"kimura": "Kimura distances", "p": "p-distances"}[settings.model]
    if np.isinf(alpha):
        return f"{settings.model.upper()} distances with equal rates"
    return f"{settings.model.upper()}+Γ distances (α = {alpha:g}{'' if settings.alpha is not None else ', estimated'})"
