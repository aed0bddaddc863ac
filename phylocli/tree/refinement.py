"""Likelihood refinement of distance trees and given trees, with descriptions for the notes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt

from phylocli.formats.tree import Tree
from phylocli.tree.models import MODELS
from phylocli.tree.settings import Inferred, Settings, shape

if TYPE_CHECKING:
    from phylocli.tree.likelihood import Refined

logger = logging.getLogger(__name__)

MOST_BYTES = 8e9
"""Maximum memory for partial likelihoods; branch lengths of larger families are not refined."""

_FULL_SWEEPS = 40  # maximum; three or four suffice from good starting lengths
_FULL_TOLERANCE = 0.05


def refines(model: str) -> bool:
    """Return whether a model has a likelihood, unlike distance formulas."""
    return model in MODELS


def refine(
    tree: Tree,
    names: list[str],
    states: npt.NDArray[np.uint8],
    settings: Settings,
    *,
    alpha: float | None = None,
    full: bool = False,
) -> Inferred:
    """Refine branch lengths by likelihood.

    Args:
        tree: a tree with at least three tips.
        names: name of each row, which are the names of the tips.
        states: alignment, shape (n, columns).
        settings: model and α.
        alpha: the shape used for the tree's distances; None uses that of the settings, or else an estimate.
        full: whether to maximise the likelihood over lengths, their scale and α. Otherwise one sweep is made over the
            branches of a distance tree, which corrects their proportions and keeps scale and α of the distances. These are
            from continuous Γ rates, whereas four categories overestimate the lengths of long trees (docs/likelihood.md).

    Returns:
        The tree, a description for its note, and α.
    """
    from phylocli.tree.likelihood import refine_trees

    if not fits_memory(states):
        logger.warning(
            f"branch lengths of {len(states)} sequences of {states.shape[1]} columns are not refined by likelihood, which "
            f"would take more than {MOST_BYTES / 1e9:.0f} GB"
        )
        return Inferred(tree, "lengths not refined: too large", alpha)
    if alpha is None:
        alpha = shape(states, settings)
    with one_thread():
        [found] = refine_trees([tree], [names], [states], model=settings.model, alpha=min(alpha, 100.0), **schedule(full))
    return Inferred(replace(tree, length=found.tree.length), words_for(found, settings.model, full), found.alpha)


class Schedule(TypedDict, total=False):
    """Arguments of `refine_trees` that determine the extent of a fit."""

    sweeps: int
    tolerance: float
    fit_alpha: bool


def schedule(full: bool) -> Schedule:
    """Return the arguments of `refine_trees` for a full fit or a single sweep."""
    return {"sweeps": _FULL_SWEEPS, "tolerance": _FULL_TOLERANCE} if full else {"sweeps": 1, "fit_alpha": False}


def words_for(found: Refined, model: str, full: bool) -> str:
    """Return a description of a fit for the note."""
    words = "lengths by likelihood" if full else "lengths by one likelihood sweep"
    return f"{words}, {model.upper()}+Γ4 (α = {found.alpha:.3g}, log likelihood {found.log_likelihood:.2f})"


def rearrange(
    tree: Tree, names: list[str], states: npt.NDArray[np.uint8], settings: Settings, *, alpha: float | None = None
) -> Inferred:
    """Improve a distance tree by a sweep and nearest-neighbour interchanges with one rate per column.

    `refine` then makes a second sweep, with four rate categories. For arguments and results see there.
    """
    from phylocli.tree.likelihood import interchange

    if not fits_memory(states):
        return Inferred(tree, "no interchanges: too large", alpha)
    if alpha is None:
        alpha = shape(states, settings)
    model, bounded = settings.model, min(alpha, 100.0)
    with one_thread():
        found = interchange(tree, names, states, model=model, alpha=bounded, site_rates=True, sweep=True)
    return Inferred(found.tree, f"{found.moves} interchange{'s' * (found.moves != 1)} by likelihood", alpha)


def improve(
    tree: Tree, names: list[str], states: npt.NDArray[np.uint8], settings: Settings, *, alpha: float | None = None
) -> Inferred:
    """Improve a tree by likelihood-based nearest-neighbour interchanges and a further sweep.

    The sum of the branch lengths is preserved, because each sweep would increase it slightly above the scale of the
    distances.

    Args:
        tree: a tree with branch lengths refined by likelihood.
        names, states, settings, alpha: see `refine`.

    Returns:
        The tree, a description for its note, and α.
    """
    from phylocli.tree.likelihood import interchange, refine_trees

    if not fits_memory(states):
        return Inferred(tree, "no interchanges: too large", alpha)
    if alpha is None:
        alpha = shape(states, settings)
    model, bounded = settings.model, min(alpha, 100.0)
    with one_thread():
        moved = interchange(tree, names, states, model=model, alpha=bounded)
        if not moved.moves:
            return Inferred(tree, "no thorough interchange increases the likelihood", alpha)
        fit = functools.partial(refine_trees, model=model, alpha=bounded, fit_alpha=False)
        [swept] = fit([moved.tree], [names], [states], sweeps=1)
        scale = np.nansum(tree.length) / max(np.nansum(swept.tree.length), 1e-12)
        scaled = replace(swept.tree, length=swept.tree.length * scale)
        [final] = fit([scaled], [names], [states], sweeps=0)
    words = f"{moved.moves} thorough interchange{'s' * (moved.moves > 1)} and a further sweep"
    words += f" (log likelihood {final.log_likelihood:.2f})"
    return Inferred(scaled, words, alpha)


def fits_memory(states: npt.NDArray[np.uint8]) -> bool:
    """Return whether the partial likelihoods of an alignment, shape (n, columns), fit in `MOST_BYTES`."""
    from phylocli.tree.likelihood import partial_bytes

    return partial_bytes(*states.shape) <= MOST_BYTES


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: families are processed in parallel, and threads do not speed up such small arrays."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
