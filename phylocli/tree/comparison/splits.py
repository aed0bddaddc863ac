"""Splits (bipartitions of the tips by a branch), and their frequencies in other trees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.tree import Tree


def splits(tree: Tree, number: Mapping[str, int]) -> dict[int, bytes]:
    """Return the non-trivial splits of a tree: those with two or more tips on either side.

    Args:
        tree: the tree; the two branches at a bifurcating root have the same split.
        number: number of each tip, from 0, by name.

    Returns:
        The split of the branch above each node, by node: packed bits, one per tip, 1 for the side without tip 0. Equal
        splits are equal bytes.
    """
    n = len(number)
    bits = np.zeros((len(tree), (n + 7) // 8), dtype=np.uint8)
    size = tree.is_tip.astype(np.int64)
    for tip in tree.tips().tolist():
        at = number[tree.names[tip]]
        bits[tip, at // 8] = 128 >> at % 8
    parent = tree.parent.tolist()
    for node in range(len(tree) - 1, 0, -1):
        bits[parent[node]] |= bits[node]
        size[parent[node]] += size[node]
    inner = np.flatnonzero((size > 1) & (size < n - 1))
    everything = np.packbits(np.ones(n, dtype=bool))
    found = {}
    for node in inner.tolist():
        row = bits[node]
        found[node] = (row ^ everything if row[0] & 128 else row).tobytes()
    return found


def split_frequencies(tree: Tree, others: Iterable[Tree]) -> npt.NDArray[np.float64]:
    """Return the fraction of other trees that contain the split of the branch above each node, shape (nodes,).

    Branches of the other trees with a length of 0 or less are ignored; those with a missing length are counted. NaN for
    trivial splits and the root.

    Raises:
        BadInputError: a tree has other tips than `tree`, or `others` is empty.
    """
    number = {name: i for i, name in enumerate(tree.tip_names())}
    counts: Counter[bytes] = Counter()
    total = 0
    for other in others:
        if sorted(other.tip_names()) != sorted(number):
            raise BadInputError(
                "trees with different tips cannot be compared by their splits", fix="compare trees of the same sequences"
            )
        counts.update({split for node, split in splits(other, number).items() if not other.length[node] <= 0})
        total += 1
    if not total:
        raise BadInputError("no tree to compare with", fix="give at least one tree")
    found = np.full(len(tree), np.nan)
    for node, split in splits(tree, number).items():
        found[node] = counts[split] / total
    return found
