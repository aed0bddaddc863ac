"""A batch of trees and alignments as arrays, with nodes in the order in which pruning visits them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from phylocli.core.alphabet import MISSING
from phylocli.core.errors import BadInputError
from phylocli.formats.tree import Tree
from phylocli.tree.models import STATES

MIN_LENGTH = 1e-6
"""Minimum length of optimised branches, in expected substitutions per site."""

MAX_LENGTH = 10.0
"""Maximum length of optimised branches, in expected substitutions per site."""

_UNKNOWN_LENGTH = 0.1  # initial length of branches without a length
_CHUNK_BYTES = 3_000_000  # memory of partial likelihoods per block on a CPU, a fraction of its caches
_PATTERN_STEP = 16  # the number of patterns is padded to a multiple of this, for full vector registers


@dataclass(frozen=True)
class SitePatterns:
    """The distinct columns of an alignment, and the number of occurrences of each.

    Attributes:
        states: states of each pattern, uint8, `alphabet.MISSING` if there is no residue, shape (n, patterns).
        weights: number of columns with each pattern, shape (patterns,).
    """

    states: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, states: npt.NDArray[np.uint8]) -> SitePatterns:
        """Return the patterns of an alignment, shape (n, columns), without columns that contain no residue."""
        informative = states[:, (states != MISSING).any(axis=0)]
        if not informative.shape[1]:
            return cls(informative, np.zeros(0))
        # Columns as opaque values, because sorting these is much faster than np.unique(axis=1).
        columns = np.ascontiguousarray(informative.T)
        keys = columns.view(np.dtype((np.void, columns.shape[1]))).ravel()
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        return cls(informative[:, first], counts.astype(np.float64))


@dataclass(frozen=True)
class BinaryTree:
    """A binary tree in canonical form, rooted at its centre, for pruning.

    The position of the root is arbitrary for a reversible model. Rooting at the centre minimises the depth, and hence the
    number of levels. Children are ordered by their sequences, so that the form of a tree does not depend on the order of its
    file or alignment. Polytomies are resolved by branches of fixed length 0. Only the sum of the two branches at a node of
    degree two, such as the root of a rooted tree, is identifiable, so these are merged; `branch` and `share` map them back.

    Nodes are numbered with the tips first, in depth-first order of the original tree.

    Attributes:
        children: children of the inner nodes, shape (n − 1, 2); inner node i has the number n + i.
        length: length of the branch above each node, shape (2n − 1,).
        free: which lengths are optimised, shape (2n − 1,).
        height: maximum number of branches down to a tip, shape (2n − 1,).
        root: number of the root.
        branch: number of the branch that contains each branch of the original tree, shape (nodes,); −1 above its root.
        share: length of each original branch as a fraction of that branch, shape (nodes,).
    """

    children: npt.NDArray[np.int64]
    length: npt.NDArray[np.float64]
    free: npt.NDArray[np.bool_]
    height: npt.NDArray[np.int64]
    root: int
    branch: npt.NDArray[np.int64]
    share: npt.NDArray[np.float64]

    @classmethod
    def of(cls, tree: Tree, states: npt.NDArray[np.uint8]) -> BinaryTree:
        """Convert a tree with at least two tips; `states` has a row for each tip, in depth-first order."""
        tips = tree.tips()
        n = len(tips)
        number = {int(node): i for i, node in enumerate(tips)}
        order, below, inside = _from_the_middle(tree, states)
        old_length = np.nan_to_num(tree.length, nan=_UNKNOWN_LENGTH).clip(min=0.0)
        children: list[tuple[int, int]] = []
        length = [0.0] * (2 * n - 1)
        free = [False] * (2 * n - 1)
        height = [0] * (2 * n - 1)
        members: list[list[int]] = [[] for _ in range(2 * n - 1)]  # original branches within each branch
        top = [-1] * len(tree)  # the node that represents the subtree at each original node

        def join(a: int, b: int) -> int:
            made = n + len(children)
            children.append((a, b) if height[a] >= height[b] else (b, a))
            height[made] = 1 + max(height[a], height[b])
            return made

        for node in reversed(order):
            queue = [top[child] for child in below[node]] or [number[node]]
            while len(queue) > 1:  # join the first two and append the result, which resolves a polytomy to a shallow tree
                queue = [*queue[2:], join(queue[0], queue[1])]
            at = top[node] = queue[0]
            if inside[node]:
                members[at] += inside[node]
                length[at] += float(old_length[inside[node]].sum())
                free[at] = True
        root = top[order[0]]
        members[root], free[root], length[root] = [], False, 0.0
        a, b = children[root - n]
        if free[a] and free[b]:  # only with two tips, because the centre of a larger tree has three neighbours
            members[b] = members[a] + members[b]
            length[b] += length[a]
            members[a], free[a], length[a] = [], False, 0.0
        branch = np.full(len(tree), -1, dtype=np.int64)
        share = np.zeros(len(tree))
        for at, parts in enumerate(members):
            branch[parts] = at
            total = old_length[parts].sum()
            share[parts] = old_length[parts] / total if total > 0 else 1 / max(len(parts), 1)
        return cls(
            np.array(children, dtype=np.int64), np.array(length), np.array(free), np.array(height), root, branch, share
        )


def _from_the_middle(tree: Tree, states: npt.NDArray[np.uint8]) -> tuple[list[int], list[list[int]], dict[int, list[int]]]:
    """Root a tree at its centre, and return its preorder, children of each node, and original branches above each node.

    Nodes of degree two are removed, and their branches merged. Children are ordered by the smallest sequence below them.
    """
    tips = tree.tips()
    beside: list[dict[int, list[int]]] = [{} for _ in range(len(tree))]
    for node in range(1, len(tree)):
        up = int(tree.parent[node])
        beside[node][up] = beside[up][node] = [node]
    if len(tips) > 2:
        for node in np.flatnonzero(~tree.is_tip).tolist():
            if len(beside[node]) <= 2:
                _splice(beside, node)
    rank = np.empty(len(tips), dtype=np.int64)
    rank[np.lexsort(states.T[::-1]) if states.shape[1] else np.arange(len(tips))] = np.arange(len(tips))
    key = [len(tips)] * len(tree)
    for tip, value in zip(tips.tolist(), rank.tolist(), strict=True):
        key[tip] = value
    middles = _middles(beside) if len(tips) > 2 else [0]
    order, parent = _walk(beside, middles[0])
    for node in reversed(order[1:]):
        key[parent[node]] = min(key[parent[node]], key[node])
    if len(middles) == 2 and key[middles[1]] == 0:  # of two centres, use the one on the side of the smallest sequence
        order, parent = _walk(beside, middles[1])
        for node in np.flatnonzero(~tree.is_tip).tolist():
            key[node] = len(tips)
        for node in reversed(order[1:]):
            key[parent[node]] = min(key[parent[node]], key[node])
    below = [
        sorted((other for other in near if other != up), key=key.__getitem__)
        for near, up in zip(beside, parent, strict=True)
    ]
    sorted_order: list[int] = []
    stack = [order[0]]
    while stack:
        node = stack.pop()
        sorted_order.append(node)
        stack.extend(reversed(below[node]))
    inside = {node: beside[node][parent[node]] if parent[node] >= 0 else [] for node in sorted_order}
    return sorted_order, below, inside


def _splice(beside: list[dict[int, list[int]]], node: int) -> None:
    """Remove a node of degree one or two; a root with a single child is removed with its branch."""
    near = list(beside[node].items())
    beside[node] = {}
    if len(near) == 1:
        del beside[near[0][0]][node]
        return
    (a, to_a), (b, to_b) = near
    del beside[a][node], beside[b][node]
    beside[a][b] = beside[b][a] = to_a + to_b


def _middles(beside: list[dict[int, list[int]]]) -> list[int]:
    """Return the one or two centres of the tree, by repeatedly removing the leaves."""
    degree = [len(near) for near in beside]
    left = sum(d > 0 for d in degree)
    layer = [node for node, d in enumerate(degree) if d == 1]
    while left > 2:
        left -= len(layer)
        following = []
        for node in layer:
            degree[node] = 0
            for other in beside[node]:
                if degree[other] > 0:
                    degree[other] -= 1
                    if degree[other] == 1:
                        following.append(other)
        layer = following
    return layer


def _walk(beside: list[dict[int, list[int]]], root: int) -> tuple[list[int], list[int]]:
    """Return the nodes in preorder from `root`, and the parent of each node, −1 for the root and removed nodes."""
    parent = [-1] * len(beside)
    order: list[int] = []
    stack = [root]
    while stack:
        node = stack.pop()
        order.append(node)
        for other in beside[node]:
            if other != parent[node]:
                parent[other] = node
                stack.append(other)
    return order, parent


@dataclass(frozen=True)
class Level:
    """Inner nodes of the same height, or a block of them, whose partial likelihoods are computed together.

    Attributes:
        start: index of the first node among inner nodes.
        stop: index after the last node.
        inner_right: number of nodes whose right child is an inner node; these come first.
        tips_only: whether all children are tips; otherwise every left child is an inner node.
    """

    start: int
    stop: int
    inner_right: int
    tips_only: bool


class Forest:
    """A batch of trees with their site patterns.

    Nodes of all trees are numbered together: tips first, then inner nodes by height, so that a level is a slice.

    Args:
        trees: the trees.
        patterns: site patterns of each tree.
        device: device of the arrays.
        dtype: type of partial likelihoods.
        bounded: whether lengths are restricted to the range from `MIN_LENGTH` to `MAX_LENGTH`.
        classes: rate class of each pattern, shape (patterns,), for a single tree; each class has a single rate. None: all
            patterns have all rates.
        tips: `tips` of a forest with the same patterns, to reuse.

    Attributes:
        n_tips: number of tips of all trees.
        n_inner: number of inner nodes of all trees.
        left, right: children of each inner node, shape (n_inner,).
        parent, sibling: parent and sibling of each node, shape (nodes,); undefined for roots.
        levels: levels from the tips to the roots.
        family: index of the tree of each node, shape (nodes,).
        roots: index of the root of each tree among inner nodes, shape (trees,).
        length: initial lengths, float64, shape (nodes,).
        free: which lengths are optimised, shape (nodes,).
        patterns: number of patterns, or of patterns per class if `divided`, including padding.
        weights: weights of patterns, float64, 0 for padding, shape (trees, patterns), or (trees, classes · patterns) if
            `divided`.
        tips: likelihood of each state given the residue at each tip (1 for one state, or for all if it is missing), shape
            (n_tips, 1, 20, patterns), or (n_tips, classes, 20, patterns) if `divided`.
        divided: whether patterns are divided into classes with a single rate each, instead of having all rates.
    """

    def __init__(
        self,
        trees: Sequence[BinaryTree],
        patterns: Sequence[SitePatterns],
        *,
        device: torch.device,
        dtype: torch.dtype,
        bounded: bool = True,
        classes: npt.NDArray[np.int64] | None = None,
        tips: torch.Tensor | None = None,
    ) -> None:
        sizes = [len(p.states) for p in patterns]
        width = max(1, *(len(p.weights) for p in patterns))
        self.divided = classes is not None
        parts = 1
        if classes is not None:
            parts, width = int(classes.max()) + 1, int(np.bincount(classes).max())
        width += -width % _PATTERN_STEP
        places = np.arange(width) if classes is None else _together(classes, width)
        self.n_tips = sum(sizes)
        self.n_inner = self.n_tips - len(trees)
        self.patterns = width
        tip_offset = np.concatenate([[0], np.cumsum(sizes)])
        family = np.repeat(np.arange(len(trees)), [n - 1 for n in sizes])
        inner = np.concatenate([np.arange(n - 1) for n in sizes])
        height = np.concatenate([tree.height[n:] for tree, n in zip(trees, sizes, strict=True)])
        right_is_tip = np.concatenate([tree.children[:, 1] < n for tree, n in zip(trees, sizes, strict=True)])
        order = np.lexsort((inner, family, right_is_tip, height))
        position = np.empty(len(order), dtype=np.int64)
        position[order] = np.arange(len(order)) + self.n_tips
        inner_offset = np.concatenate([[0], np.cumsum([n - 1 for n in sizes])])

        self._numbers: list[npt.NDArray[np.int64]] = []  # numbers of each tree's nodes in the batch
        children = np.empty((self.n_inner, 2), dtype=np.int64)
        length = np.empty(self.n_tips + self.n_inner)
        free = np.empty(self.n_tips + self.n_inner, dtype=bool)
        owner = np.empty(self.n_tips + self.n_inner, dtype=np.int64)
        roots = np.empty(len(trees), dtype=np.int64)
        states = np.full((self.n_tips, parts * width), MISSING, dtype=np.uint8)
        weights = np.zeros((len(trees), parts * width))
        for i, (tree, pattern, n) in enumerate(zip(trees, patterns, sizes, strict=True)):
            numbers = np.concatenate(
                [np.arange(tip_offset[i], tip_offset[i + 1]), position[inner_offset[i] : inner_offset[i + 1]]]
            )
            self._numbers.append(numbers)
            children[numbers[n:] - self.n_tips] = numbers[tree.children]
            length[numbers], free[numbers], owner[numbers] = tree.length, tree.free, i
            roots[i] = numbers[tree.root] - self.n_tips
            where = places[: len(pattern.weights)]
            states[tip_offset[i] : tip_offset[i + 1], where] = pattern.states
            weights[i, where] = pattern.weights
        self._trees = list(trees)
        sorted_height, sorted_right = height[order], right_is_tip[order]
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(sorted_height)) + 1, [self.n_inner]])
        most = (
            _CHUNK_BYTES // ((parts if self.divided else 4) * STATES * width * torch.empty((), dtype=dtype).element_size())
            if device.type == "cpu"
            else self.n_inner
        )
        self.levels = []
        for lo, hi in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            for start in range(lo, hi, max(most, 1)):
                stop = min(start + max(most, 1), hi)
                inner_right = int((~sorted_right[start:stop]).sum())
                self.levels.append(Level(start, stop, inner_right, bool(sorted_height[lo] == 1)))
        self.left = torch.from_numpy(children[:, 0].copy()).to(device)
        self.right = torch.from_numpy(children[:, 1].copy()).to(device)
        parent, sibling = np.zeros((2, self.n_tips + self.n_inner), dtype=np.int64)
        parent[children] = np.arange(self.n_inner)[:, None] + self.n_tips
        sibling[children] = children[:, ::-1]
        self.parent = torch.from_numpy(parent).to(device)
        self.sibling = torch.from_numpy(sibling).to(device)
        self.family = torch.from_numpy(owner).to(device)
        self.roots = torch.from_numpy(roots).to(device)
        self.free = torch.from_numpy(free).to(device)
        if bounded:
            length[free] = length[free].clip(MIN_LENGTH, MAX_LENGTH)
        self.length = torch.from_numpy(length).to(device)
        self.weights = torch.from_numpy(weights).to(device)
        if tips is None:
            alphabet = np.vstack([np.eye(STATES), np.ones((1, STATES))])  # missing residues are compatible with all states
            table = torch.from_numpy(alphabet).to(device, dtype)
            coded = torch.from_numpy(states).to(device).long().view(self.n_tips, parts, width)
            tips = table[coded].transpose(2, 3).contiguous()
        self.tips = tips

    def __len__(self) -> int:
        return len(self._trees)

    def numbers(self, tree: int) -> npt.NDArray[np.int64]:
        """Return the numbers in the batch of a tree's nodes, in the order of their numbers in the tree."""
        return self._numbers[tree]

    def original_lengths(self, values: torch.Tensor) -> list[npt.NDArray[np.float64]]:
        """Map branch lengths of the batch, shape (nodes,), to those of each original tree, 0 above the root."""
        flat = values.detach().cpu().double().numpy()
        found = []
        for tree, numbers in zip(self._trees, self._numbers, strict=True):
            lengths = flat[numbers][tree.branch] * tree.share
            lengths[tree.branch < 0] = 0.0
            found.append(lengths)
        return found

    def original_edges(self, values: torch.Tensor, nodes: torch.Tensor) -> list[npt.NDArray[np.float64]]:
        """Map values at the branches above some nodes of the batch to the branches of each original tree, shape (nodes,).

        Other branches are NaN. Branches that are merged in the batch have the same value.
        """
        flat = np.full(self.n_tips + self.n_inner, np.nan)
        flat[nodes.cpu().numpy()] = values.detach().cpu().double().numpy()
        return [
            np.where(tree.branch < 0, np.nan, flat[numbers][tree.branch])
            for tree, numbers in zip(self._trees, self._numbers, strict=True)
        ]

    def original_gradients(self, values: torch.Tensor) -> list[npt.NDArray[np.float64]]:
        """Map derivatives with respect to branch lengths of the batch to those of each original tree, 0 above the root."""
        flat = values.detach().cpu().double().numpy()
        return [
            np.where(tree.branch < 0, 0.0, flat[numbers][tree.branch])
            for tree, numbers in zip(self._trees, self._numbers, strict=True)
        ]


