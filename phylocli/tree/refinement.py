"""The likelihood refinement of a distance tree or a given tree: its extent and its description."""

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
"""Larger families keep their lengths: partial likelihoods would take more memory than this."""

_FULL_SWEEPS = 40  # at most; a good start needs three or four
_FULL_TOLERANCE = 0.05


def refines(model: str) -> bool:
    """Return whether the model `Settings.model` has a likelihood, unlike formulas for distances."""
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
    """Return a tree with lengths by likelihood, a description for its note, and the α that belongs to them.

    Args:
        tree: three tips or more.
        names: of the rows; the tips' names.
        states: alignment, shape (n, columns).
        settings: model and α.
        alpha: the shape used for the tree's distances; None: that of the settings, else estimated.
        full: fit lengths, their scale and α to the maximum. Otherwise one sweep over the branches of a distance tree, which
            corrects their proportions and keeps scale and α of the distances: those are from continuous Γ rates, whereas
            four categories make long trees too long (docs/likelihood.md).
    """
    from phylocli.tree.likelihood import refine_trees

    if not fits_memory(states):
        logger.warning(
            f"{len(states)} sequences of {states.shape[1]} columns: branch lengths stay those of the distance tree, "
            f"their likelihood would take more than {MOST_BYTES / 1e9:.0f} GB"
        )
        return Inferred(tree, "lengths not refined: too large", alpha)
    if alpha is None:
        alpha = shape(states, settings)
    with one_thread():
        [found] = refine_trees([tree], [names], [states], model=settings.model, alpha=min(alpha, 100.0), **schedule(full))
    return Inferred(replace(tree, length=found.tree.length), words_for(found, settings.model, full), found.alpha)


class Schedule(TypedDict, total=False):
    """The extent of a fit; see `refine_trees`."""

    sweeps: int
    tolerance: float
    fit_alpha: bool


def schedule(full: bool) -> Schedule:
    """Return the extent of a fit, as arguments of `refine_trees`."""
    return {"sweeps": _FULL_SWEEPS, "tolerance": _FULL_TOLERANCE} if full else {"sweeps": 1, "fit_alpha": False}


def words_for(found: Refined, model: str, full: bool) -> str:
    """Return the description of a fit for the note."""
    words = "lengths by likelihood" if full else "lengths by one likelihood sweep"
    return f"{words}, {model.upper()}+Γ4 (α = {found.alpha:.3g}, log likelihood {found.log_likelihood:.2f})"


def rearrange(
    tree: Tree, names: list[str], states: npt.NDArray[np.uint8], settings: Settings, *, alpha: float | None = None
) -> Inferred:
    """Return a distance tree after a sweep and interchanges with one rate for each column, words for its note, and the α.

    What `refine` then does with four categories is a second sweep. Arguments as there.
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
    """Return a tree after interchanges under the likelihood and one more sweep, words for its note, and the α.

    The sum of the lengths is kept: each sweep would increase it slightly, away from the scale of the distances.

    Args:
        tree: with lengths by likelihood.
        names, states, settings, alpha: as in `refine`.
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
            return Inferred(tree, "no thorough interchange makes it more likely", alpha)
        fit = functools.partial(refine_trees, model=model, alpha=bounded, fit_alpha=False)
        [swept] = fit([moved.tree], [names], [states], sweeps=1)
        scale = np.nansum(tree.length) / max(np.nansum(swept.tree.length), 1e-12)
        scaled = replace(swept.tree, length=swept.tree.length * scale)
        [final] = fit([scaled], [names], [states], sweeps=0)
    words = f"{moved.moves} thorough interchange{'s' * (moved.moves > 1)} and a further sweep"
    words += f" (log likelihood {final.log_likelihood:.2f})"
    return Inferred(scaled, words, alpha)


def fits_memory(states: npt.NDArray[np.uint8]) -> bool:
    """Return whether the partial likelihoods of an alignment, shape (n, columns), take no more than `MOST_BYTES`."""
    from phylocli.tree.likelihood import partial_bytes

    return partial_bytes(*states.shape) <= MOST_BYTES


@contextmanager
def one_thread() -> Iterator[None]:
    """Give torch one thread: families run in parallel by `--jobs`, and on arrays this small threads wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
