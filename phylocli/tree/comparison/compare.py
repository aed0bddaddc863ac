"""How far apart the topologies of two trees are: Robinson–Foulds and quartet distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.tree import Tree
from phylocli.tree.comparison.splits import splits

IntArray = npt.NDArray[np.int64]

ZERO_LENGTH = 1e-9
"""An inner branch no longer than this separates nothing that evolved."""


def robinson_foulds(a: Tree, b: Tree) -> float:
    """Return the normalised Robinson–Foulds distance: the fraction of both trees' splits that only one has, 0 … 1.

    Branches of no length separate nothing: their splits do not count. The root is ignored. NaN if neither tree has a split.
    Robinson & Foulds 1981, doi:10.1016/0025-5564(81)90043-2.

    Raises:
        UsageError: the trees do not have the same tips.
    """
    names = _common_names(a, b)
    number = {name: i for i, name in enumerate(names)}
    first, second = ({s for node, s in splits(t, number).items() if t.length[node] > ZERO_LENGTH} for t in (a, b))
    total = len(first) + len(second)
    return len(first ^ second) / total if total else float("nan")


def quartet_distance(reference: Tree, other: Tree, *, most: int = 20_000, seed: int = 0) -> float:
    """Return the fraction of four-tip subtrees, of those that the reference resolves, that the other tree has differently.

    All quartets if there are at most `most`, else that many sampled at random with replacement. A random topology has 2/3;
    NaN if the reference resolves no quartet. Estabrook, McMorris & Meacham 1985, doi:10.2307/sysbio/34.2.193.

    Raises:
        UsageError: the trees do not have the same tips.
    """
    names = _common_names(reference, other)
    n = len(names)
    if n < 4:
        return float("nan")
    if n * (n - 1) * (n - 2) * (n - 3) // 24 <= most:
        from itertools import combinations

        quartets = np.array(list(combinations(range(n), 4)), dtype=np.int64)
    else:
        quartets = _draw(np.random.default_rng(seed), most, n)
    first, second = (_resolutions(tree, names, quartets) for tree in (reference, other))
    resolved = first >= 0
    return float(np.mean(first[resolved] != second[resolved])) if resolved.any() else float("nan")


def _draw(rng: np.random.Generator, count: int, n: int) -> IntArray:
    """Return `count` sets of four different numbers below n, each uniform."""
    found = rng.integers(0, n, (2 * count, 4))
    different = (np.diff(np.sort(found, axis=1), axis=1) > 0).all(axis=1)
    kept = found[different][:count]
    return kept if len(kept) == count else np.concatenate([kept, _draw(rng, count - len(kept), n)])


def _resolutions(tree: Tree, names: list[str], quartets: IntArray) -> IntArray:
    """Return which pairing of each quartet the tree has: 0 is ab|cd, 1 ac|bd, 2 ad|bc, −1 none (a star)."""
    steps = _steps(tree, names)
    a, b, c, d = quartets.T
    # Four-point condition with edges of length one: the pairing that is there has the smallest sum of the two paths.
    sums = np.stack([steps[a, b] + steps[c, d], steps[a, c] + steps[b, d], steps[a, d] + steps[b, c]])
    best = sums.argmin(axis=0)
    return np.where((sums == sums.min(axis=0)).sum(axis=0) == 1, best, -1)


def _steps(tree: Tree, names: list[str]) -> IntArray:
    """Return the number of inner edges between any two tips, shape (n, n)."""
    edges = ((~tree.is_tip) & (tree.length > ZERO_LENGTH)).astype(np.float64)
    return np.rint(tip_distances(Tree(tree.parent, edges, tree.names), names)).astype(np.int64)


def tip_distances(tree: Tree, names: list[str]) -> npt.NDArray[np.float64]:
    """Return the patristic distances between tips, shape (n, n), in the order of `names`; missing lengths count as 0."""
    is_tip = tree.is_tip
    lengths = np.nan_to_num(tree.length, nan=0.0)
    lengths[0] = 0.0
    depth = Tree(tree.parent, lengths, tree.names).root_distances()
    row = {name: i for i, name in enumerate(names)}
    n = len(names)
    found = np.zeros((n, n))
    below: list[list[int]] = [[] for _ in range(len(tree))]
    for node in range(len(tree) - 1, -1, -1):
        if is_tip[node]:
            below[node] = [row[tree.names[node]]]
            found[below[node][0], :] += depth[node]
            found[:, below[node][0]] += depth[node]
    for node in range(len(tree) - 1, -1, -1):
        up = int(tree.parent[node])
        if up < 0:
            continue
        # Tips that meet at `up`: those seen before, and those below this child.
        before, here = below[up], below[node]
        if before:
            found[np.ix_(before, here)] -= 2 * depth[up]
            found[np.ix_(here, before)] -= 2 * depth[up]
        below[up] = before + here
        below[node] = []
    np.fill_diagonal(found, 0)
    return found


def _common_names(a: Tree, b: Tree) -> list[str]:
    first, second = sorted(a.tip_names()), sorted(b.tip_names())
    if first != second:
        raise UsageError("the trees do not have the same tips", fix="prune both to their common tips")
    return first
