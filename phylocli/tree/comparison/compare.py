"""Distances between tree topologies: Robinson–Foulds and quartet distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.tree import Tree
from phylocli.tree.comparison.splits import splits

IntArray = npt.NDArray[np.int64]

ZERO_LENGTH = 1e-9
"""Inner branches of at most this length are treated as polytomies."""


def robinson_foulds(a: Tree, b: Tree) -> float:
    """Return the normalised Robinson–Foulds distance: the fraction of both trees' splits that are in only one, 0 to 1.

    Splits of branches of length zero are not counted, and the root is ignored. NaN if neither tree has a split. Robinson &
    Foulds 1981, doi:10.1016/0025-5564(81)90043-2.

    Raises:
        UsageError: the trees do not have the same tips.
    """
    names = _common_names(a, b)
    number = {name: i for i, name in enumerate(names)}
    first, second = ({s for node, s in splits(t, number).items() if t.length[node] > ZERO_LENGTH} for t in (a, b))
    total = len(first) + len(second)
    return len(first ^ second) / total if total else float("nan")


def quartet_distance(reference: Tree, other: Tree, *, most: int = 20_000, seed: int = 0) -> float:
    """Return the fraction of the quartets resolved by the reference that are resolved differently in the other tree.

    The expectation for a random topology is 2/3; NaN if the reference resolves no quartet. Estabrook, McMorris & Meacham
    1985, doi:10.2307/sysbio/34.2.193.

    Args:
        reference, other: trees with the same tips.
        most: maximum number of quartets; if there are more, this number is sampled with replacement.
        seed: random seed of the sample.

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
    """Sample `count` sets of four distinct numbers below n uniformly."""
    found = rng.integers(0, n, (2 * count, 4))
    different = (np.diff(np.sort(found, axis=1), axis=1) > 0).all(axis=1)
    kept = found[different][:count]
    return kept if len(kept) == count else np.concatenate([kept, _draw(rng, count - len(kept), n)])


def _resolutions(tree: Tree, names: list[str], quartets: IntArray) -> IntArray:
    """Return the topology of each quartet: 0 for ab|cd, 1 for ac|bd, 2 for ad|bc, −1 if unresolved."""
    steps = _steps(tree, names)
    a, b, c, d = quartets.T
    # Four-point condition with edges of length one: the sum of the two paths is smallest for the pairing in the tree.
    sums = np.stack([steps[a, b] + steps[c, d], steps[a, c] + steps[b, d], steps[a, d] + steps[b, c]])
    best = sums.argmin(axis=0)
    return np.where((sums == sums.min(axis=0)).sum(axis=0) == 1, best, -1)


def _steps(tree: Tree, names: list[str]) -> IntArray:
    """Return the number of inner edges between each pair of tips, shape (n, n)."""
    edges = ((~tree.is_tip) & (tree.length > ZERO_LENGTH)).astype(np.float64)
    return np.rint(tip_distances(Tree(tree.parent, edges, tree.names), names)).astype(np.int64)


def tip_distances(tree: Tree, names: list[str]) -> npt.NDArray[np.float64]:
    """Return the patristic distances between tips in the order of `names`, shape (n, n); missing lengths are 0."""
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
        # `up` is the common ancestor of tips below earlier children and tips below this one.
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
