"""Rooting of trees: midpoint, minimum variance, outgroup. Path lengths between tips do not change."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError, unknown_name
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.tree import Tree, is_support

logger = logging.getLogger(__name__)

METHODS = ("midpoint", "minvar", "none")
"""Names of the rooting methods."""


def root(tree: Tree, method: str = "midpoint", outgroup: Collection[str] = ()) -> Tree:
    """Root a tree.

    Nodes with a single child, such as the root of a tree in redundant parentheses, are merged with that child. If several
    positions of the root are equally good, the first in tree order is used.

    Args:
        tree: a rooted or unrooted tree with branch lengths.
        method: `midpoint` (the middle of the longest path), `minvar` (minimum variance of the root-to-tip distances, Mai,
            Sayyari & Mirarab 2017, doi:10.1371/journal.pone.0182238), or `none` (unchanged).
        outgroup: names of tips; if given, the root is in the middle of the branch that separates them instead.

    Raises:
        UsageError: unknown method.
        BadInputError: an outgroup tip is not in the tree, or the outgroup contains all tips.
    """
    if method not in METHODS:
        raise unknown_name("unknown rooting", method, METHODS)
    if method == "none" and not outgroup:
        return tree
    tree = tree.merge_unary()
    if outgroup:
        return _outgroup_root(tree, set(outgroup))
    if len(tree) < 3:
        return tree
    return _midpoint_root(tree) if method == "midpoint" else _minvar_root(tree)


def reroot(tree: Tree, node: int, above: float) -> Tree:
    """Move the root to the branch above a node.

    If the old root has at most one child left, it is removed. Support values (numeric labels of inner nodes) stay with their
    branches; both parts of the branch divided by the root get its value. Other labels of nodes whose descendants change are
    removed, because the clade that they name no longer exists. The branch above all tips cannot be divided; the tree then
    keeps its root.

    Args:
        tree: the tree.
        node: the node below the branch.
        above: distance of the new root from the node.
    """
    if node == 0:
        return tree
    parent = tree.parent.tolist()
    children = tree.children()
    length = tree.length.tolist()
    support = ["" if tip or not is_support(name) else name for tip, name in zip(tree.is_tip, tree.names, strict=True)]
    # On the path from the node's parent to the old root, parents become children.
    path = []
    at = parent[node]
    while at >= 0:
        path.append(at)
        at = parent[at]
    below: dict[int, list[tuple[int, float]]] = {}
    label: dict[int, str] = {}  # of nodes on the path: support of the branches that are above them now
    for k, inner in reversed(list(enumerate(path))):  # from the old root, which may have no other child
        came_from = node if k == 0 else path[k - 1]
        label[inner] = support[came_from]
        kept = [(child, length[child]) for child in children[inner] if child != came_from]
        if k + 1 < len(path) and below[path[k + 1]]:
            kept.append((path[k + 1], length[inner]))
        below[inner] = kept
    if not below[path[0]]:
        return tree.merge_unary()
    new_parent: list[int] = []
    new_length: list[float] = []
    new_names: list[str] = []
    stack: list[tuple[int, int, float]] = [(-1, -1, 0.0)]  # node -1 is the new root
    while stack:
        old, up, above_it = stack.pop()
        if old < 0:
            following = [(node, above), (path[0], length[node] - above)]
        else:
            following = below[old] if old in below else [(child, length[child]) for child in children[old]]
            if old in below and len(following) == 1:  # the old root has a single child left: remove it
                child, further = following[0]
                if not tree.is_tip[child]:
                    label[child] = tree.names[child] or label[old]
                stack.append((child, up, above_it + further))
                continue
        index = len(new_parent)
        new_parent.append(up)
        new_length.append(above_it)
        new_names.append("" if old < 0 else label.get(old, tree.names[old]))
        stack.extend((child, index, further) for child, further in reversed(following))
    return Tree(np.array(new_parent, dtype=np.int64), np.array(new_length), new_names)


def _farthest_tip(tree: Tree, start: int) -> tuple[int, npt.NDArray[np.float64]]:
    """Return the tip that is farthest from a node, and the distances of all nodes from that node."""
    distance = _distances_from(tree, start)
    tips = tree.tips()
    return int(tips[distance[tips].argmax()]), distance


def _distances_from(tree: Tree, start: int) -> npt.NDArray[np.float64]:
    parent, length = tree.parent.tolist(), tree.length.tolist()
    distance = [-1.0] * len(parent)
    at, total = start, 0.0
    while at >= 0:  # nodes above the start
        distance[at] = total
        total += length[at]
        at = parent[at]
    found = [0.0] * len(parent)
    for node in range(len(parent)):  # preorder: a parent's distance is known before its children's
        found[node] = distance[node] if distance[node] >= 0 else found[parent[node]] + length[node]
    return np.array(found)


def _midpoint_root(tree: Tree) -> Tree:
    first, _ = _farthest_tip(tree, int(tree.tips()[0]))
    second, from_first = _farthest_tip(tree, first)
    # Climb from the deeper end of the longest path to its middle, which is at or below the common ancestor.
    half = from_first[second] / 2
    depth = tree.root_distances()
    node = first if depth[first] >= depth[second] else second
    climbed = 0.0
    while tree.parent[node] >= 0 and climbed + tree.length[node] < half:
        climbed += tree.length[node]
        node = int(tree.parent[node])
    if node == 0:
        return tree
    return reroot(tree, node, min(max(half - climbed, 0.0), float(tree.length[node])))


def _minvar_root(tree: Tree) -> Tree:
    """Root a tree at the point of minimum variance of the root-to-tip distances, with one pass up and one down.

    At distance x above a node, the mean of the distances to the tips is linear in x and the mean of their squares quadratic.
    The coefficients follow from sums over the tips below the node and over the others.
    """
    parent, length = tree.parent, tree.length
    nodes = len(tree)
    tip = tree.is_tip
    n = int(tip.sum())
    below = tip.astype(np.float64)
    sums, squares = np.zeros(nodes), np.zeros(nodes)
    for node in range(nodes - 1, 0, -1):
        up, step = parent[node], length[node]
        below[up] += below[node]
        sums[up] += sums[node] + below[node] * step
        squares[up] += squares[node] + 2 * step * sums[node] + below[node] * step * step
    all_sums, all_squares = sums.copy(), squares.copy()  # for each node, over all tips
    for node in range(1, nodes):
        up, step = parent[node], length[node]
        others = n - below[node]
        other_sums = all_sums[up] - (sums[node] + below[node] * step)
        other_squares = all_squares[up] - (squares[node] + 2 * step * sums[node] + below[node] * step * step)
        all_sums[node] = sums[node] + other_sums + others * step
        all_squares[node] = squares[node] + other_squares + 2 * step * other_sums + others * step * step
    # At distance x above a node, distances to the tips below increase by x, and to the others decrease by x.
    shift = 2 * below / n - 1
    cross = sums - (all_sums - sums)  # Σ of the distances below − Σ of the others
    curvature = 1 - shift**2
    linear = 2 * cross / n - 2 * shift * all_sums / n
    constant = all_squares / n - (all_sums / n) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.where(curvature > 1e-15, -linear / (2 * curvature), 0.0)
    best = np.clip(best, 0.0, length)
    variance = constant + linear * best + curvature * best**2
    variance[0] = np.inf
    node = int(variance.argmin())
    return reroot(tree, node, float(best[node]))


def _outgroup_root(tree: Tree, outgroup: set[str]) -> Tree:
    names = tree.tip_names()
    unknown = outgroup - set(names)
    if unknown:
        raise BadInputError(f"the outgroup {shorten(min(unknown))!r} is not in the tree", fix="give ids of members")
    if len(outgroup) == len(names):
        raise BadInputError("the outgroup is the whole family", fix="name fewer members")
    node, is_clade = _branch_of(tree, outgroup)
    if not is_clade:
        logger.warning("The outgroup is not monophyletic; rooting above the smallest clade that contains it")
    return reroot(tree, node, float(tree.length[node]) / 2)


def _branch_of(tree: Tree, group: set[str]) -> tuple[int, bool]:
    """Return the node below the branch that separates the group from the other tips, and whether there is such a branch.

    The clade below the node may be the group or its complement. If there is no such branch, the node is the root of the
    smallest clade that contains the group.
    """
    tip = tree.is_tip
    wanted = np.array([bool(t) and name in group for t, name in zip(tip, tree.names, strict=True)])
    size, inside = tip.astype(np.int64), wanted.astype(np.int64)
    for node in range(len(tree) - 1, 0, -1):
        size[tree.parent[node]] += size[node]
        inside[tree.parent[node]] += inside[node]
    n, m = int(size[0]), len(group)
    exact = np.flatnonzero((inside == size) & (size == m))
    if len(exact):
        return int(exact[-1]), True
    others = np.flatnonzero((inside == 0) & (size == n - m))
    if len(others):
        return int(others[-1]), True
    holds = np.flatnonzero((inside == m) & (np.arange(len(tree)) > 0))
    if len(holds):
        return int(holds[size[holds].argmin()]), False
    free = np.flatnonzero(inside == 0)  # the largest clade without any of the group
    return int(free[size[free].argmax()]), False
