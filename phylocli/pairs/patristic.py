"""Patristic distances: the path length between any two tips in O(1), and the meeting points of all pairs of tips."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.tree import Tree

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Patristic:
    """A tree prepared for queries about pairs of tips. Tips are numbered in depth-first order, 0 … n − 1.

    Attributes:
        n_tips, n_nodes: number of tips, n, and of all nodes.
        depth: path length from the root to each tip, shape (n,).
        meeting: the node where tips k − 1 and k meet, shape (n,); entry 0 is unused. With nodes in preorder, the meeting
            point (lowest common ancestor) of any tips i < j is the smallest of `meeting[i + 1 : j + 1]`, since an ancestor
            has a smaller number than all nodes below it.
        n_missing, n_negative: numbers of branches without a length and with a negative one; both count as 0.

    Args:
        tree: lengths in expected substitutions per site. Preparation takes O(n log n) time and memory.

    Raises:
        BadInputError: no branch lengths at all, an infinite one, or fewer than two tips.
    """

    def __init__(self, tree: Tree) -> None:
        tip = tree.is_tip
        self.n_tips, self.n_nodes = int(tip.sum()), len(tree)
        if self.n_tips < 2:
            raise BadInputError("the tree has one tip; a pair needs two", fix="leave out families of one member")
        lengths = tree.length[1:]
        missing = np.isnan(lengths)
        if missing.all():
            raise BadInputError(
                "the tree has no branch lengths, so there are no distances",
                fix="infer the tree again with 'phylocli tree', or give one with lengths",
            )
        if np.isinf(lengths).any():
            at = int(np.flatnonzero(np.isinf(lengths))[0]) + 1
            raise BadInputError(
                f"the tree has an infinite branch length (node {tree.names[at] or at})",
                fix="infer the tree again with 'phylocli tree'",
            )
        self.n_missing = int(missing.sum())
        self.n_negative = int((lengths < 0).sum())
        cleaned = np.fmax(tree.length, 0.0)  # missing ones too
        cleaned[0] = 0.0  # a stem above the root is on no path between tips
        cleaned_tree = Tree(tree.parent, cleaned, tree.names)
        self._node_depth: Floats = cleaned_tree.root_distances()
        self.depth: Floats = self._node_depth[tip]
        self._tip_nodes = np.flatnonzero(tip)
        below = tip.astype(np.int64).tolist()
        parent = tree.parent.tolist()
        for node in range(len(parent) - 1, 0, -1):
            below[parent[node]] += below[node]
        first: Ints = np.cumsum(tip) - tip.astype(np.int64)
        last: Ints = first + np.array(below, dtype=np.int64)
        self.first_tip: Ints = first
        self.end_tip: Ints = last
        # In preorder a first child directly follows its parent; every other child starts at a gap between two adjacent tips
        # that meet in its parent. So each gap belongs to exactly one such child.
        later = np.flatnonzero(tree.parent[1:] != np.arange(len(parent) - 1)) + 1
        self.meeting: npt.NDArray[np.int32] = np.zeros(self.n_tips, dtype=np.int32)
        self.meeting[first[later]] = tree.parent[later]
        # Gap k joins the tips [merge_start[k], k) with the tips [k, merge_end[k]): a node with many children is treated as a
        # comb of zero-length branches, which changes no distance and makes every pair of tips meet at exactly one gap.
        self.merge_start: Ints = np.zeros(self.n_tips, dtype=np.int64)
        self.merge_end: Ints = np.zeros(self.n_tips, dtype=np.int64)
        self.merge_start[first[later]] = first[tree.parent[later]]
        self.merge_end[first[later]] = last[later]
        self._sparse: list[npt.NDArray[np.int32]] = self._sparse_table()

    def _sparse_table(self) -> list[npt.NDArray[np.int32]]:
        table = [self.meeting]
        width = 1
        while 2 * width <= self.n_tips:
            previous = table[-1]
            table.append(np.minimum(previous[:-width], previous[width:]))
            width *= 2
        return table

    def node_depth(self, nodes: npt.NDArray[np.integer[Any]]) -> Floats:
        """Return the path length from the root to nodes, in the shape of `nodes`."""
        return self._node_depth[nodes]

    def ancestor(self, i: Ints, j: Ints) -> Ints:
        """Return the lowest common ancestors of tips i and j, as node numbers of the tree; shapes (m,)."""
        low, high = np.minimum(i, j), np.maximum(i, j)
        result = self._tip_nodes[low]
        apart = np.flatnonzero(high > low)
        if len(apart) == 0:
            return result
        low, high = low[apart] + 1, high[apart] + 1
        # frexp(x) = (m, e) with x = m·2^e and m in [0.5, 1): e − 1 is ⌊log₂ x⌋, exactly.
        power = np.frexp((high - low).astype(np.float64))[1] - 1
        found = np.empty(len(apart), dtype=np.int64)
        for k in np.unique(power):
            here = power == k
            row = self._sparse[k]
            found[here] = np.minimum(row[low[here]], row[high[here] - (1 << int(k))])
        result[apart] = found
        return result

    def distance(self, i: npt.ArrayLike, j: npt.ArrayLike) -> Floats:
        """Return the patristic distances of tips i and j, expected substitutions per site, shape (m,).

        Raises:
            IndexError: a tip number out of range.
        """
        i, j = np.atleast_1d(np.asarray(i, dtype=np.int64)), np.atleast_1d(np.asarray(j, dtype=np.int64))
        if len(i) and (min(i.min(), j.min()) < 0 or max(i.max(), j.max()) >= self.n_tips):
            raise IndexError(f"tips are numbered 0 to {self.n_tips - 1}")
        return (self.depth[i] + self.depth[j]) - 2.0 * self._node_depth[self.ancestor(i, j)]

    def diameter(self) -> float:
        """Return the largest distance between two tips, in O(n log n)."""
        # The tip farthest from any tip is an end of a longest path.
        every = np.arange(self.n_tips)
        start = int(np.argmax(self.depth))
        end = int(np.argmax(self.distance(np.full(self.n_tips, start), every)))
        return float(self.distance(np.full(self.n_tips, end), every).max())
