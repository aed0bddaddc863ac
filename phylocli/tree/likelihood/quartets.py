"""The three ways in which the four subtrees around an inner branch can be joined, and how likely each is.

Every inner branch divides four subtrees into two pairs; a nearest-neighbour interchange makes one of the two other pairings.
Each of the three gets its own best lengths of the five branches concerned, with everything beyond them as it is, and its
likelihood site by site: all that local supports and interchanges need.
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
"""Which neighbours of a branch are paired, as (below, below, beside or above, beside or above), in each resolution."""

_ROUNDS = 2  # over the five branches, Newton steps on each: leaves up to 0.05 units to pairings that are close
_NEWTON_STEPS = 2
_HANDED_ON, _LEFT = 1 / 3, 0.1  # start of other pairings: fractions of the inner branch for each outer one, and itself
_LEAST = 1e-30  # of a site's likelihood, due to rounding
_ARRAYS = 16  # arrays of partials in a batch, reused because allocation would take longer than the arithmetic
_CHUNK_BYTES = {
    "cpu": 3_000_000,
    "cuda": 200_000_000,
}  # of one array of partials: as in `forest` for caches, or for occupancy


class Neighbours(NamedTuple):
    """The subtrees around inner branches.

    Attributes:
        node: below each branch, shape (branches,).
        around: the four next nodes, shape (branches, 4): both children, the sibling (or a child of it), and the node whose
            branch leads to the last subtree.
        above: whether that last subtree is everything above the branch of `around[:, 3]`, shape (branches,); otherwise it is
            what is below it.
    """

    node: torch.Tensor
    around: torch.Tensor
    above: torch.Tensor

    def chosen(self, which: torch.Tensor | slice) -> Neighbours:
        """Return those of some branches: a mask, indices or a slice."""
        return Neighbours(self.node[which], self.around[which], self.above[which])

    def five(self) -> torch.Tensor:
        """Return the nodes below all branches concerned, the inner one last, shape (branches, 5)."""
        return torch.cat([self.around, self.node[:, None]], dim=1)


class Resolutions(NamedTuple):
    """How likely resolutions of inner branches are; of all three, the present one is first.

    Attributes:
        sites: natural-log likelihoods of patterns, shape (branches, resolutions, patterns), float64; 0 where padded.
        total: of alignments, shape (branches, resolutions).
        lengths: of the five branches, in the order of `PAIRINGS` and the inner one last, shape (branches, resolutions, 5).
    """

    sites: torch.Tensor
    total: torch.Tensor
    lengths: torch.Tensor


def neighbours(pruner: Pruner) -> Neighbours:
    """Return the inner branches of a forest with their own length, with their neighbours."""
    forest = pruner.forest
    device = forest.parent.device
    is_root = torch.zeros(len(forest.length), dtype=torch.bool, device=device)
    is_root[forest.n_tips + forest.roots] = True
    node = torch.arange(forest.n_tips, len(forest.length), device=device)
    node = node[forest.free[node] & ~is_root[node]]
    children = torch.stack([forest.left, forest.right], dim=1)
    beside, up = forest.sibling[node], forest.parent[node]
    at_root = is_root[up]  # the sibling has no length then: its children are the neighbours
    opposite = children[(beside - forest.n_tips).clamp(min=0)]
    # Next to the root the branch above ends in a mere point, and leads on to the root's other child.
    over = is_root[forest.parent[up]] & ~forest.free[up] & ~at_root
    last = torch.where(at_root, opposite[:, 1], torch.where(over, forest.sibling[up], up))
    third = torch.where(at_root, opposite[:, 0], beside)
    around = torch.cat([children[node - forest.n_tips], third[:, None], last[:, None]], dim=1)
    return Neighbours(node, around, ~at_root & ~over)


def resolutions(
    pruner: Pruner, found: Neighbours, *, rounds: int = _ROUNDS, pairings: torch.Tensor | None = None
) -> Iterator[tuple[slice, Resolutions]]:
    """Yield the likelihoods of resolutions of inner branches, some branches at a time.

    Args:
        pruner: after `ascend` and `descend()` at the lengths that count.
        found: all or some of the branches from `neighbours`.
        rounds: over the five branches of each resolution.
        pairings: places in `PAIRINGS`, shape (branches, resolutions), of those to be fitted; None: all three.
    """
    if pairings is None:
        pairings = torch.arange(3, device=found.node.device).expand(len(found.node), -1)
    copies = pairings.shape[1]
    most = min(_chunk(pruner, copies), len(found.node))
    space = pruner.forest.tips.new_empty((_ARRAYS, copies * most, *pruner.shape))
    for start in range(0, len(found.node), max(most, 1)):
        part = slice(start, min(start + most, len(found.node)))
        yield part, _Quartets(pruner, found.chosen(part), pairings[part], space).fit(rounds)


def first_look(pruner: Pruner, found: Neighbours, value: float, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gain of the better of the other pairings at inner branches in a first pass, and which pairing it is.

    The pass has two steps, with the four outer branches unchanged. If the tree loses too much without the inner branch, when
    all pairings are the same, none can win, and −inf is returned. Otherwise each pairing gets Newton steps on the inner
    branch only.

    Args:
        pruner: of one tree, after `ascend` and `descend()` at the lengths that count.
        found: all or some of the branches from `neighbours`.
        value: log likelihood of the tree.
        reach: natural-log units that may be lost without the inner branch.

    Returns:
        Gains in natural-log units, float64, and places in `PAIRINGS`, shape (branches,) both.
    """
    most = _chunk(pruner, 5)
    parts = [slice(start, start + most) for start in range(0, len(found.node), most)]
    gains, pairings = zip(*(_look(pruner, found.chosen(part), value, reach) for part in parts), strict=True)
    return torch.cat(gains), torch.cat(pairings)


