"""Felsenstein's pruning algorithm for a batch of trees: likelihoods, and derivatives at all branches in a second pass.

Felsenstein, J. Mol. Evol. 17:368 (1981), doi:10.1007/BF01734359. Partial likelihoods from below (towards the tips) and from
above (the rest of the tree) are combined at each branch. Projected on the eigenvectors of the rate matrix, they give the
likelihood of a site as a function of the length of that branch, Σ_c Σ_k G_ck exp(λ_k r_c t). Newton steps on the length are
therefore two orders of magnitude cheaper than computing partial likelihoods.
"""

from __future__ import annotations

import math

import torch

from phylocli.tree.likelihood.branches import Branches, Meeting, rescale
from phylocli.tree.likelihood.forest import Forest, Level
from phylocli.tree.models import STATES, SubstitutionModel


def mixture(log_likelihoods: torch.Tensor) -> torch.Tensor:
    """Average likelihoods over equally probable rates, given log likelihoods, shape (…, categories, patterns)."""
    return torch.logsumexp(log_likelihoods, dim=-2) - math.log(log_likelihoods.shape[-2])


class Pruner:
    """Partial likelihoods ("partials") of a forest under a model, at given branch lengths and rates.

    Partials have the shape (nodes, categories, 20, patterns). They are scaled by powers of two per node, category and
    pattern. Exponents are integers, so that scaling is exact at any depth of the tree.

    Args:
        forest: the trees and their patterns.
        model: the substitution model.
        rates: rates of the equally probable categories, float64, shape (trees, categories); of the classes if the patterns
            are divided.
        former: a pruner of another tree with the same patterns, which is no longer needed and whose memory is reused.

    Attributes:
        shape: shape of the partials of a node, (categories, 20, patterns).
    """

    def __init__(self, forest: Forest, model: SubstitutionModel, rates: torch.Tensor, former: Pruner | None = None) -> None:
        self.forest = forest
        device, dtype = forest.tips.device, forest.tips.dtype
        self.branches = Branches(model, device, dtype, quick=forest.divided)
        categories = rates.shape[1]
        nodes, width = forest.n_tips + forest.n_inner, forest.patterns
        self.length = forest.length.clone()
        self.rates = rates
        self._current = False  # whether transition probabilities are up to date with lengths and rates
        self.shape = (categories, STATES, width)
        self._transition = torch.empty((nodes, categories, STATES, STATES), device=device, dtype=dtype)
        most = max(level.stop - level.start for level in forest.levels)
        # Reuse memory, because allocating it for every tree or level would take more time than the arithmetic.
        if former is None:
            self._down = torch.empty((forest.n_inner, *self.shape), device=device, dtype=dtype)
            self._message = torch.empty((nodes, *self.shape), device=device, dtype=dtype)
            self._exponent = torch.zeros((nodes, categories, width), device=device, dtype=dtype)
            self._outer: torch.Tensor | None = None
            self._outer_exponent: torch.Tensor | None = None
            self._tips_projected: torch.Tensor | None = None
        else:
            self._down, self._message, self._exponent = former._down, former._message, former._exponent
            self._outer, self._outer_exponent = former._outer, former._outer_exponent
            self._tips_projected = former._tips_projected
        space = None if former is None else former._space
        if space is None or space.shape[1] < most:
            space = torch.empty((4, most, *self.shape), device=device, dtype=dtype)
        self._space: torch.Tensor = space

    def place(self, length: torch.Tensor, rates: torch.Tensor) -> None:
        """Set branch lengths, shape (nodes,), and rates, shape (trees, categories). Call `ascend` afterwards."""
        self.length, self.rates = length, rates
        self._current = False

    def rates_of(self, nodes: torch.Tensor) -> torch.Tensor:
        """Return the rates of the trees of the given nodes, shape (nodes, categories)."""
        return self.rates.index_select(0, self.forest.family[nodes])

    def _transitions(self, nodes: torch.Tensor) -> torch.Tensor:
        return self.branches.transitions(self.length[nodes], self.rates_of(nodes))

    def _send(self, nodes: torch.Tensor, partials: torch.Tensor) -> torch.Tensor:
        """Propagate partials along the branches above these nodes."""
        transition = self._transition.index_select(0, nodes)
        if partials.shape[1] == 1:  # partials of tips, which are the same for all categories
            return torch.bmm(transition.flatten(1, 2), partials[:, 0]).view(len(nodes), *self.shape)
        sent = self._space[3, : len(nodes)]
        return torch.matmul(transition, partials, out=sent)

    def ascend(self) -> torch.Tensor:
        """Compute all partials from below (post-order).

        Returns:
            Natural-log likelihood of each pattern at the rate of each category, float64, shape (trees, categories,
            patterns), 0 for padding. If patterns are divided, of each class at its rate.
        """
        forest = self.forest
        if not self._current:
            self._transition = self._transitions(torch.arange(len(self.length), device=self.length.device))
            self._current = True
        tips = forest.n_tips
        message = self._message[:tips]
        if forest.divided:
            torch.matmul(self._transition[:tips], forest.tips, out=message)
        else:
            torch.bmm(self._transition[:tips].flatten(1, 2), forest.tips[:, 0], out=message.view(tips, -1, forest.patterns))
        for level in forest.levels:
            left, right = forest.left[level.start : level.stop], forest.right[level.start : level.stop]
            down = self._down[level.start : level.stop]
            other = self._space[0, : level.stop - level.start]
            torch.index_select(self._message, 0, left, out=down)
            torch.index_select(self._message, 0, right, out=other)
            down *= other
            exponent = rescale(down)
            exponent += self._exponent[left]
            exponent += self._exponent[right]
            nodes = slice(tips + level.start, tips + level.stop)
            self._exponent[nodes] = exponent
            torch.bmm(self._transition[nodes].flatten(0, 1), down.flatten(0, 1), out=self._message[nodes].flatten(0, 1))
        likelihood = torch.einsum("x,fcxp->fcp", self.branches.frequencies, self._down[forest.roots].double())
        found = torch.log(likelihood) + self._exponent[tips + forest.roots].double() * math.log(2)
        weights = forest.weights.view(len(found), -1, forest.patterns)
        return torch.where(weights > 0, found, 0.0)

    def descend(self, newton_steps: int = 0, *, derivatives: bool = True) -> torch.Tensor:
        """Compute partials from above (pre-order) and derivatives at all branches, and optionally optimise the lengths.

        Call `ascend` before. With Newton steps, each branch gets its new length when the pass reaches it, and subsequent
        branches use it (a level-wise Gauss–Seidel sweep). Partials from below are then out of date; call `ascend` again.

        Args:
            newton_steps: number of Newton steps for each branch.
            derivatives: whether to compute derivatives; otherwise 0 is returned.

        Returns:
            Derivatives of the log likelihood of each tree with respect to the length of each branch before its steps,
            float64, shape (nodes,).
        """
        forest = self.forest
        device = self._message.device
        if self._outer is None or self._outer_exponent is None or self._tips_projected is None:
            self._outer = torch.empty_like(self._down)
            self._outer_exponent = torch.empty_like(self._exponent[forest.n_tips :])
            self._tips_projected = torch.matmul(self.branches.project, forest.tips)
        outer, outer_exponent = self._outer, self._outer_exponent
        outer[forest.roots] = 1.0
        outer_exponent[forest.roots] = 0.0
        by_length = torch.zeros(len(self.length), device=device, dtype=torch.float64)
        for level in reversed(forest.levels):
            above = outer[level.start : level.stop]
            above_exponent = outer_exponent[level.start : level.stop]
            sides = (forest.left[level.start : level.stop], forest.right[level.start : level.stop])
            for side, nodes in enumerate(sides):
                sibling = sides[1 - side]
                inner = self._inner_count(level, side)
                partials = self._space[0, : len(nodes)]
                torch.index_select(self._message, 0, sibling, out=partials)
                partials *= above
                exponent = rescale(partials)
                exponent += above_exponent
                exponent += self._exponent[sibling]
                if derivatives or newton_steps:
                    meeting = self._meet(nodes, inner, partials, exponent)
                    by_length[nodes] = self._fit(nodes, meeting, newton_steps)
                if newton_steps:
                    self._transition.index_copy_(0, nodes, self._transitions(nodes))
                    if side == 0:
                        self._resend(nodes, inner)
                below = nodes[:inner]
                if inner:
                    outer.index_copy_(0, below - forest.n_tips, self._send(below, partials[:inner]))
                    outer_exponent[below - forest.n_tips] = exponent[:inner]
        return by_length

    def from_below(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the partials of nodes, (nodes, categories, 20, patterns), and their exponents. Call `ascend` before."""
        tips = nodes < self.forest.n_tips
        partials = self._down.index_select(0, (nodes - self.forest.n_tips).clamp(min=0))
        if bool(tips.any()):
            partials[tips] = self.forest.tips.index_select(0, nodes[tips])
        return partials, self._exponent.index_select(0, nodes)

    def from_above(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the partials of everything not below nodes, at the upper ends of their branches. Call `descend` before."""
        assert self._outer is not None and self._outer_exponent is not None
        forest = self.forest
        sibling, above = forest.sibling[nodes], forest.parent[nodes] - forest.n_tips
        partials = self._message.index_select(0, sibling) * self._outer.index_select(0, above)
        exponent = rescale(partials)
        return partials, exponent + self._exponent[sibling] + self._outer_exponent[above]

    def sent_from_below(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the partials of nodes at the upper ends of their branches, and their exponents. Call `ascend` before."""
        return self._message.index_select(0, nodes), self._exponent.index_select(0, nodes)

    def sent_from_above(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the partials of everything not below nodes, at the lower ends of their branches. Call `descend` before."""
        partials, exponent = self.from_above(nodes)
        return torch.matmul(self._transition.index_select(0, nodes), partials), exponent

    @staticmethod
    def _inner_count(level: Level, side: int) -> int:
        if side == 1:
            return level.inner_right
        return 0 if level.tips_only else level.stop - level.start

    def _resend(self, nodes: torch.Tensor, inner: int) -> None:
        below, tips = nodes[:inner], nodes[inner:]
        if inner:
            self._message.index_copy_(0, below, self._send(below, self._space[2, :inner]))
        if len(tips):
            self._message.index_copy_(0, tips, self._send(tips, self.forest.tips.index_select(0, tips)))

    def _meet(self, nodes: torch.Tensor, inner: int, partials: torch.Tensor, exponent: torch.Tensor) -> Meeting:
        """Return the likelihood coefficients of the branches above nodes, given the partials from above and exponents.

        By reversibility, both partials are projected by the same matrix: π_x right_xk = left_kx.
        """
        assert self._tips_projected is not None
        forest = self.forest
        product = self._space[1, : len(nodes)]
        torch.matmul(self.branches.project, partials, out=product)
        below, tips = nodes[:inner], nodes[inner:]
        if inner:
            down, projected = self._space[2, :inner], self._space[3, :inner]
            torch.index_select(self._down, 0, below - forest.n_tips, out=down)
            torch.matmul(self.branches.project, down, out=projected)
            product[:inner] *= projected
        if len(tips):
            product[inner:] *= self._tips_projected.index_select(0, tips)
        return Meeting.of(product, exponent + self._exponent.index_select(0, nodes), divided=forest.divided)

    def _fit(self, nodes: torch.Tensor, meeting: Meeting, steps: int) -> torch.Tensor:
        """Optimise the lengths above nodes by Newton steps, and return the derivatives before the first step."""
        forest = self.forest
        weights = forest.weights.index_select(0, forest.family[nodes])
        fitted = self.branches.fit(meeting, self.length[nodes], self.rates_of(nodes), weights, forest.free[nodes], steps)
        self.length[nodes] = fitted.length
        return fitted.slope
