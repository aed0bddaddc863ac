"""Between our arrays and scikit-bio's trees."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.formats.newick import Tree
from phylocli.tree.alpha import estimate_alpha
from phylocli.tree.distances import FORMULAS, distance_matrix_report, fill_undefined
from phylocli.tree.engines._settings import Settings

SINGLE_ABOVE = 2_000
"""Larger families have their matrix, and what scikit-bio makes of it, in single precision: half the memory and time."""


class _NoTorch:
    """A finder that makes PyTorch look as if it were not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            raise ModuleNotFoundError("PyTorch is not needed here", name=name)


def import_skbio() -> Any:
    """Import scikit-bio's trees without PyTorch, which its test helpers load where it is installed.

    That would cost each process two seconds and 200 MB. Whoever needs PyTorch can import it afterwards.
    """
    blocked = "torch" not in sys.modules and "skbio" not in sys.modules
    if blocked:
        sys.meta_path.insert(0, _NoTorch)
    try:
        import skbio.tree
    finally:
        if blocked:
            sys.meta_path.remove(_NoTorch)
    return skbio


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
    console.detail(f"distances: {description}")
    ids = [str(i) for i in range(len(states))]
    return import_skbio().DistanceMatrix(matrix, ids, validate=False), description, alpha


def shape(states: npt.NDArray[np.uint8], settings: Settings) -> float:
    """Return the α to use: what the user gave, else the estimate from the rows."""
    if settings.model in FORMULAS:
        return 1.0
    if settings.alpha is not None:
        return settings.alpha
    return estimate_alpha(states, model=settings.model, seed=settings.seed, max_distance=settings.max_distance)


def describe_model(settings: Settings, alpha: float) -> str:
    """Return the distance's name and parameters, for example `LG+Γ (α = 1)`."""
    if settings.model in ("kimura", "p"):
        return {"kimura": "Kimura distances", "p": "p-distances"}[settings.model]
    if np.isinf(alpha):
        return f"{settings.model.upper()} distances with equal rates"
    return f"{settings.model.upper()}+Γ distances (α = {alpha:g}{'' if settings.alpha is not None else ', estimated'})"


def version() -> str:
    """Return scikit-bio's name and version."""
    return f"scikit-bio {import_skbio().__version__}"


def from_skbio(root: Any) -> Tree:
    """Return a scikit-bio tree as arrays."""
    parent: list[int] = []
    length: list[float] = []
    names: list[str] = []
    stack = [(root, -1)]
    while stack:
        node, up = stack.pop()
        index = len(parent)
        parent.append(up)
        length.append(float(node.length or 0.0) if up >= 0 else 0.0)
        names.append(node.name or "" if not node.children else "")
        stack.extend((child, index) for child in reversed(node.children))
    return Tree(np.array(parent, dtype=np.int64), np.array(length), names)
