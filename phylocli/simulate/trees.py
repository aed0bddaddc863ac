"""Random trees: birth–death and coalescent processes with a given number of tips, relaxed clocks, scaling.

Both processes make all histories of splits equally likely, so a tree is sampled as heights of its splits, placed in random
order between the tips: two adjacent tips meet at the height between them, and any two tips at the highest one between them
(a coalescent point process; Popovic, Ann. Appl. Probab. 14:2120, 2004). This takes O(n) steps and no recursion.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.tree import Tree

Floats = npt.NDArray[np.float64]


def birth_death(
    tips: int, rng: np.random.Generator, *, speciation: float = 1.0, extinction: float = 0.0, sampling: float = 1.0
) -> Tree:
    """Return the tree of `tips` sampled survivors of a birth–death process, in units of time.

    The time of origin has a uniform prior and is conditioned on the number of tips. Then the heights of the splits and the
    origin are independent samples from one distribution, with the origin the largest (Gernhard, J. Theor. Biol. 253:769,
    2008). Sampling each survivor with probability ρ is equivalent to a process with rates ρλ and μ − λ(1 − ρ) (Stadler, J.
    Theor. Biol. 261:58, 2009). Without extinction this is the Yule process: with k lineages, the time to the next split is
    exponential with mean 1/(kλ).

    Args:
        tips: at least 2.
        rng: random numbers.
        speciation: λ, splits per lineage and unit of time.
        extinction: μ, deaths per lineage and unit of time, at most λ.
        sampling: ρ, the probability that a survivor is in the tree.

    Raises:
        UsageError: rates for which there is no tree.
    """
    if not 0 < speciation < np.inf or not 0 <= extinction <= speciation:
        raise UsageError(
            f"a birth–death tree cannot grow with speciation {speciation:g} and extinction {extinction:g}",
            fix="give 0 ≤ extinction ≤ speciation, and a speciation above 0",
        )
    if not 0 < sampling <= 1:
        raise UsageError(f"the sampled fraction must be above 0 and at most 1, not {sampling:g}")
    birth, death = sampling * speciation, extinction - speciation * (1 - sampling)
    uniform = rng.random(_at_least_two(tips))
    # The inverse of F(t) = λ(1 − exp(−(λ−μ)t)) / (λ − μ exp(−(λ−μ)t)), which has a limit for equal rates.
    net, ratio = birth - death, uniform / (birth - death * uniform)
    heights = -np.log1p(-net * ratio) / net if abs(net) > 1e-9 * birth else ratio
    return _of_heights(np.delete(heights, heights.argmax()))


def coalescent(tips: int, rng: np.random.Generator, *, growth: float = 0.0) -> Tree:
    """Return a tree of Kingman's coalescent, in units of the population's (haploid) size in generations.

    Any two of k lineages coalesce at rate 1, so the time to the next coalescence is exponential with mean 2/(k(k − 1)). In a
    population that has grown exponentially to its current size, they coalesce at the rate exp(growth·t), with t the time
    before present (Slatkin & Hudson, Genetics 129:555, 1991): trees become star-like.

    Args:
        tips: at least 2.
        rng: random numbers.
        growth: rate of exponential growth, per unit of time; 0 is a constant size.

    Raises:
        UsageError: a negative growth, with which lineages may never coalesce.
    """
    if not 0 <= growth < np.inf:
        raise UsageError(f"the growth rate must be at least 0, not {growth:g}")
    lineages = np.arange(_at_least_two(tips), 1, -1.0)
    times = np.cumsum(rng.exponential(2 / (lineages * (lineages - 1))))
    if growth > 0:  # the constant process on the time scale (exp(growth·t) − 1)/growth
        times = np.log1p(growth * times) / growth
    return _of_heights(rng.permutation(times))


def random_tree(tips: int, rng: np.random.Generator, *, depth: float = 1.0) -> Tree:
    """Return a tree with Yule topology and independent exponential branch lengths, `depth` the mean path from root to tip.

    Args:
        tips: at least two, named `s0`, `s1`, … in depth-first order.
        rng: random numbers.
        depth: expected substitutions per site.
    """
    tree = _of_heights(rng.random(_at_least_two(tips) - 1))
    tree.length = rng.exponential(1.0, len(tree))
    tree.length[0] = 0.0
    return scaled(tree, height=depth)


def relaxed(tree: Tree, spread: float, rng: np.random.Generator) -> Tree:
    """Return the tree with each branch length multiplied by its own rate, log-normal with mean 1.

    The uncorrelated relaxed clock of Drummond et al., PLoS Biol. 4:e88 (2006).

    Args:
        tree: with branch lengths.
        spread: standard deviation of the log rate; 0 keeps the strict clock, 0.5 is moderate.
        rng: random numbers.

    Raises:
        UsageError: a negative spread.
    """
    if not 0 <= spread < np.inf:
        raise UsageError(f"the spread of log rates must be at least 0, not {spread:g}")
    rate = np.exp(rng.normal(-(spread**2) / 2, spread, len(tree)))
    return Tree(tree.parent, tree.length * rate, tree.names)


def scaled(tree: Tree, *, height: float | None = None, mean_distance: float | None = None) -> Tree:
    """Return the tree with all branch lengths multiplied by one factor, to reach a given size.

    Args:
        tree: with branch lengths.
        height: the mean path from the root to a tip.
        mean_distance: the mean patristic distance over all pairs of tips. Give at most one of the two.

    Raises:
        UsageError: both are given, one is not positive, or the tree has no lengths to scale.
    """
    wanted = height if mean_distance is None else mean_distance
    if wanted is None:
        return tree
    if height is not None and mean_distance is not None:
        raise UsageError("both a height and a mean distance are given", fix="leave one out")
    now = mean_patristic(tree) if height is None else float(tree.root_distances()[tree.is_tip].mean())
    if not 0 < wanted < np.inf or not now > 0:
        raise UsageError(
            f"a tree of the size {now:g} cannot be scaled to {wanted:g}", fix="give a size above 0, and a tree with lengths"
        )
    return Tree(tree.parent, tree.length * (wanted / now), tree.names)


def mean_patristic(tree: Tree) -> float:
    """Return the mean path length over all pairs of tips, in O(nodes): a branch with k of n tips below is on k(n − k)
    paths."""
    below = tips_below(tree)
    length = np.nan_to_num(tree.length, nan=0.0)
    n = int(below[0])
    return float((length[1:] * below[1:] * (n - below[1:])).sum() / (n * (n - 1) / 2))


def tips_below(tree: Tree) -> npt.NDArray[np.int64]:
    """Return the number of tips at or below each node, shape (nodes,)."""
    count = tree.is_tip.astype(np.int64).tolist()
    parent = tree.parent.tolist()
    for node in range(len(count) - 1, 0, -1):
        count[parent[node]] += count[node]
    return np.array(count, dtype=np.int64)


def _at_least_two(tips: int) -> int:
    if tips < 2:
        raise UsageError(f"a tree needs at least 2 tips, not {tips}")
    return tips


def _of_heights(heights: Floats) -> Tree:
    """Return the ultrametric tree of tips in a row, given the heights at which adjacent ones meet, shape (tips − 1,)."""
    splits = len(heights)
    height = heights.tolist()
    # Split at the highest height, recursively: the Cartesian tree, built with one stack.
    left, right = [-1] * splits, [-1] * splits
    stack: list[int] = []
    for split in range(splits):
        last = -1
        while stack and height[stack[-1]] < height[split]:
            last = stack.pop()
        left[split] = last
        if stack:
            right[stack[-1]] = split
        stack.append(split)
    parent: list[int] = []
    length: list[float] = []
    is_tip: list[bool] = []
    todo = [(stack[0], -1, height[stack[0]])]  # split (or −1: a tip), parent, its height
    while todo:
        split, up, above = todo.pop()
        own = height[split] if split >= 0 else 0.0
        parent.append(up)
        length.append(above - own)
        is_tip.append(split < 0)
        if split >= 0:
            index = len(parent) - 1
            todo.append((right[split], index, own))
            todo.append((left[split], index, own))
    numbers = np.cumsum(is_tip) - 1
    names = [f"s{number}" if tip else "" for number, tip in zip(numbers.tolist(), is_tip, strict=True)]
    return Tree(np.array(parent, dtype=np.int64), np.array(length), names)
