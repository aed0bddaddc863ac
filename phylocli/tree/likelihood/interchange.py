"""Nearest-neighbour interchanges that increase the likelihood of a tree, many in each round.

A screening pass selects the inner branches where an alternative resolution may be better; their three resolutions are then
optimised. The best interchanges that share no branch are made simultaneously, and the next round only examines branches
affected by them.

With a single rate per column, partial likelihoods take a quarter of the memory and time of four categories. This is the CAT
approximation of Stamatakis (Proc. IPDPS 2006, doi:10.1109/IPDPS.2006.1639535), used by FastTree 2 for the same purpose
(Price et al., PLoS ONE 5:e9490, 2010, doi:10.1371/journal.pone.0009490). Columns with similar rates form a class, and
classes replace the categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from phylocli.formats.tree import Tree
from phylocli.tree.likelihood.batches import CATEGORIES, Array, States, device_named, shapes_of
from phylocli.tree.likelihood.forest import MIN_LENGTH, BinaryTree, Forest, SitePatterns, rows_of_tips
from phylocli.tree.likelihood.pruning import Pruner, mixture
from phylocli.tree.likelihood.quartets import PAIRINGS, neighbours, resolutions, screen
from phylocli.tree.likelihood.shape import exact_rates
from phylocli.tree.models import SubstitutionModel, substitution_model

_CLASSES = 5  # number of rate classes of columns
_RATE_TIPS = 250  # maximum number of tips for estimating the rates of columns
_NEWTON_STEPS = 1  # per branch in a sweep; two steps give the same interchanges
_ROUNDS = 1  # number of rounds over the five branches when a resolution is optimised


class _Search(NamedTuple):
    """Parameters that determine how thorough a search is.

    Attributes:
        reach: maximum loss of log likelihood in the screening pass: without the inner branch, and with an alternative
            resolution.
        least_gain: minimum gain of log likelihood of an interchange; smaller gains disappear with the next branch lengths.
        few: number of interchanges as a fraction of the tips at or below which the search ends.
        fits_all: whether all three resolutions of each selected branch are optimised before interchanges are chosen.
            Otherwise interchanges are chosen in the screening pass, and only these are optimised.
    """

    reach: tuple[float, float]
    least_gain: float
    few: float
    fits_all: bool


_THOROUGH = _Search((20.0, 6.0), 0.2, 0.01, fits_all=True)
_QUICK = _Search((5.0, 0.0), 0.05, 0.03, fits_all=False)


@dataclass(frozen=True)
class Interchanged:
    """A tree after interchanges.

    Attributes:
        tree: the unrooted tree (at least three branches at its root), with new lengths of the five branches around each
            interchange and without labels of inner nodes.
        moves: number of interchanges.
        start: natural-log likelihood of the given tree, after the initial sweep if there is one.
        log_likelihood: natural-log likelihood of `tree`.
    """

    tree: Tree
    moves: int
    start: float
    log_likelihood: float


def interchange(
    tree: Tree,
    names: Sequence[str],
    states: States,
    *,
    model: str = "lg",
    alpha: float = 1.0,
    turns: int = 10,
    site_rates: bool = False,
    sweep: bool = False,
    device: str = "cpu",
) -> Interchanged:
    """Increase the likelihood of a tree by nearest-neighbour interchanges under a model with four Γ categories.

    A round that does not increase the likelihood of the whole tree is undone and ends the search. Polytomies are kept, but
    subtrees may leave or join them.

    Args:
        tree: a tree with branch lengths (negative ones are treated as 0, missing ones as 0.1).
        names: name of each row; the same set as the names of the tips.
        states: alignment as returned by `alphabet.encode_states`, shape (n, columns).
        model: `lg`, `wag`, `jtt` or `poisson`.
        alpha: shape of Γ.
        turns: maximum number of rounds.
        site_rates: whether to use a single rate per column, its expected rate on this tree, instead of four categories. This
            takes a quarter of the time for almost the same interchanges. The returned log likelihoods are conditional on
            these rates.
        sweep: whether to start with a sweep over all lengths that preserves their sum.
        device: the device to compute on.

    Raises:
        UsageError: unknown model or device, or `alpha` is not positive.
        BadInputError: names do not match the tips.
    """
    rows = rows_of_tips(tree, names, states)
    where, rates_model = device_named(device), substitution_model(model)
    shape = torch.from_numpy(shapes_of(alpha, 1).copy()).to(where)
    if len(rows) < 2:
        return Interchanged(tree, 0, float("nan"), float("nan"))
    patterns = SitePatterns.of(rows)
    now = kept = BinaryTree.of(tree, rows)
    touched: set[int] | None = None
    values: list[float] = []
    classes = None
    rates = exact_rates(shape, CATEGORIES)
    if site_rates and len(patterns.weights):
        classes, rates = _site_classes(tree, rows, patterns, rates_model, rates)
    search = _QUICK if site_rates else _THOROUGH
    moves = pending = 0
    view: _View | None = None
    if sweep:
        view = _View(now, patterns, rates_model, rates, classes)
        now = kept = view.swept()
    for turn in range(turns + 1):
        view = _View(now, patterns, rates_model, rates, classes, view)
        if values and view.value <= values[-1]:
            break
        values.append(view.value)
        kept, moves = now, moves + pending
        if turn == turns or (touched is not None and pending <= search.few * len(rows)):
            break
        now, touched, pending = view.moved(touched, search)
        if not pending:
            break
    return Interchanged(_tree(kept, tree.tip_names()), moves, values[0], values[-1])


class _View:
    """A tree with its partial likelihoods in both directions; reuses the memory of `former`, which becomes invalid."""

    def __init__(
        self,
        tree: BinaryTree,
        patterns: SitePatterns,
        model: SubstitutionModel,
        rates: torch.Tensor,
        classes: npt.NDArray[np.int64] | None,
        former: _View | None = None,
    ) -> None:
        self._tree = tree
        pruner = None if former is None else former._pruner
        tips = None if pruner is None else pruner.forest.tips
        self._forest = Forest([tree], [patterns], device=rates.device, dtype=torch.float32, classes=classes, tips=tips)
        self._pruner: Pruner = Pruner(self._forest, model, rates, pruner)
        found = self._pruner.ascend()
        sites = mixture(found) if classes is None else found.flatten(1)
        self.value = float((sites * self._forest.weights).sum())

    def swept(self) -> BinaryTree:
        """Return the tree with branch lengths after a sweep that preserves their sum."""
        self._pruner.descend(_NEWTON_STEPS)
        length = self._pruner.length[self._forest.numbers(0)].cpu().numpy()
        return replace(self._tree, length=length * (self._tree.length.sum() / max(length.sum(), MIN_LENGTH)))

    def moved(self, touched: set[int] | None, search: _Search) -> tuple[BinaryTree, set[int], int]:
        """Return the tree after the best interchanges, the affected branches, and the number of interchanges.

        Args:
            touched: branches affected by the previous round, next to which branches are examined; None examines all.
            search: parameters of the search.
        """
        self._pruner.descend(derivatives=False)
        found = neighbours(self._pruner)
        if touched is not None:
            marked = torch.zeros(len(self._forest.length), dtype=torch.bool, device=found.node.device)
            marked[self._forest.numbers(0)[sorted(touched)]] = True
            found = found.chosen(marked[found.five()].any(dim=1))
        if not len(found.node):
            return self._tree, set(), 0
        gain, pairing = screen(self._pruner, found, self.value, search.reach[0])
        own = np.empty(len(self._forest.length), dtype=np.int64)  # node numbers of the tree by those of the forest
        own[self._forest.numbers(0)] = np.arange(len(own))
        open_ = (gain > -search.reach[1]).cpu().numpy()
        if not search.fits_all:
            open_ = _disjoint(gain.cpu().numpy(), own[found.five().cpu().numpy()], open_)
        which = torch.from_numpy(open_).to(gain.device)
        found, pairing = found.chosen(which), pairing[which]
        if not len(found.node):
            return self._tree, set(), 0
        chosen = None if search.fits_all else pairing[:, None]
        parts = [part for _, part in resolutions(self._pruner, found, rounds=_ROUNDS, pairings=chosen)]
        total, lengths = torch.cat([part.total for part in parts]), torch.cat([part.lengths for part in parts])
        place = torch.zeros_like(pairing)
        gain = total[:, 0] - self.value
        if search.fits_all:
            place = pairing = 1 + total[:, 1:].argmax(dim=1)
            gain = total[:, 1:].amax(dim=1) - total[:, 0]
        rows = torch.arange(len(place), device=place.device)
        best = (gain, pairing, lengths[rows, place], found.five())
        gains, pairings, fitted, five = (values.cpu().numpy() for values in best)
        return self._take(gains, pairings, fitted, own[five], search.least_gain)

    def _take(
        self, gain: Array, pairing: npt.NDArray[np.int64], lengths: Array, five: np.ndarray, least_gain: float
    ) -> tuple[BinaryTree, set[int], int]:
        tree = self._tree
        children, length = tree.children.copy(), tree.length.copy()
        touched: set[int] = set()
        moves = 0
        for edge in np.argsort(-gain, kind="stable").tolist():
            around = five[edge].tolist()
            if gain[edge] < least_gain or not touched.isdisjoint(around):
                continue
            touched.update(around)
            moves += 1
            order = [around[place] for place in PAIRINGS[pairing[edge]]]
            goes = next(node for node in around[:2] if node not in order[:2])
            here, there = (tuple(np.argwhere(children == node)[0]) for node in (goes, around[2]))
            children[here], children[there] = around[2], goes
            for node, fitted in zip([*order, around[4]], lengths[edge], strict=True):
                if tree.free[node]:
                    length[node] = fitted
        return _ordered(replace(tree, children=children, length=length)), touched, moves


def _disjoint(gain: Array, five: np.ndarray, open_: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Select branches greedily by gain from the open ones, so that no two interchanges share a branch."""
    taken: set[int] = set()
    kept = np.zeros_like(open_)
    for edge in np.argsort(-gain, kind="stable").tolist():
        if open_[edge] and taken.isdisjoint(five[edge].tolist()):
            taken.update(five[edge].tolist())
            kept[edge] = True
    return kept


