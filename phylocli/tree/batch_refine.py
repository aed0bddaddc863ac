"""Maximum-likelihood branch lengths for many families in batches, for efficient use of a GPU."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from phylocli.formats.family import Family
from phylocli.formats.tree import Tree
from phylocli.tree import deduplicate as _collapse
from phylocli.tree.refinement import fits_memory, one_thread, schedule, words_for
from phylocli.tree.rooting import root as rooted
from phylocli.tree.settings import Settings, shape

logger = logging.getLogger(__name__)

_WINDOW = {"cpu": 64, "cuda": 1024}  # number of families read ahead, so that batches have families of similar size


class _Waiting(NamedTuple):
    """A prepared family: member names in canonical order, distinct rows, members of each distinct row, tree and α."""

    family: Family
    names: list[str]
    states: npt.NDArray[np.uint8]
    groups: list[list[int]]
    tree: Tree
    alpha: float


def refine_many(
    families: Iterable[Family],
    *,
    model: str = "lg",
    alpha: float | None = None,
    full: bool = False,
    columns: str = "match",
    root: str = "midpoint",
    outgroup: Collection[str] = (),
    device: str = "cpu",
) -> Iterator[Family]:
    """Yield families with branch lengths refined by likelihood, in input order; many families are computed as a batch.

    As in `infer_trees`, one sweep over the branches of each tree is made. Identical rows stay at distance zero. Families
    with fewer than three distinct rows, and those too large for memory, keep their trees. Support values are removed.

    Args:
        families: aligned families with trees.
        model: `lg`, `wag`, `jtt` or `poisson`, with four Γ categories.
        alpha: shape of Γ; None uses the α of the family's tree if known (`Family.tree_alpha`), otherwise an estimate.
        full: whether to maximise the likelihood over lengths, their scale and α (not recommended, see docs/likelihood.md).
        columns: alignment columns to use, `match` or `all`.
        root, outgroup: rooting method and outgroup.
        device: name of a PyTorch device, `cpu` or a GPU (`cuda`, `cuda:1`).

    Raises:
        UsageError: unknown model, device or rooting method.
        BadInputError: a family has no tree or is not aligned.
    """
    from phylocli.tree.likelihood.batches import device_named

    window: list[Family | _Waiting] = []
    size = _WINDOW[device_named(device).type]
    settings = Settings(model=model.lower(), alpha=alpha)
    for family in families:
        window.append(_prepared(family, columns, settings))
        if len(window) == size:
            yield from _refined(window, settings, full, root, tuple(outgroup), device)
            window = []
    yield from _refined(window, settings, full, root, tuple(outgroup), device)


def _prepared(family: Family, columns: str, settings: Settings) -> Family | _Waiting:
    from phylocli.tree.infer import usable_states

    tree = family.require_tree()
    placed, names, states = usable_states(family, columns, 0.0)
    if len(placed) < len(family):
        tree = tree.prune(placed.ids)
    groups = _collapse.unique_rows(states)
    if len(groups) < 3 or not fits_memory(states):
        if len(groups) >= 3:
            logger.warning(f"{family.label}: too large for memory; keeping its branch lengths")
        return family
    different = states[[group[0] for group in groups]]
    number = {names[group[0]]: str(i) for i, group in enumerate(groups)}
    tree = tree.prune(number)
    tips = tree.is_tip.tolist()
    tree = Tree(tree.parent, tree.length, [number[name] if tip else "" for name, tip in zip(tree.names, tips, strict=True)])
    known = family.tree_alpha if settings.alpha is None else settings.alpha
    return _Waiting(placed, names, different, groups, tree, shape(different, settings) if known is None else known)


def _refined(
    window: list[Family | _Waiting], settings: Settings, full: bool, root: str, outgroup: tuple[str, ...], device: str
) -> Iterator[Family]:
    from phylocli.tree.likelihood import refine_trees

    waiting = [item for item in window if isinstance(item, _Waiting)]
    with one_thread():
        found = iter(
            refine_trees(
                [item.tree for item in waiting],
                [item.tree.tip_names() for item in waiting],
                [item.states[[int(name) for name in item.tree.tip_names()]] for item in waiting],
                model=settings.model,
                alpha=[min(item.alpha, 100.0) for item in waiting],
                device=device,
                **schedule(full),
            )
        )
    for item in window:
        if isinstance(item, Family):
            yield item
            continue
        result = next(found)
        members = set(item.family.ids)
        tree = rooted(
            _collapse.expand(result.tree, item.groups, item.names), root, [name for name in outgroup if name in members]
        )
        start = _note(item.family).rsplit(", root ", 1)[0] or "tree given"
        yield item.family.with_tree(
            tree, f"{start}, {words_for(result, settings.model, full)}, root {root}", alpha=result.alpha
        )


def _note(family: Family) -> str:
    return next((note for note in family.notes if note.startswith("tree ")), "")
