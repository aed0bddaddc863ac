"""The benchmark of Poole et al. 2019: estimators on Gaussians whose information increases in steps."""

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
from phylocli.objectives import Batch, Estimator, build_objective, needs_decoder

ESTIMATORS = (
    *("infonce", "nwj", "dv", "mine", "jsd", "smile:clip=5", "interpolated:alpha=0.01", "nce"),
    *("fgan:divergence=pearson", "fgan:divergence=hellinger", "fgan:divergence=reverse-kl", "barber-agakov"),
)


@dataclass(frozen=True)
class Plan:
    """The settings of the benchmark.

    Attributes:
        estimators, critics: texts for `Choice.parse`; the critic `optimal` is the true log density ratio.
        transforms: of `gaussians.TRANSFORMS`.
        levels: true information in nats, one per step of the staircase; a critic keeps its weights from step to step.
        dimension: components of x and of y.
        batch_size: number N of pairs per batch, in training and evaluation.
        steps: optimiser steps on each level, each on new pairs.
        evaluations: number of new batches after the steps of a level, over which mean and standard deviation are computed.
        repeats: number of repetitions with different weights and pairs; their batches are pooled.
        learning_rate: of Adam, as in the paper.
        seed: of all random numbers.
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
        """Return every combination of an estimator and a critic that it can use.

        Raises:
            UsageError: an unknown estimator or critic, or a size out of range.
        """
        if self.batch_size < 2 or self.steps < 1 or self.evaluations < 2 or self.repeats < 1 or not self.levels:
            raise UsageError("the benchmark needs at least 2 pairs per batch, 2 evaluations, and one of everything else")
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
    """One estimator with one critic at one level.

    Attributes:
        estimator, critic: as given by the user.
        batch_size: pairs in a batch.
        dimension: components of x and of y.
        true_nats: the information.
        estimate_nats, sd: mean and standard deviation of the estimate over fresh batches.
        transform: of y.
        trace: the estimate on every training batch before its step, hence on unseen pairs; of the first repeat.
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
    """Yield the rows in order of transform, estimator, critic and level.

    Args:
        plan: the settings.
        advance: called with the number of batches done, `total_batches` of them in total.

    Raises:
        UsageError: an unknown estimator, critic or transform.
    """
    methods = plan.methods()
    stairs = [[Gaussians(plan.dimension, nats, transform) for nats in plan.levels] for transform in plan.transforms]
    for levels in stairs:
        for estimator, critic in methods:
            repeats = [_climb(plan, estimator, critic, levels, repeat, advance) for repeat in range(plan.repeats)]
            for together in zip(*repeats, strict=True):
                values = np.concatenate([figures for _, figures, _ in together])
                level = together[0][0]
                with np.errstate(invalid="ignore"):  # an overflow in one batch gives an infinite mean and a NaN sd
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
    """Return the number of batches in `run`."""
    learned = sum(critic.name != OPTIMAL for _, critic in plan.methods())
    every = len(plan.methods()) * plan.evaluations + learned * plan.steps
    return len(plan.transforms) * len(plan.levels) * plan.repeats * every


Step = tuple[Gaussians, np.ndarray, np.ndarray]


def _climb(
    plan: Plan, estimator: Choice, critic: Choice, levels: list[Gaussians], repeat: int, advance: Callable[[int], None]
) -> Iterator[Step]:
    """Yield for each level the estimates on new batches, (evaluations,), and those during training, (steps,) or (0,)."""
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
    # Independent of the estimator and the critic: all use the same pairs.
    state = np.random.SeedSequence([plan.seed, repeat, number, zlib.crc32(level.transform.encode())])
    return torch.Generator().manual_seed(int(state.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _new(plan: Plan, estimator: Choice, critic: Choice, level: Gaussians, repeat: int) -> Estimator:
    seed = plan.seed * 1000 + repeat
    return build(estimator, critic, level.dimension, level.dimension, seed, entropy=level.entropy)


class _NoCritic(torch.nn.Module):
    """Placeholder for a critic if scores come from elsewhere."""


def _on_true_ratio(estimator: Choice) -> Estimator:
    if needs_decoder(estimator.name):
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
    # The exponential of NWJ may overflow in a batch; that batch is skipped.
    if math.isfinite(loss.item()):
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
