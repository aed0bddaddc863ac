"""Branch support: aBayes, SH-aLRT and bootstrap, as labels of a tree's nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError, unknown_name
from phylocli.core.protocols import TreeEnginePlugin
from phylocli.formats.tree import Tree, is_support
from phylocli.tree import deduplicate as _collapse
from phylocli.tree.comparison.splits import split_frequencies
from phylocli.tree.refinement import fits_memory, one_thread
from phylocli.tree.settings import Settings, shape

logger = logging.getLogger(__name__)

METHODS = {"abayes": 0, "alrt": 1000, "bootstrap": 100}
"""Default number of replicates of each measure of support; `abayes` has none."""


class Measure(NamedTuple):
    """A measure of support.

    Attributes:
        name: one of `METHODS`.
        replicates: number of resampled alignments.
    """

    name: str
    replicates: int


def parse_support(text: str) -> Measure | None:
    """Parse a measure of support, such as `abayes`, `bootstrap` or `alrt=5000`; returns None for `none`.

    Raises:
        UsageError: unknown measure, the number of replicates is not a positive integer, or the measure has no replicates.
    """
    if text == "none":
        return None
    name, _, number = text.partition("=")
    if name not in METHODS:
        raise unknown_name("unknown branch support", name, ("none", *METHODS))
    if not number and "=" not in text:
        return Measure(name, METHODS[name])
    if not METHODS[name]:
        raise UsageError(f"{name} has no replicates", fix=f"write {name}")
    if not number.isdecimal() or int(number) == 0:
        raise UsageError(f"{number!r} is not a number of replicates", fix=f"for example {name}={METHODS[name]}")
    return Measure(name, int(number))


def add_support(
    tree: Tree,
    names: list[str],
    states: npt.NDArray[np.uint8],
    settings: Settings,
    measure: Measure,
    *,
    alpha: float | None = None,
    engine: TreeEnginePlugin | None = None,
) -> tuple[Tree, str]:
    """Return the tree with support values as labels of its inner nodes, and a description for its note.

    As in IQ-TREE, aBayes is from 0 to 1, and the others are in per cent. Existing support values are removed; names of
    clades are kept.

    Args:
        tree: a tree with branch lengths.
        names: name of each row, which are the names of the tips.
        states: alignment, shape (n, columns).
        settings: model and seed, and for bootstrap the settings of distances.
        measure: measure of support.
        alpha: shape of Γ; None uses that of the settings, or else an estimate.
        engine: the distance engine that inferred the tree, for bootstrap.
    """
    if measure.name == "bootstrap":
        assert engine is not None
        others = _resampled_trees(states, replace(settings, alpha=alpha), engine, names, measure.replicates)
        values = 100 * split_frequencies(tree, others)
        return _labelled(tree, values, 0), f"bootstrap support ({measure.replicates} replicates)"
    if not fits_memory(states):
        logger.warning(f"no support values for {len(states)} sequences of {states.shape[1]} columns: too large for memory")
        return tree, "no support: too large"
    from phylocli.tree.likelihood import local_support

    if alpha is None:
        alpha = shape(states, settings)
    with one_thread():
        [found] = local_support(
            [tree],
            [names],
            [states],
            model=settings.model,
            alpha=min(alpha, 100.0),
            replicates=measure.replicates,
            seed=settings.seed,
        )
    if measure.name == "abayes":
        return _labelled(tree, found.abayes, 3), "aBayes support"
    return _labelled(tree, 100 * found.sh_alrt, 1), f"SH-aLRT support ({measure.replicates} replicates)"


def _labelled(tree: Tree, values: npt.NDArray[np.float64], digits: int) -> Tree:
    names = [
        name if tip or (np.isnan(value) and not is_support(name)) else "" if np.isnan(value) else f"{value:.{digits}f}"
        for name, value, tip in zip(tree.names, values.tolist(), tree.is_tip.tolist(), strict=True)
    ]
    return Tree(tree.parent, tree.length, names)


def _resampled_trees(
    states: npt.NDArray[np.uint8], settings: Settings, engine: TreeEnginePlugin, names: list[str], replicates: int
) -> Iterator[Tree]:
    """Yield trees of alignments whose columns are resampled with replacement (Felsenstein 1985, doi:10.2307/2408678).

    Rows that are identical in a replicate are joined in a polytomy, so that splits among them are not counted.
    """
    rng = np.random.default_rng(settings.seed)
    for _ in range(replicates):
        drawn = states[:, rng.integers(0, states.shape[1], states.shape[1])]
        groups = _collapse.unique_rows(drawn)
        if len(groups) <= 3:
            yield _collapse.star(groups, [1.0] * len(groups), names)
            continue
        made = engine.infer(drawn[[group[0] for group in groups]], settings)
        yield _collapse.expand(made.tree, groups, names)