def _site_classes(
    tree: Tree, rows: States, patterns: SitePatterns, model: SubstitutionModel, rates: torch.Tensor
) -> tuple[npt.NDArray[np.int64], torch.Tensor]:
    """Return the class of each pattern, shape (patterns,), and the rate of each class, shape (1, classes).

    Patterns are sorted by their posterior mean rate given the tree and four Γ categories, and divided into classes of equal
    size. A sample of a few hundred tips is sufficient for this.
    """
    order = np.lexsort(rows.T[::-1])  # sort the sequences, so that the sample does not depend on the order of the tips
    some = np.sort(order[:: -(-len(rows) // _RATE_TIPS)])
    names = tree.tip_names()
    part = tree.prune([names[i] for i in some]) if len(some) < len(rows) else tree
    forest = Forest(
        [BinaryTree.of(part, rows[some])],
        [SitePatterns(patterns.states[some], patterns.weights)],
        device=rates.device,
        dtype=torch.float32,
    )
    sites = Pruner(forest, model, rates).ascend()[0, :, : len(patterns.weights)]
    mean = (torch.softmax(sites, dim=0) * rates[0][:, None]).sum(dim=0).cpu().numpy()
    count = min(_CLASSES, len(mean))
    classes = np.empty(len(mean), dtype=np.int64)
    classes[np.argsort(mean, kind="stable")] = np.arange(len(mean)) * count // len(mean)
    found = np.bincount(classes, mean * patterns.weights) / np.bincount(classes, patterns.weights)
    return classes, torch.from_numpy(found)[None].to(rates.device)


def _ordered(tree: BinaryTree) -> BinaryTree:
    """Recompute the heights of a tree after its children have changed, and put the taller child first."""
    children, n = tree.children.copy(), len(tree.children) + 1
    height = np.zeros(2 * n - 1, dtype=np.int64)
    order = [tree.root]
    for node in order:
        if node >= n:
            order.extend(children[node - n].tolist())
    for node in reversed(order):
        if node >= n:
            a, b = children[node - n].tolist()
            height[node] = 1 + max(height[a], height[b])
            if height[a] < height[b]:
                children[node - n] = b, a
    return replace(tree, children=children, height=height)


def _tree(binary: BinaryTree, names: Sequence[str]) -> Tree:
    """Convert a binary tree to a `Tree`, without the branches of length 0 that resolve polytomies."""
    n = len(names)
    parent: list[int] = []
    length: list[float] = []
    labels: list[str] = []
    stack = [(binary.root, -1)]
    while stack:
        node, up = stack.pop()
        at = up
        if node == binary.root or node < n or binary.free[node]:
            at = len(parent)
            parent.append(up)
            length.append(0.0 if node == binary.root else float(binary.length[node]))
            labels.append(names[node] if node < n else "")
        if node >= n:
            a, b = binary.children[node - n].tolist()
            stack += [(b, at), (a, at)]
    return Tree(np.array(parent, dtype=np.int64), np.array(length), labels)
