"""Substitutions along a tree: a continuous-time Markov chain at every site, exact for any rate and branch length.

By uniformisation (Jensen, Skand. Aktuarietidskr. 36:87, 1953): with μ the largest rate of leaving a state, the number of
jumps at a site is Poisson with mean μ·rate·time, and each jump follows the matrix I + Q/μ, in which a state may remain
unchanged. No matrix exponential is needed, so every site can have its own rate, and the work is proportional to the number
of events.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.formats.tree import Tree
from phylocli.tree.models import STATES, SubstitutionModel, substitution_model

States = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

MOST_JUMPS = 1000.0
"""Expected number of jumps above which a site is at equilibrium up to rounding; further jumps are not simulated."""

_CELLS = 1 << 21  # node × column cells processed at a time


def alias_tables(rows: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return Walker's alias tables of discrete distributions, one per row (Walker, ACM TOMS 3:253, 1977).

    Args:
        rows: shape (m, k), rows summing to 1.

    Returns:
        For a column chosen uniformly, the probability of keeping it and the alternative outcome; shapes (m, k).
    """
    m, k = rows.shape
    share, other = np.ones((m, k)), np.tile(np.arange(k), (m, 1))
    for row in range(m):
        weight = rows[row] * k
        small, large = [c for c in range(k) if weight[c] < 1], [c for c in range(k) if weight[c] >= 1]
        while small and large:
            low, high = small.pop(), large[-1]
            share[row, low], other[row, low] = weight[low], high
            weight[high] -= 1 - weight[low]
            if weight[high] < 1:
                small.append(large.pop())
    return share, other


class Substitutions:
    """The substitution process of a model.

    Args:
        model: normalised to one expected substitution per unit of time.

    Attributes:
        model: see above.
        jump_rate: μ, jumps per unit of time at a site of rate 1.
    """

    def __init__(self, model: SubstitutionModel) -> None:
        self.model = model
        rates = model.rate_matrix
        self.jump_rate = float(-rates.diagonal().min())
        share, other = alias_tables(np.eye(STATES) + rates / self.jump_rate)
        self._share, self._other = share.ravel(), other.ravel().astype(np.uint8)
        self._start = np.cumsum(model.frequencies)

    def equilibrium(self, size: int, rng: np.random.Generator) -> States:
        """Return states sampled from the stationary frequencies, shape (size,)."""
        return np.searchsorted(self._start, rng.random(size) * self._start[-1], side="right").clip(max=19).astype(np.uint8)

    def evolve(self, states: States, time: Floats, rng: np.random.Generator) -> States:
        """Return states after a given time.

        Args:
            states: 0–19, any shape.
            time: rate × branch length of each state, expected substitutions at a site in equilibrium, of the same shape.
            rng: random numbers.
        """
        found = states.ravel().copy()
        jumps = rng.poisson(np.minimum(time * self.jump_rate, MOST_JUMPS)).ravel()
        active = np.flatnonzero(jumps)
        left = jumps[active]
        while len(active):
            # Walker's alias method: one random number gives both a column and the position within it.
            drawn = STATES * rng.random(len(active))
            column = drawn.astype(np.uint8)
            cell = STATES * found[active].astype(np.intp) + column
            found[active] = np.where(drawn - column < self._share[cell], column, self._other[cell])
            left -= 1
            stay = left > 0
            active, left = active[stay], left[stay]
        return found.reshape(states.shape)

    def along(
        self,
        parent: npt.NDArray[np.int64],
        length: Floats,
        rates: Floats,
        rng: np.random.Generator,
    ) -> States:
        """Return the states at all nodes of a tree, shape (nodes, columns), with the root in equilibrium.

        Nodes of one level of the tree are computed together, in time and memory linear in nodes × columns.

        Args:
            parent: parent of each node, in preorder; the first is the root.
            length: of the branch above each node, expected substitutions per site; that of the root is ignored.
            rates: of each column, shape (columns,); the model's own rate is 1.
            rng: random numbers.
        """
        columns = len(rates)
        found = np.empty((len(parent), columns), dtype=np.uint8)
        found[0] = self.equilibrium(columns, rng)
        for level in _levels(parent):
            step = max(1, _CELLS // max(1, columns))
            for start in range(0, len(level), step):
                nodes = level[start : start + step]
                found[nodes] = self.evolve(found[parent[nodes]], length[nodes, None] * rates, rng)
        return found


def _levels(parent: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Return the nodes at each number of branches from the root, from 1 on."""
    depth = [0] * len(parent)
    for node, up in enumerate(parent.tolist()):
        if node:
            depth[node] = depth[up] + 1
    order = np.argsort(depth, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(np.array(depth)[order])) + 1)[1:]


def simulate_states(tree: Tree, columns: int, rng: np.random.Generator, *, model: str = "lg", alpha: float = 1.0) -> States:
    """Return sequences at the tips, in depth-first order, as states, shape (tips, columns); no gaps.

    Args:
        tree: branch lengths in expected substitutions per site.
        columns: number of sites; each samples its rate from Γ(α, 1/α).
        rng: random numbers.
        model: name of a substitution model.
        alpha: shape of Γ; infinite for equal rates.
    """
    rates = np.ones(columns) if np.isinf(alpha) else rng.gamma(alpha, 1 / alpha, columns)
    return Substitutions(substitution_model(model)).along(tree.parent, tree.length, rates, rng)[tree.is_tip]
