"""Likelihoods of the three resolutions of the quartet of subtrees around each inner branch.

An inner branch divides the four adjacent subtrees into two pairs; a nearest-neighbour interchange changes the pairing. For
each of the three pairings, the lengths of the five branches involved are optimised with the rest of the tree fixed, and the
likelihood of each site is computed, for local branch support and interchanges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from phylocli.tree.likelihood.branches import Fitted, Meeting, rescale
from phylocli.tree.likelihood.forest import MAX_LENGTH, MIN_LENGTH
from phylocli.tree.likelihood.pruning import Pruner, mixture

PAIRINGS = ((0, 1, 2, 3), (0, 2, 1, 3), (1, 2, 0, 3))
"""Pairing of the four neighbours of a branch in each resolution; the first two form one pair. The current one is first."""

_ROUNDS = 2  # number of rounds over the five branches; the remaining error is at most 0.05 log units
_NEWTON_STEPS = 2
_HANDED_ON, _LEFT = 1 / 3, 0.1  # initial lengths of alternatives: fractions of the inner length for outer and inner branches
_LEAST = 1e-30  # minimum site likelihood, which may be negative by rounding
_ARRAYS = 16  # number of arrays of partials in a batch, reused because allocation takes longer than the arithmetic
_CHUNK_BYTES = {"cpu": 3_000_000, "cuda": 200_000_000}  # memory of an array of partials per block


class Neighbours(NamedTuple):
    """The subtrees around inner branches.

    Attributes:
        node: node below each branch, shape (branches,).
        around: the four adjacent nodes, shape (branches, 4): both children, the sibling (or a child of it), and the node at
            the branch that leads to the last subtree.
        above: whether the last subtree is the tree above the branch of `around[:, 3]`, shape (branches,), instead of the
            subtree below it.
    """

    node: torch.Tensor
    around: torch.Tensor
    above: torch.Tensor

    def chosen(self, which: torch.Tensor | slice) -> Neighbours:
        """Return the neighbours of some branches, selected by a mask, indices or a slice."""
        return Neighbours(self.node[which], self.around[which], self.above[which])

    def five(self) -> torch.Tensor:
        """Return the nodes below the five branches involved, the inner one last, shape (branches, 5)."""
        return torch.cat([self.around, self.node[:, None]], dim=1)


class Resolutions(NamedTuple):
    """Likelihoods of resolutions of inner branches; the current resolution is first.

    Attributes:
        sites: natural-log likelihoods of patterns, float64, 0 for padding, shape (branches, resolutions, patterns).
        total: natural-log likelihoods of the alignments, shape (branches, resolutions).
        lengths: lengths of the five branches, in the order of `PAIRINGS` with the inner one last, shape (branches,
            resolutions, 5).
    """

    sites: torch.Tensor
    total: torch.Tensor
    lengths: torch.Tensor


def neighbours(pruner: Pruner) -> Neighbours:
    """Return the neighbours of all inner branches of a forest whose length is optimised."""
    forest = pruner.forest
    device = forest.parent.device
    is_root = torch.zeros(len(forest.length), dtype=torch.bool, device=device)
    is_root[forest.n_tips + forest.roots] = True
    node = torch.arange(forest.n_tips, len(forest.length), device=device)
    node = node[forest.free[node] & ~is_root[node]]
    children = torch.stack([forest.left, forest.right], dim=1)
    beside, up = forest.sibling[node], forest.parent[node]
    at_root = is_root[up]  # the sibling then has no length, and its children are the neighbours
    opposite = children[(beside - forest.n_tips).clamp(min=0)]
    # Below a child of the root, the branch above continues across the root to its other child.
    over = is_root[forest.parent[up]] & ~forest.free[up] & ~at_root
    last = torch.where(at_root, opposite[:, 1], torch.where(over, forest.sibling[up], up))
    third = torch.where(at_root, opposite[:, 0], beside)
    around = torch.cat([children[node - forest.n_tips], third[:, None], last[:, None]], dim=1)
    return Neighbours(node, around, ~at_root & ~over)


def resolutions(
    pruner: Pruner, found: Neighbours, *, rounds: int = _ROUNDS, pairings: torch.Tensor | None = None
) -> Iterator[tuple[slice, Resolutions]]:
    """Yield the likelihoods of resolutions of inner branches, in blocks of branches.

    Args:
        pruner: a pruner after `ascend` and `descend` at the current lengths.
        found: all or some of the branches from `neighbours`.
        rounds: number of rounds over the five branches of each resolution.
        pairings: indices in `PAIRINGS` of the resolutions to optimise, shape (branches, resolutions); None: all three.
    """
    if pairings is None:
        pairings = torch.arange(3, device=found.node.device).expand(len(found.node), -1)
    copies = pairings.shape[1]
    most = min(_chunk(pruner, copies), len(found.node))
    space = pruner.forest.tips.new_empty((_ARRAYS, copies * most, *pruner.shape))
    for start in range(0, len(found.node), max(most, 1)):
        part = slice(start, min(start + most, len(found.node)))
        yield part, _Quartets(pruner, found.chosen(part), pairings[part], space).fit(rounds)


def screen(pruner: Pruner, found: Neighbours, value: float, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Screen inner branches for alternative resolutions that may increase the likelihood.

    The four outer branches are unchanged. First the inner branch is removed, so that all three resolutions are the same. If
    this loses more than `reach`, no alternative is likely to be better, and the gain is −inf. Otherwise the inner branch of
    both alternatives is optimised.

    Args:
        pruner: a pruner of a single tree after `ascend` and `descend` at the current lengths.
        found: all or some of the branches from `neighbours`.
        value: log likelihood of the tree.
        reach: maximum loss of log likelihood without the inner branch.

    Returns:
        Gain in log likelihood of the better alternative, float64, and its index in `PAIRINGS`, shape (branches,) each.
    """
    most = _chunk(pruner, 5)
    parts = [slice(start, start + most) for start in range(0, len(found.node), most)]
    gains, pairings = zip(*(_screen_block(pruner, found.chosen(part), value, reach) for part in parts), strict=True)
    return torch.cat(gains), torch.cat(pairings)


