"""Maximum-likelihood branch lengths and Γ shape, for batches of trees."""

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

_NEWTON_STEPS = 2  # per branch and sweep; further sweeps refine the lengths
_ALPHA_WIDTH, _LEAST_ALPHA_WIDTH = 0.3, 0.02  # step in log α of the parabolic search, initial and minimum


@dataclass(frozen=True)
class Refined:
    """A tree with its maximum-likelihood branch lengths.

    Attributes:
        tree: the given topology with fitted lengths.
        alpha: shape of the Γ distribution of site rates.
        log_likelihood: natural-log likelihood of the alignment given `tree` and `alpha`.
        start: natural-log likelihood at the initial lengths and shape.
        sweeps: number of sweeps over the tree.
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
    """Fit branch lengths of trees by maximum likelihood under a model with four Γ categories (means; Yang 1994).

    Every sweep passes over the tree from the tips to the root and back. On the way back, each branch takes Newton steps with
    all other lengths fixed at their current values. The shape is updated once per sweep. A sweep that decreases the
    likelihood of a tree is undone and ends its fit. From the lengths of a distance tree, three or four sweeps suffice.

    Args:
        trees: topologies with initial lengths (negative ones are treated as 0, missing ones as 0.1). Polytomies and the
            position of the root are kept; only the sum of the two branches at a bifurcating root is fitted.
        names: name of each row of each alignment; the same set as the names of the tips.
        alignments: alignments as returned by `alphabet.encode_states`, shape (n, columns).
        model: `lg`, `wag`, `jtt` or `poisson`.
        alpha: initial shape, one for all or one for each tree.
        fit_alpha: whether to fit the shape.
        fit_scale: whether to fit the scale of all lengths together with the shape. Sweeps alone change it slowly, so that it
            otherwise stays near its initial value for the first sweeps.
        sweeps: maximum number of sweeps.
        tolerance: gain of log likelihood per sweep below which a tree has converged.
        precision: precision of the partial likelihoods in the sweeps, `single` or `double`; sums over sites, transition
            probabilities and the returned likelihood are always double.
        device: the device to compute on: `cpu`, `cuda`, `cuda:1`.
        max_bytes: maximum memory of the partial likelihoods of a batch; None chooses by device. A tree that needs more is in
            a batch of its own.

    Returns:
        One result for each tree, in order.

    Raises:
        UsageError: unknown model, precision or device, or `alpha` is not positive.
        BadInputError: names do not match the tips.
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
    """The state of a fit of the lengths and shapes of a forest."""

    def __init__(
        self, forest: Forest, model: SubstitutionModel, alpha: torch.Tensor, *, fit_alpha: bool, fit_scale: bool
    ) -> None:
        self._forest = forest
        self._fit_alpha = fit_alpha
        self._fit_scale = fit_scale
        self._pruner = Pruner(forest, model, exact_rates(alpha, CATEGORIES))
        self._trial = alpha.clone()  # current shapes of the pruner
        self._trusted = torch.ones_like(alpha, dtype=torch.bool)  # trees for which predicted steps increase the likelihood
        self._width = torch.full_like(alpha, _ALPHA_WIDTH)  # step of the parabolic search for the other trees
        self.alpha = alpha
        self.length = self._pruner.length.clone()
        self.best = torch.full_like(alpha, -torch.inf)
        self.start = torch.zeros_like(alpha)
        self.sweeps = torch.zeros(len(alpha), dtype=torch.int64, device=alpha.device)
        self.converged = torch.zeros_like(self._trusted)

    def run(self, sweeps: int, tolerance: float) -> None:
        """Sweep until all trees have converged; `alpha`, `length` and `best` are the best values found."""
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
        """Store the pruner's values for trees whose likelihood has increased; return the log likelihoods."""
        value = (mixture(by_category) * self._forest.weights).sum(dim=1)
        better = (value > self.best) & open_
        self.best = torch.where(better, value, self.best)
        self.alpha = torch.where(better, self._trial, self.alpha)
        self.length = torch.where(better[self._forest.family], self._pruner.length, self.length)
        return value

    def _move(self, alpha: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Set shapes and lengths of the pruner, and return the log likelihoods by category."""
        self._trial = alpha
        self._pruner.place(length, exact_rates(alpha, CATEGORIES))
        return self._pruner.ascend()

    def _fit_shapes(self, by_category: torch.Tensor, open_: torch.Tensor) -> None:
        """Fit the shapes at the pruner's relative lengths, and update its partials from below to the fitted shapes."""
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
        """Return improved shapes for trees whose predicted steps failed, by parabolic interpolation in log α."""
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
    """Return the natural-log likelihoods of an alignment's distinct columns and their counts, shape (patterns,) each.

    For arguments and errors see `log_likelihood`.
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
    """Return the natural-log likelihood of an alignment given a tree with at least two tips, in double precision.

    Args:
        tree: topology and lengths (negative ones are treated as 0, missing ones as 0.1).
        names: name of each row; the same set as the names of the tips.
        states: alignment as returned by `alphabet.encode_states`, shape (n, columns); missing residues are summed over.
        model: `lg`, `wag`, `jtt` or `poisson`.
        alpha: shape of the Γ distribution of site rates; infinite for equal rates.
        categories: number of categories of the discrete Γ distribution (means; Yang 1994).
        device: the device to compute on.

    Raises:
        UsageError: unknown model or device, `alpha` is not positive, or the tree has fewer than two tips.
        BadInputError: names do not match the tips.
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
    """Return derivatives of the log likelihood with respect to branch lengths, shape (nodes,), 0 above the root.

    For arguments and errors see `log_likelihood`.
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
