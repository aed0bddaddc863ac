"""Marginal reconstruction of states at the inner nodes of a tree.

Yang, Kumar & Nei, Genetics 141:1641 (1995): the posterior probability of each state at a node given all tips, from partial
likelihoods below and above the node (Felsenstein 1981), averaged over categories of site rates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from phylocli.formats.tree import Tree

Floats = npt.NDArray[np.float64]

_BYTES = 1 << 28  # of partial likelihoods at a time; for all columns it would grow with the tree


def marginal_posteriors(
    tree: Tree,
    states: npt.NDArray[np.uint8],
    transition: Callable[[Floats], Floats],
    frequencies: Floats,
    rates: Floats,
) -> tuple[npt.NDArray[np.float32], Floats]:
    """Return the state probabilities at every node, and the log likelihood of every column.

    Args:
        tree: with non-negative branch lengths, in the time unit of `transition`.
        states: of the tips in depth-first order, shape (tips, columns); values from k on (the number of states) are missing.
        transition: from times, shape (m,), to P(t), shape (m, k, k), rows from, columns to; reversible.
        frequencies: stationary, shape (k,).
        rates: of equally probable categories, shape (categories,).

    Returns:
        Posteriors, shape (nodes, columns, k), and natural logarithms, shape (columns,).
    """
    columns, k = states.shape[1], len(frequencies)
    posterior = np.empty((len(tree), columns, k), dtype=np.float32)
    likelihood = np.empty(columns)
    matrices = transition(np.multiply.outer(rates, tree.length).ravel()).reshape(len(rates), len(tree), k, k)
    step = max(1, _BYTES // (3 * 8 * len(tree) * len(rates) * k))
    for start in range(0, columns, step):
        part = slice(start, min(start + step, columns))
        posterior[:, part], likelihood[part] = _block(tree, states[:, part], matrices, frequencies)
    return posterior, likelihood


def _block(
    tree: Tree, states: npt.NDArray[np.uint8], matrices: Floats, frequencies: Floats
) -> tuple[npt.NDArray[np.float32], Floats]:
    nodes, columns, k, categories = len(tree), states.shape[1], len(frequencies), len(matrices)
    parent = tree.parent.tolist()
    seen = np.vstack([np.eye(k), np.ones(k)])[np.minimum(states, k)]  # (tips, columns, k)
    below = np.ones((nodes, categories, columns, k))
    below[tree.tips()] = seen[:, None]
    scale = np.zeros((nodes, categories, columns))  # logarithms of the factors removed from `below`
    message = np.ones((nodes, categories, columns, k))  # from a node to its parent
    for node in range(nodes - 1, 0, -1):
        largest = np.maximum(below[node].max(axis=-1), 1e-300)
        below[node] /= largest[..., None]
        scale[node] += np.log(largest)
        message[node] = below[node] @ matrices[:, node].transpose(0, 2, 1)
        below[parent[node]] *= message[node]
        scale[parent[node]] += scale[node]
    site = np.log(np.maximum(below[0] @ frequencies, 1e-300)) + scale[0]  # (categories, columns)
    top = site.max(axis=0)
    likelihood = top + np.log(np.exp(site - top).mean(axis=0))
    weight = np.exp(site - likelihood) / categories  # posterior of the categories
    above = np.ones((nodes, categories, columns, k))
    above[0] = frequencies
    children = tree.children()
    posterior = np.empty((nodes, columns, k), dtype=np.float32)
    for node in range(nodes):
        joint = above[node] * below[node]
        joint /= np.maximum(joint.sum(axis=-1, keepdims=True), 1e-300)
        posterior[node] = (weight[..., None] * joint).sum(axis=0)
        found = children[node]
        # Product over all children but one, without division: products of the siblings before and after it.
        before = [above[node]]
        for child in found[:-1]:
            before.append(before[-1] * message[child])
        after = np.ones((categories, columns, k))
        for place in range(len(found) - 1, -1, -1):
            child = found[place]
            rest = before[place] * after
            rest = rest @ matrices[:, child]  # from the parent's state to the child's, also if not reversible
            above[child] = rest / np.maximum(rest.max(axis=-1, keepdims=True), 1e-300)
            after = after * message[child]
            after /= np.maximum(after.max(axis=-1, keepdims=True), 1e-300)
    return posterior, likelihood