def _screen_block(pruner: Pruner, found: Neighbours, value: float, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    forest, branches = pruner.forest, pruner.branches
    messages, exponents = (each.unflatten(0, (4, -1)) for each in pruner.sent_from_below(found.around.T.flatten()))
    if bool(found.above.any()):
        messages[3, found.above], exponents[3, found.above] = pruner.sent_from_above(found.around[found.above, 3])
    exponents = exponents.sum(dim=0)
    weights = forest.weights[forest.family[found.node]]
    left, right = messages[0] * messages[1], messages[2] * messages[3]
    sides = rescale(left) + rescale(right) + exponents
    likelihood = torch.einsum("x,fcxp->fcp", branches.frequencies.to(left.dtype), left.mul_(right)).double()
    together = torch.log(likelihood.clamp(min=_LEAST)) + sides.double() * math.log(2)
    together = together.flatten(1) if forest.divided else mixture(together)
    which = ((together * weights).sum(dim=1) > value - reach).nonzero()[:, 0]
    gain = torch.full((len(found.node),), -torch.inf, dtype=torch.float64, device=together.device)
    pairing = torch.ones(len(found.node), dtype=torch.int64, device=together.device)
    if not len(which):
        return gain, pairing
    messages, exponents, weights = messages[:, which], exponents[which], weights[which]
    inner, rates = pruner.length[found.node[which]], pruner.rates_of(found.node[which])
    free = torch.ones_like(inner, dtype=torch.bool)
    start = (inner * _LEFT).clamp(MIN_LENGTH, MAX_LENGTH)
    totals = []
    for a, b, c, d in PAIRINGS[1:]:
        left, right = messages[a] * messages[b], messages[c] * messages[d]
        sides = rescale(left) + rescale(right) + exponents
        product = torch.matmul(branches.project, left)
        product *= torch.matmul(branches.project, right)
        meeting = Meeting.of(product, sides, divided=forest.divided)
        fitted = branches.fit(meeting, start, rates, weights, free, _NEWTON_STEPS)
        sites = branches.fit(meeting, fitted.length, rates, weights, free, 0).log_sites(meeting, rates)
        totals.append((sites * weights).sum(dim=1))
    best, place = torch.stack(totals).max(dim=0)
    gain[which], pairing[which] = best - value, 1 + place
    return gain, pairing


def _chunk(pruner: Pruner, copies: int) -> int:
    """Return the number of branches per block, each with `copies` of partials."""
    tips = pruner.forest.tips
    return max(1, _CHUNK_BYTES[tips.device.type] // (copies * math.prod(pruner.shape) * tips.element_size()))


def _subtrees(pruner: Pruner, found: Neighbours) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the partials of the four subtrees, (branches, 4, categories, 20, patterns), and their exponents."""
    partials, exponents = (each.unflatten(0, (-1, 4)) for each in pruner.from_below(found.around.flatten()))
    if bool(found.above.any()):
        partials[found.above, 3], exponents[found.above, 3] = pruner.from_above(found.around[found.above, 3])
    return partials, exponents


class _Quartets:
    """Optimises resolutions of some branches, as a batch of branches × resolutions with subtrees ordered by pairing."""

    def __init__(self, pruner: Pruner, found: Neighbours, pairings: torch.Tensor, space: torch.Tensor) -> None:
        forest = pruner.forest
        self._branches = pruner.branches
        self._divided = forest.divided
        count, copies = pairings.shape
        partials, exponents = _subtrees(pruner, found)
        projected = torch.matmul(self._branches.project, partials)
        order = torch.tensor(PAIRINGS, device=partials.device)[pairings]
        # Index of the subtree at each place of each resolution among the four subtrees of all branches.
        order = (order + 4 * torch.arange(count, device=order.device)[:, None, None]).flatten(0, 1).T
        space = space[:, : copies * count]
        self._messages, self._subtrees, self._projected = space[0:4], space[4:8], space[8:12]
        self._left, self._right, self._product, self._other = space[12:16]
        for place in range(4):
            torch.index_select(partials.flatten(0, 1), 0, order[place], out=self._subtrees[place])
            torch.index_select(projected.flatten(0, 1), 0, order[place], out=self._projected[place])

        def arranged(values: torch.Tensor) -> list[torch.Tensor]:
            """Reorder values of the subtrees, (branches, 4, …), by place in the pairing, (branches · resolutions, …)."""
            return [values.flatten(0, 1).index_select(0, order[place]) for place in range(4)]

        self._copies = copies
        self._exponents = arranged(exponents)
        self._rates = pruner.rates_of(found.node).repeat_interleave(copies, dim=0)
        inner = torch.ones(copies * count, dtype=torch.bool, device=partials.device)
        self._free = [*arranged(forest.free[found.around]), inner]
        self._lengths = [*arranged(pruner.length[found.around]), pruner.length[found.node].repeat_interleave(copies)]
        self._start_elsewhere(pairings.flatten() > 0)
        self._weights = forest.weights[forest.family[found.node]].repeat_interleave(copies, dim=0)
        for place in range(4):
            self._send(place, self._subtrees[place], self._messages[place])

    def fit(self, rounds: int) -> Resolutions:
        """Optimise the lengths in rounds, and return the values with the highest likelihood."""
        best: list[torch.Tensor] = []
        for turn in range(rounds + 1):
            left, right = self._joined(0, 1, self._left), self._joined(2, 3, self._right)
            product = torch.matmul(self._branches.project, self._left, out=self._product)
            product *= torch.matmul(self._branches.project, self._right, out=self._other)
            meeting = Meeting.of(product, left + right, divided=self._divided)
            present = torch.stack(self._lengths, dim=1)
            fitted = self._fit(4, meeting, _NEWTON_STEPS if turn < rounds else 0)
            sites = fitted.log_sites(meeting, self._rates)
            sites = torch.where(self._weights > 0, sites, 0.0)
            total = (sites * self._weights).sum(dim=1)
            if best:
                better = total > best[1]
                best = [
                    torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)
                    for new, old in zip((sites, total, present), best, strict=True)
                ]
            else:
                best = [sites, total, present]
            if turn < rounds:
                self._fit_pair((0, 1), self._send(4, self._right, self._left), right)
                left = self._joined(0, 1, self._left)
                self._fit_pair((2, 3), self._send(4, self._left, self._right), left)
        return Resolutions(*(values.unflatten(0, (-1, self._copies)) for values in best))

    def _start_elsewhere(self, other: torch.Tensor) -> None:
        """Set the initial lengths of alternative resolutions by least squares.

        For the distances on ab|cd, the inner branch of ac|bd has length 0, and a third of the old inner branch is added to
        each outer branch.
        """
        inner = torch.where(other, self._lengths[4], 0.0)
        for place in range(4):
            self._lengths[place] += torch.where(self._free[place], inner * _HANDED_ON, 0.0)
        self._lengths[4] = torch.where(other, (inner * _LEFT).clamp(MIN_LENGTH, MAX_LENGTH), self._lengths[4])

    def _send(self, place: int, partials: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Propagate partials along the branch at a place."""
        return torch.matmul(self._branches.transitions(self._lengths[place], self._rates), partials, out=out)

    def _joined(self, a: int, b: int, out: torch.Tensor) -> torch.Tensor:
        """Multiply the partials of two subtrees, and return their exponents."""
        torch.mul(self._messages[a], self._messages[b], out=out)
        return rescale(out) + self._exponents[a] + self._exponents[b]

    def _fit(self, place: int, meeting: Meeting, steps: int) -> Fitted:
        found = self._branches.fit(meeting, self._lengths[place], self._rates, self._weights, self._free[place], steps)
        self._lengths[place] = found.length
        return found

    def _fit_pair(self, pair: tuple[int, int], across: torch.Tensor, exponent: torch.Tensor) -> None:
        """Optimise the branches of two subtrees alternately, given the partials across the inner branch."""
        for place, other in (pair, pair[::-1]):
            rest = torch.mul(self._messages[other], across, out=self._other)
            sides = rescale(rest) + exponent + self._exponents[other] + self._exponents[place]
            product = torch.matmul(self._branches.project, rest, out=self._product)
            product *= self._projected[place]
            self._fit(place, Meeting.of(product, sides, divided=self._divided), _NEWTON_STEPS)
            self._send(place, self._subtrees[place], self._messages[place])
