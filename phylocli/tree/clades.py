"""Division of a tree into clades at its deepest nodes."""

from __future__ import annotations

import heapq

import numpy as np

from phylocli.formats.tree import Tree


def deepest_clades(tree: Tree, count: int) -> list[list[str]]:
    """Divide a tree into at most `count` clades by repeatedly dividing the clade with the greatest height.

    The height of a clade is the distance from its root to its farthest tip.

    Args:
        tree: a rooted tree with branch lengths.
        count: maximum number of clades, at least 1.

    Returns:
        Names of the tips of each clade, in the order of the tips.

    Examples:
        >>> from phylocli.formats.newick import NewickTree
        >>> newick = NewickTree("((a:1,b:1):2,(c:.1,d:.1):3);")
        >>> tree = phylocli.Family(["a", "b", "c", "d"], ["MK"] * 4, tree=newick).require_tree()
        >>> deepest_clades(tree, 2)
        [['a', 'b'], ['c', 'd']]
        >>> deepest_clades(tree, 3)
        [['a'], ['b'], ['c', 'd']]
    """
    depth = tree.root_distances()
    farthest = np.where(tree.is_tip, depth, -np.inf)
    last = np.arange(len(tree))  # last node of each subtree, which is a contiguous range
    for node in range(len(tree) - 1, 0, -1):
        parent = tree.parent[node]
        farthest[parent] = max(farthest[parent], farthest[node])
        last[parent] = max(last[parent], last[node])
    children, tip = tree.children(), tree.is_tip
    waiting = [(-float(farthest[0] - depth[0]), 0)]
    found: list[int] = []
    while waiting and len(waiting) + len(found) < count:
        _, node = heapq.heappop(waiting)
        if tip[node]:
            found.append(node)
            continue
        for child in children[node]:
            heapq.heappush(waiting, (-float(farthest[child] - depth[child]), child))
    nodes = sorted([*found, *(node for _, node in waiting)])
    return [[tree.names[tip_] for tip_ in range(node, last[node] + 1) if tip[tip_]] for node in nodes]