def _together(classes: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """Return the positions of patterns when sorted by class and padded to `width` per class, shape (patterns,)."""
    order = np.argsort(classes, kind="stable")
    counts = np.bincount(classes)
    places = np.empty(len(classes), dtype=np.int64)
    places[order] = classes[order] * width + np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


def rows_of_tips(tree: Tree, names: Sequence[str], states: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the rows of an alignment in the order of a tree's tips.

    Raises:
        BadInputError: a name occurs twice, a tip has no row, or a row has no tip.
    """
    if len(names) != len(states):
        raise BadInputError(f"{len(names)} names for {len(states)} rows of the alignment", fix="give one name per row")
    row = {name: i for i, name in enumerate(names)}
    tips = tree.tip_names()
    for whose, group in (("row", names), ("tip", tips)):
        if len(set(group)) < len(group):
            twice, _ = Counter(group).most_common(1)[0]
            raise BadInputError(f"{whose} {twice!r} occurs twice", fix="give every sequence a unique name")
    missing = [name for name in tips if name not in row]
    if missing:
        raise BadInputError(
            f"tip {missing[0]!r} of the tree has no row in the alignment ({len(missing)} such tips)",
            fix="remove the tip from the tree, or add its row to the alignment",
        )
    if len(tips) < len(names):
        over = min(set(names) - set(tips))
        raise BadInputError(
            f"row {over!r} of the alignment is not a tip of the tree ({len(names) - len(tips)} such rows)",
            fix="remove the row from the alignment, or infer the tree again",
        )
    return states[[row[name] for name in tips]]