def _look(pruner: Pruner, found: Neighbours, value: float, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
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
    """Return the number of branches for which `copies` of partials form an array of a suitable size."""
    tips = pruner.forest.tips
    return max(1, _CHUNK_BYTES[tips.device.type] // (copies * math.prod(pruner.shape) * tips.element_size()))


def _subtrees(pruner: Pruner, found: Neighbours) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the partials of the four subtrees, shape (branches, 4, categories, 20, patterns), and their exponents."""
    partials, exponents = (each.unflatten(0, (-1, 4)) for each in pruner.from_below(found.around.flatten()))
    if bool(found.above.any()):
        partials[found.above, 3], exponents[found.above, 3] = pruner.from_above(found.around[found.above, 3])
    return partials, exponents


class _Quartets:
    """Resolutions of some branches: a batch as many times as long, its subtrees in the order of the pairings."""

    def __init__(self, pruner: Pruner, found: Neighbours, pairings: torch.Tensor, space: torch.Tensor) -> None:
        forest = pruner.forest
        self._branches = pruner.branches
        self._divided = forest.divided
        count, copies = pairings.shape
        partials, exponents = _subtrees(pruner, found)
        projected = torch.matmul(self._branches.project, partials)
        order = torch.tensor(PAIRINGS, device=partials.device)[pairings]
        # Of each place in each resolution, the number of its subtree among all branches' four.
        order = (order + 4 * torch.arange(count, device=order.device)[:, None, None]).flatten(0, 1).T
        space = space[:, : copies * count]
        self._messages, self._subtrees, self._projected = space[0:4], space[4:8], space[8:12]
        self._left, self._right, self._product, self._other = space[12:16]
        for place in range(4):
            torch.index_select(partials.flatten(0, 1), 0, order[place], out=self._subtrees[place])
            torch.index_select(projected.flatten(0, 1), 0, order[place], out=self._projected[place])

        def arranged(values: torch.Tensor) -> list[torch.Tensor]:
            """Values of the four subtrees, (branches, 4, …), for each place of a pairing, (branches · resolutions, …)."""
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
        """Fit the lengths in rounds; return the most likely values."""
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
        """Set start values of the other pairings by least squares: a third of the inner branch is added to each other
        branch.

        For the distances of ab|cd, the inner branch of ac|bd has length 0, and its outer ones each get a third of the old
        one.
        """
        inner = torch.where(other, self._lengths[4], 0.0)
        for place in range(4):
            self._lengths[place] += torch.where(self._free[place], inner * _HANDED_ON, 0.0)
        self._lengths[4] = torch.where(other, (inner * _LEFT).clamp(MIN_LENGTH, MAX_LENGTH), self._lengths[4])

    def _send(self, place: int, partials: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Return partials as seen from the other end of the branch at that place."""
        return torch.matmul(self._branches.transitions(self._lengths[place], self._rates), partials, out=out)

    def _joined(self, a: int, b: int, out: torch.Tensor) -> torch.Tensor:
        """Compute partials of two subtrees together; return their exponents."""
        torch.mul(self._messages[a], self._messages[b], out=out)
        return rescale(out) + self._exponents[a] + self._exponents[b]

    def _fit(self, place: int, meeting: Meeting, steps: int) -> Fitted:
        found = self._branches.fit(meeting, self._lengths[place], self._rates, self._weights, self._free[place], steps)
        self._lengths[place] = found.length
        return found

    def _fit_pair(self, pair: tuple[int, int], across: torch.Tensor, exponent: torch.Tensor) -> None:
        """Fit the branches of two subtrees alternately, given the partials across the inner branch."""
        for place, other in (pair, pair[::-1]):
            rest = torch.mul(self._messages[other], across, out=self._other)
            sides = rescale(rest) + exponent + self._exponents[other] + self._exponents[place]
            product = torch.matmul(self._branches.project, rest, out=self._product)
            product *= self._projected[place]
            self._fit(place, Meeting.of(product, sides, divided=self._divided), _NEWTON_STEPS)
            self._send(place, self._subtrees[place], self._messages[place])
