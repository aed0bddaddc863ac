"""The benchmark of Poole et al. 2019: estimators against Gaussians whose information rises step by step."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.mi.gaussians import Gaussians
from phylocli.mi.methods import OPTIMAL, Choice, build, pairings, parse_estimators
from phylocli.objectives import Batch, Estimator, build_objective

ESTIMATORS = (
    *("infonce", "nwj", "dv", "mine", "jsd", "smile:clip=5", "interpolated:alpha=0.01", "nce"),
    *("fgan:divergence=pearson", "fgan:divergence=hellinger", "fgan:divergence=reverse-kl", "barber-agakov"),
)


@dataclass(frozen=True)
class Plan:
    """What the benchmark does.

    Attributes:
        estimators, critics: as `Choice.parse` reads them; the critic `optimal` is the true log density ratio.
        transforms: of `gaussians.TRANSFORMS`.
        levels: true information in nats, one step of the staircase each; a critic keeps its weights from step to step.
        dimension: components of x and of y.
        batch_size: pairs N in a batch, in training and for the figures.
        steps: optimiser steps on each level, every one on fresh pairs.
        evaluations: fresh batches after a level's steps, whose mean and standard deviation are the figures.
        repeats: how often all of it is done, each time with other weights and pairs; the batches are pooled.
        learning_rate: of Adam, as in the paper.
        seed: of everything.
    """

    estimators: tuple[str, ...] = ESTIMATORS
    critics: tuple[str, ...] = ("separable", "concatenated", OPTIMAL)
    transforms: tuple[str, ...] = ("none", "cubic")
    levels: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    dimension: int = 20
    batch_size: int = 64
    steps: int = 4000
    evaluations: int = 500
    repeats: int = 1
    learning_rate: float = 5e-4
    seed: int = 0

    def methods(self) -> list[tuple[Choice, Choice]]:
        """Return every estimator with every critic that it can use.

        Raises:
            UsageError: an estimator or a critic that does not exist, or a size out of range.
        """
        if self.batch_size < 2 or self.steps < 1 or self.evaluations < 2 or self.repeats < 1 or not self.levels:
            raise UsageError("the benchmark needs 2 pairs a batch, 2 evaluations, and one of everything else, at least")
        critics = [Choice.parse(text) for text in self.critics]
        return pairings(parse_estimators(list(self.estimators)), critics, "gaussian")


PRESETS = {
    "quick": Plan(
        critics=("separable:hidden=128", "concatenated:hidden=64", OPTIMAL),
        transforms=("none",),
        steps=250,
        evaluations=50,
        learning_rate=1e-3,
    ),
    "full": Plan(),
}


@dataclass
class Row:
    """One estimator on one critic at one level.

    Attributes:
        estimator, critic: as the user named them.
        batch_size: pairs in a batch.
        dimension: components of x and of y.
        true_nats: the information.
        estimate_nats, sd: mean and standard deviation of the estimate over fresh batches.
        transform: of y.
        trace: the estimate on every batch of training, before its step, so on pairs not seen before; of the first repeat.
    """

    estimator: str
    critic: str
    batch_size: int
    dimension: int
    true_nats: float
    estimate_nats: float
    sd: float
    transform: str
    trace: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)


def run(plan: Plan, advance: Callable[[int], None] = lambda steps: None) -> Iterator[Row]:
    """Yield one row after the other: by transform, estimator, critic and level.

    Args:
        plan: what to do.
        advance: is told of batches done, `total_batches` of them in all.

    Raises:
        UsageError: an estimator, critic or transform that does not exist.
    """
    methods = plan.methods()
    stairs = [[Gaussians(plan.dimension, nats, transform) for nats in plan.levels] for transform in plan.transforms]
    for levels in stairs:
        for estimator, critic in methods:
            repeats = [_climb(plan, estimator, critic, levels, repeat, advance) for repeat in range(plan.repeats)]
            for together in zip(*repeats, strict=True):
                values = np.concatenate([figures for _, figures, _ in together])
                level = together[0][0]
                with np.errstate(invalid="ignore"):  # an overflow in one batch: the mean is infinite, the sd no number
                    sd = float(values.std(ddof=1))
                yield Row(
                    estimator.text,
                    critic.text,
                    plan.batch_size,
                    plan.dimension,
                    level.nats,
                    float(values.mean()),
                    sd,
                    level.transform,
                    together[0][2],
                )


def total_batches(plan: Plan) -> int:
    """Return how many batches `run` goes through."""
    learned = sum(critic.name != OPTIMAL for _, critic in plan.methods())
    every = len(plan.methods()) * plan.evaluations + learned * plan.steps
    return len(plan.transforms) * len(plan.levels) * plan.repeats * every


Step = tuple[Gaussians, np.ndarray, np.ndarray]


def _climb(
    plan: Plan, estimator: Choice, critic: Choice, levels: list[Gaussians], repeat: int, advance: Callable[[int], None]
) -> Iterator[Step]:
    """Yield for each level the estimates on fresh batches, (evaluations,), and those on the way, (steps,) or (0,)."""
    negatives = Batch.of_pairs(plan.batch_size).negatives()
    optimal = critic.name == OPTIMAL
    method = _on_true_ratio(estimator) if optimal else _new(plan, estimator, critic, levels[0], repeat)
    optimiser = None if optimal else torch.optim.Adam(method.parameters(), lr=plan.learning_rate)
    for number, level in enumerate(levels):
        generator = _generator(plan, level, number, repeat)
        trace = np.zeros(0)
        if optimiser is not None:
            trace = _train(method, optimiser, level, plan, generator)
            advance(plan.steps)
        method.eval()
        figures = np.empty(plan.evaluations)
        with torch.no_grad():
            for k in range(plan.evaluations):
                x, y = level.draw(plan.batch_size, generator)
                scores = method.best_scores(level.log_ratio(x, y)) if optimal else method.scores(x, y)
                figures[k] = method.bound(scores, negatives)
        method.train()
        advance(plan.evaluations)
        yield level, figures, trace


def _generator(plan: Plan, level: Gaussians, number: int, repeat: int) -> torch.Generator:
    # Without the estimator and the critic: all see the same pairs.
    state = np.random.SeedSequence([plan.seed, repeat, number, zlib.crc32(level.transform.encode())])
    return torch.Generator().manual_seed(int(state.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _new(plan: Plan, estimator: Choice, critic: Choice, level: Gaussians, repeat: int) -> Estimator:
    seed = plan.seed * 1000 + repeat
    return build(estimator, critic, level.dimension, level.dimension, seed, entropy=level.entropy)


class _NoCritic(torch.nn.Module):
    """Stands where the scores come from elsewhere."""


def _on_true_ratio(estimator: Choice) -> Estimator:
    if estimator.name == "barber-agakov":
        from phylocli.critics.base.decoder import Decoder

        built = build_objective(estimator.name, Decoder(), estimator.parameters)
    else:
        built = build_objective(estimator.name, _NoCritic(), estimator.parameters)
    assert isinstance(built, Estimator)
    return built


def _train(
    method: Estimator, optimiser: torch.optim.Optimizer, level: Gaussians, plan: Plan, generator: torch.Generator
) -> np.ndarray:
    batch = Batch.of_pairs(plan.batch_size)
    trace = np.empty(plan.steps)
    for step in range(plan.steps):
        x, y = level.draw(plan.batch_size, generator)
        terms = method(x, y, batch)
        trace[step] = float(terms["bound"])
        _step(terms["loss"], optimiser)
    return trace


def _step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    # The exponential of NWJ may overflow in a batch; that batch teaches nothing.
    if math.isfinite(loss.item()):
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
