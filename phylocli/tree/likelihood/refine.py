"""Branch lengths and Γ shape by maximum likelihood, for many trees at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from phylocli.core.errors import UsageError
from phylocli.formats.tree import Tree
from phylocli.tree.likelihood.batches import (
    CATEGORIES,
    Array,
    Problem,
    States,
    batched,
    device_named,
    ordered_rows,
    shapes_of,
)
from phylocli.tree.likelihood.forest import MAX_LENGTH, MIN_LENGTH, BinaryTree, Forest, SitePatterns, rows_of_tips
from phylocli.tree.likelihood.pruning import Pruner, mixture
from phylocli.tree.likelihood.shape import ALPHA_BOUNDS, exact_rates, fit_shape
from phylocli.tree.models import SubstitutionModel, discrete_gamma, substitution_model

_NEWTON_STEPS = 2  # on each branch in each sweep: the next sweep refines further
_ALPHA_WIDTH, _LEAST_ALPHA_WIDTH = 0.3, 0.02  # of steps in log α if it is fitted by trial


@dataclass(frozen=True)
class Refined:
    """A tree with its maximum-likelihood branch lengths.

    Attributes:
        tree: the topology that was given, with new lengths.
        alpha: shape of the Γ distribution of site rates.
        log_likelihood: natural logarithm, in double precision, of the alignment given `tree` and `alpha`.
        start: log likelihood of the tree as it was given.
        sweeps: passes over the tree that were made.
        converged: whether the last sweep gained less than the tolerance.
    """

    tree: Tree
    alpha: float
    log_likelihood: float
    start: float
    sweeps: int
    converged: bool


def refine_trees(
    trees: Sequence[Tree],
    names: Sequence[Sequence[str]],
    alignments: Sequence[States],
    *,
    model: str = "lg",
    alpha: float | Sequence[float] = 1.0,
    fit_alpha: bool = True,
    fit_scale: bool = True,
    sweeps: int = 4,
    tolerance: float = 0.5,
    precision: str = "single",
    device: str = "cpu",
    max_bytes: int | None = None,
) -> list[Refined]:
    """Return trees with maximum-likelihood branch lengths under a model with four Γ categories (Yang 1994, means).

    Every sweep passes once over the tree from the tips to the root and once back. On the way back each branch takes Newton
    steps with all others as they are by then; the shape takes one secant step for each sweep. A sweep that makes a tree
    less likely is undone and ends the fit of that tree. From the lengths of a distance tree, three or four sweeps do.

    Args:
        trees: topologies with starting lengths (negative ones count as 0, missing ones as 0.1). Polytomies and the position
            of the root are kept; of the two branches at a root with two children only the sum is fitted.
        names: names of each alignment's rows; the same set as the tree's tips.
        alignments: rows as returned by `alphabet.encode_states`, shape (n, columns).
        model: `lg`, `wag`, `jtt` or `poisson`.
        alpha: starting shape, one for all or one for each tree.
        fit_alpha: whether to fit the shape; otherwise it stays.
        fit_scale: whether the scale of all lengths is fitted together with the shape. Sweeps alone change it slowly, so
            without this, a few sweeps leave the scale near its start.
        sweeps: at most so many.
        tolerance: natural-log units; a tree whose last sweep gained less is done.
        precision: `single` for the partials of the sweeps (all sums over sites, transition probabilities and the likelihood
            that is returned are double), or `double` throughout.
        device: where to compute: `cpu`, `cuda`, `cuda:1`.
        max_bytes: of partials held at a time; trees are taken in batches below this limit, or singly if one needs more. None
            chooses by device.

    Returns:
        One result for each tree, in order.

    Raises:
        UsageError: unknown model, precision or device, or an `alpha` that is not positive.
        BadInputError: names that do not match the tips.
    """
    shapes = shapes_of(alpha, len(trees))
    rates_model = substitution_model(model)
    where = device_named(device)
    found: dict[int, Refined] = {}
    problems: list[Problem] = []
    for i, (tree, rows) in enumerate(zip(trees, ordered_rows(trees, names, alignments), strict=True)):
        if len(rows) < 2:
            alone = float(np.log(np.append(rates_model.frequencies, 1.0)[rows]).sum())
            found[i] = Refined(tree, float(shapes[i]), alone, alone, 0, True)
        else:
            problems.append(Problem(i, BinaryTree.of(tree, rows), SitePatterns.of(rows)))
    for index, forest, start in batched(problems, shapes, precision=precision, device=where, max_bytes=max_bytes):
        fit = _Fit(forest, rates_model, start, fit_alpha=fit_alpha, fit_scale=fit_scale)
        fit.run(sweeps, tolerance)
        lengths = forest.original_lengths(fit.length)
        for j, i in enumerate(index):
            tree = Tree(trees[i].parent.copy(), lengths[j], list(trees[i].names))
            shape = float(fit.alpha[j])
            final = float(fit.best[j])
            found[i] = Refined(tree, shape, final, float(fit.start[j]), int(fit.sweeps[j]), bool(fit.converged[j]))
    return [found[i] for i in range(len(trees))]


class _Fit:
    """Lengths and shapes of a forest on their way to the maximum. All state is one value for each tree or branch."""

    def __init__(
        self, forest: Forest, model: SubstitutionModel, alpha: torch.Tensor, *, fit_alpha: bool, fit_scale: bool
    ) -> None:
        self._forest = forest
        self._fit_alpha = fit_alpha
        self._fit_scale = fit_scale
        self._pruner = Pruner(forest, model, exact_rates(alpha, CATEGORIES))
        self._trial = alpha.clone()  # the shapes that the pruner has
        self._trusted = torch.ones_like(alpha, dtype=torch.bool)  # trees for which predicted steps have kept their promise
        self._width = torch.full_like(alpha, _ALPHA_WIDTH)  # of the parabola for all others
        self.alpha = alpha
        self.length = self._pruner.length.clone()
        self.best = torch.full_like(alpha, -torch.inf)
        self.start = torch.zeros_like(alpha)
        self.sweeps = torch.zeros(len(alpha), dtype=torch.int64, device=alpha.device)
        self.converged = torch.zeros_like(self._trusted)

    def run(self, sweeps: int, tolerance: float) -> None:
        """Sweep until every tree has converged: `alpha`, `length` and `best` are the most likely values seen."""
        done = torch.zeros_like(self.converged)
        by_category = self._pruner.ascend()
        self.start = self._keep(by_category, ~done)
        for _ in range(sweeps):
            before = self.best.clone()
            if self._fit_alpha:
                self._fit_shapes(by_category, ~done)
            self._pruner.descend(_NEWTON_STEPS)
            by_category = self._pruner.ascend()
            self._keep(by_category, ~done)
            self.sweeps += (~done).long()
            self.converged |= (self.best - before < tolerance) & ~done
            done |= self.converged
            if bool(done.all()):
                break

    def _keep(self, by_category: torch.Tensor, open_: torch.Tensor) -> torch.Tensor:
        """Store the pruner's values for trees that are more likely than before; return the log likelihoods."""
        value = (mixture(by_category) * self._forest.weights).sum(dim=1)
        better = (value > self.best) & open_
        self.best = torch.where(better, value, self.best)
        self.alpha = torch.where(better, self._trial, self.alpha)
        self.length = torch.where(better[self._forest.family], self._pruner.length, self.length)
        return value

    def _move(self, alpha: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Set shapes and lengths of the pruner; return the log likelihoods by category, kept if they are better."""
        self._trial = alpha
        self._pruner.place(length, exact_rates(alpha, CATEGORIES))
        return self._pruner.ascend()

    def _fit_shapes(self, by_category: torch.Tensor, open_: torch.Tensor) -> None:
        """Fit the shapes at the pruner's relative lengths, and leave its partials from below as of the shapes found."""
        forest, pruner = self._forest, self._pruner
        value = (mixture(by_category) * forest.weights).sum(dim=1)
        alpha, length = self._trial, pruner.length
        if bool((self._trusted & open_).any()):
            wanted, stretch = fit_shape(by_category, forest.weights, alpha, fit_scale=self._fit_scale)
            wanted = torch.where(self._trusted, wanted, alpha)
            stretch = torch.where(self._trusted, stretch, 1.0)[forest.family]
            stretched = torch.where(forest.free, (length * stretch).clamp(MIN_LENGTH, MAX_LENGTH), length)
            found = self._keep(self._move(wanted, stretched), open_)
            good = found >= value
            self._trusted &= good
            alpha, value = torch.where(good, wanted, alpha), torch.where(good, found, value)
            length = torch.where(good[forest.family], stretched, length)
        closed = self._trusted | ~open_
        if bool(closed.all()):
            return
        alpha = self._parabola(alpha, length, value, open_)
        self._keep(self._move(alpha, length), open_)

    def _parabola(self, alpha: torch.Tensor, length: torch.Tensor, value: torch.Tensor, open_: torch.Tensor) -> torch.Tensor:
        """Return better shapes for trees whose predicted steps failed: the top of a parabola, or the best point on it."""
        low, high = ALPHA_BOUNDS
        width = torch.exp(self._width)
        values = [value]
        points = [alpha, (alpha / width).clamp(low, high), (alpha * width).clamp(low, high)]
        for point in points[1:]:
            values.append(self._keep(self._move(torch.where(self._trusted, alpha, point), length), open_))
        (middle, left, right), (x0, x1, x2) = values, [torch.log(point) for point in points]
        bend = (right - middle) / (x2 - x0) - (middle - left) / (x0 - x1)
        lean = ((right - middle) * (x0 - x1) / (x2 - x0) + (middle - left) * (x2 - x0) / (x0 - x1)) / (x2 - x1)
        top = (x0 - lean * (x2 - x1) / (2 * bend)).clamp(x1 - self._width, x2 + self._width)
        stack, places = torch.stack(values), torch.stack([x0, x1, x2])
        best = places.gather(0, stack.argmax(dim=0, keepdim=True))[0]
        chosen = torch.where((bend < 0) & torch.isfinite(top), top, best)
        moved = (chosen - x0).abs()
        self._width = torch.where(self._trusted, self._width, moved.clamp(_LEAST_ALPHA_WIDTH, _ALPHA_WIDTH))
        return torch.where(self._trusted, alpha, torch.exp(chosen).clamp(low, high))


def site_log_likelihoods(
    tree: Tree,
    names: Sequence[str],
    states: States,
    *,
    model: str = "lg",
    alpha: float = 1.0,
    categories: int = CATEGORIES,
    device: str = "cpu",
) -> tuple[Array, Array]:
    """Return log likelihoods of an alignment's distinct columns, and their numbers of occurrences, shape (patterns,) both.

    Natural logarithms in double precision, for the lengths of the tree. Arguments and errors as in `log_likelihood`.
    """
    pruner = _pruner(tree, names, states, model, alpha, categories, device)
    weights = pruner.forest.weights[0]
    real = weights > 0
    return mixture(pruner.ascend())[0][real].cpu().numpy(), weights[real].cpu().numpy()


def log_likelihood(
    tree: Tree,
    names: Sequence[str],
    states: States,
    *,
    model: str = "lg",
    alpha: float = 1.0,
    categories: int = CATEGORIES,
    device: str = "cpu",
) -> float:
    """Return the log likelihood of an alignment given a tree with at least two tips, in double precision.

    Args:
        tree: topology and lengths (negative ones count as 0, missing ones as 0.1).
        names: names of the rows; the same set as the tree's tips.
        states: alignment as returned by `alphabet.encode_states`, shape (n, columns); missing residues are summed over.
        model: `lg`, `wag`, `jtt` or `poisson`.
        alpha: shape of the Γ distribution of site rates; infinite for equal rates.
        categories: of the discrete Γ distribution, by their means (Yang 1994).
        device: where to compute.

    Raises:
        UsageError: unknown model or device, an `alpha` that is not positive, or a tree of fewer than two tips.
        BadInputError: names that do not match the tips.
    """
    pruner = _pruner(tree, names, states, model, alpha, categories, device)
    return float((mixture(pruner.ascend()) * pruner.forest.weights).sum())


def branch_derivatives(
    tree: Tree,
    names: Sequence[str],
    states: States,
    *,
    model: str = "lg",
    alpha: float = 1.0,
    categories: int = CATEGORIES,
    device: str = "cpu",
) -> Array:
    """Return derivatives of the log likelihood by the length above each node, shape (nodes,), 0 above the root.

    Arguments and errors as in `log_likelihood`.
    """
    pruner = _pruner(tree, names, states, model, alpha, categories, device)
    pruner.ascend()
    by_length = pruner.descend()
    return pruner.forest.original_gradients(by_length)[0]


def _pruner(
    tree: Tree, names: Sequence[str], states: States, model: str, alpha: float, categories: int, device: str
) -> Pruner:
    ordered = rows_of_tips(tree, names, states)
    if len(ordered) < 2:
        raise UsageError(
            f"a tree with {len(ordered)} tips has no branch to compute a likelihood on",
            fix="give a tree with at least two tips",
        )
    where = device_named(device)
    binary = BinaryTree.of(tree, ordered)
    forest = Forest([binary], [SitePatterns.of(ordered)], device=where, dtype=torch.float64, bounded=False)
    rates = torch.from_numpy(discrete_gamma(alpha, categories))[None].to(where)
    return Pruner(forest, substitution_model(model), rates)
