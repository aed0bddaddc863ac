"""Simulated families: random trees, and sequences that evolve along them under a substitution model with Γ rates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.formats.newick import Tree
from phylocli.tree.models import substitution_model


def random_tree(tips: int, rng: np.random.Generator, *, depth: float = 1.0) -> Tree:
    """Return a random binary tree: Yule topology, exponential branch lengths, `depth` the mean path from root to tip.

    Args:
        tips: number of tips, at least two, named `s0`, `s1`, … in depth-first order.
        rng: random numbers.
        depth: expected substitutions per site.
    """
    # Yule: at each step one of the present tips, all alike, splits in two.
    present = [1, 2]
    kids: dict[int, tuple[int, int]] = {0: (1, 2)}
    for count in range(3, 2 * tips - 1, 2):
        chosen = int(rng.integers(len(present)))
        kids[present[chosen]] = (count, count + 1)
        present[chosen] = count
        present.append(count + 1)
    parent: list[int] = []
    is_tip: list[bool] = []
    stack = [(0, -1)]
    while stack:
        node, up = stack.pop()
        index = len(parent)
        parent.append(up)
        is_tip.append(node not in kids)
        stack.extend((child, index) for child in reversed(kids.get(node, ())))
    length = rng.exponential(1.0, len(parent))
    length[0] = 0.0
    numbers = np.cumsum(is_tip) - 1
    names = [f"s{number}" if tip else "" for number, tip in zip(numbers, is_tip, strict=True)]
    tree = Tree(np.array(parent, dtype=np.int64), length, names)
    length *= depth / tree.root_distances()[tree.is_tip].mean()
    return tree


def simulate_states(
    tree: Tree, columns: int, rng: np.random.Generator, *, model: str = "lg", alpha: float = 1.0
) -> npt.NDArray[np.uint8]:
    """Return sequences at the tips, in depth-first order, as states, shape (tips, columns); no gaps.

    Args:
        tree: branch lengths in expected substitutions per site.
        columns: number of sites; each draws its rate from Γ(α, 1/α).
        rng: random numbers.
        model: name of a substitution model.
        alpha: shape of Γ; infinite for equal rates.
    """
    chosen = substitution_model(model)
    rates = np.ones(columns) if np.isinf(alpha) else rng.gamma(alpha, 1 / alpha, columns)
    states = np.empty((len(tree), columns), dtype=np.uint8)
    states[0] = rng.choice(20, columns, p=chosen.frequencies)
    for node in range(1, len(tree)):
        decay = np.exp(chosen.eigenvalues * (rates * tree.length[node])[:, None])
        probability = (chosen.right[states[tree.parent[node]]] * decay) @ chosen.left
        bounds = np.cumsum(probability, axis=1)
        draws = rng.random(columns)[:, None] * bounds[:, -1:]
        states[node] = (draws > bounds).sum(axis=1).clip(max=19)
    return states[tree.is_tip]
