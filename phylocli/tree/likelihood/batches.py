"""Batches of trees and alignments for likelihood computations: checks, devices, memory limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from phylocli.core.errors import UsageError
from phylocli.formats.tree import Tree
from phylocli.tree.likelihood.forest import BinaryTree, Forest, SitePatterns, rows_of_tips
from phylocli.tree.models import STATES

States = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

CATEGORIES = 4
"""Number of categories of the discrete Γ distribution, as in IQ-TREE's `+G4`."""

MAX_BYTES = {"cpu": 1 << 26, "cuda": 1 << 32}
"""Default memory of the partial likelihoods of a batch: on a CPU about the size of its caches, on a GPU enough to keep it
busy."""

_DTYPES = {"single": torch.float32, "double": torch.float64}


class Batch(NamedTuple):
    """Trees that are processed together.

    Attributes:
        places: index of each tree in the input.
        forest: the trees with their patterns.
        alpha: shape of Γ for each tree, shape (trees,), float64.
    """

    places: list[int]
    forest: Forest
    alpha: torch.Tensor


class Problem(NamedTuple):
    """A tree to process: its index in the input, its binary form, and its site patterns."""

    place: int
    tree: BinaryTree
    patterns: SitePatterns


def shapes_of(alpha: float | Sequence[float], count: int) -> Array:
    """Return the shape of Γ for each tree.

    Raises:
        UsageError: a shape is not positive.
    """
    shapes = np.broadcast_to(np.asarray(alpha, dtype=np.float64), (count,))
    if not (shapes > 0).all():
        raise UsageError("the shape α of the Γ distribution must be positive")
    return shapes


def ordered_rows(trees: Sequence[Tree], names: Sequence[Sequence[str]], alignments: Sequence[States]) -> list[States]:
    """Return the alignments with rows in the order of the trees' tips.

    Raises:
        UsageError: the numbers of trees, lists of names and alignments differ.
        BadInputError: names do not match the tips.
    """
    if not len(trees) == len(names) == len(alignments):
        raise UsageError(
            f"{len(trees)} trees, {len(names)} lists of names and {len(alignments)} alignments do not match",
            fix="give one of each per tree",
        )
    return [rows_of_tips(*each) for each in zip(trees, names, alignments, strict=True)]


def batched(
    problems: Sequence[Problem], shapes: Array, *, precision: str, device: torch.device, max_bytes: int | None
) -> Iterator[Batch]:
    """Yield batches of trees with similar numbers of patterns, because patterns are padded to the largest number.

    Args:
        problems: trees with at least two tips.
        shapes: shape of Γ for all trees, by index in the input.
        precision: precision of partial likelihoods, `single` or `double`.
        device: the device to compute on.
        max_bytes: maximum memory of partial likelihoods in a batch, `MAX_BYTES` by default; a tree that needs more is in a
            batch of its own.

    Raises:
        UsageError: unknown precision.
    """
    if precision not in _DTYPES:
        raise UsageError(f"unknown precision {precision!r}", fix="'single' or 'double'")
    dtype = _DTYPES[precision]
    limit = MAX_BYTES[device.type] if max_bytes is None else max_bytes

    def made(batch: list[Problem]) -> Batch:
        forest = Forest([p.tree for p in batch], [p.patterns for p in batch], device=device, dtype=dtype)
        alpha = torch.tensor([shapes[p.place] for p in batch], dtype=torch.float64, device=device)
        return Batch([p.place for p in batch], forest, alpha)

    batch: list[Problem] = []
    tips = 0
    for problem in sorted(problems, key=lambda p: (-len(p.patterns.weights), p.place)):
        more = len(problem.patterns.states)
        width = len((batch or [problem])[0].patterns.weights)
        if batch and partial_bytes(tips + more, width, dtype.itemsize) > limit:
            yield made(batch)
            batch, tips = [], 0
        batch.append(problem)
        tips += more
    if batch:
        yield made(batch)


def partial_bytes(tips: int, columns: int, size: int = 4) -> int:
    """Return the memory of partial likelihoods in bytes: messages of all nodes, and two more arrays for inner nodes.

    Args:
        tips: number of tips of all trees of a batch.
        columns: maximum number of distinct columns of an alignment.
        size: bytes per number, 4 in single precision.
    """
    return 4 * tips * CATEGORIES * STATES * columns * size


def device_named(name: str) -> torch.device:
    """Return a device by name.

    Raises:
        UsageError: unknown device, or one without double precision.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", why=str(error), fix="'cpu' or 'cuda'") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"likelihoods need double precision, which {name!r} lacks", fix="use 'cpu' or 'cuda'")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device", fix="use 'cpu'")
    return device
