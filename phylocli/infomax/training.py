"""Training of two encoders with an objective on pairs of views, and what is measured of them."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phylocli.core.errors import PhylocliError
from phylocli.infomax.inputs import Pairs, Scored
from phylocli.objectives import Batch, Estimator

logger = logging.getLogger(__name__)

UNIT = (0.0, 1.0)
ANY = (-math.inf, math.inf)
QUALITIES = {"accuracy": UNIT, "knn": UNIT, "usable_nats": ANY, "seen_accuracy": UNIT}
"""Measures of quality by family, with their bounds: on members of families that were not trained on, accuracy of a linear
probe and of the nearest neighbour and usable nats; on held-out members of training families, accuracy of a linear probe."""
VERSION = 2
"""Raised by any change of encoders, training or measures that changes the rows of runs."""
EVERY = 10
"""Steps between two readings of the estimate."""
PENALTY = 1.0
SCALED_ON = 512
"""Held-out pairs, at most, to which the scale of scores is fitted that have no unit."""
FLOOR = 1e-3
"""Probability that the probe distributes over all families, so that one confident error does not decide the mean."""


class Towers(nn.Module):
    """An encoder for each view, and an objective on their outputs.

    Args:
        first, second: (N, FEATURES) → (N, D).
        objective: of `phylocli.objectives`.

    Attributes:
        skipped: steps of `train` that were skipped because a loss or its gradient was not finite.
    """

    def __init__(self, first: nn.Module, second: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.objective = first, second, objective
        self.skipped = 0

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the objective."""
        terms: dict[str, Tensor] = self.objective(self.first(a), self.second(b), batch)
        return terms


def descended(loss: Tensor, module: nn.Module, optimiser: torch.optim.Optimizer, longest: float = math.inf) -> bool:
    """Take a step unless the loss or its gradient is not finite; return whether it was taken.

    The exponential of NWJ may overflow in a batch.

    Args:
        loss: a scalar.
        module: whose parameters are trained.
        optimiser: of these parameters.
        longest: norm to which a longer gradient is clipped.

    Raises:
        PhylocliError: a parameter is not finite, so that no later step could be taken.
    """
    if math.isfinite(loss.item()):
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(module.parameters(), longest)):
            optimiser.step()
            return True
    if not all(torch.isfinite(parameter).all() for parameter in module.parameters()):
        raise PhylocliError("training diverged: weights are no longer finite", fix="use another estimator or fewer steps")
    return False


def train(towers: Towers, data: Pairs, *, steps: int, batch: int, seed: int, rate: float = 1e-3) -> Iterator[int]:
    """Train with Adam; yield the number of steps done, before the first one and after each.

    Args:
        towers: modified in place.
        data: the training pairs.
        steps: number of steps; the caller may stop earlier.
        batch: pairs in a batch, at most as many as there are.
        seed: of the order of the pairs.
        rate: learning rate.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(towers.parameters(), lr=rate)
    a, b = data.train
    size = min(batch, len(a))
    yield 0
    for step in range(1, steps + 1):
        rows = torch.randperm(len(a), generator=generator)[:size]
        if not descended(towers(a[rows], b[rows], data.batch(rows))["loss"], towers, optimiser, longest=5.0):
            towers.skipped += 1
            if towers.skipped == 1:
                logger.warning(f"seed {seed}, step {step}: loss or gradient not finite; such steps are skipped and counted")
        yield step


def train_until(
    towers: Towers,
    data: Pairs,
    levels: Sequence[float],
    *,
    steps: int,
    batch: int,
    seed: int,
    every: int = EVERY,
    at_end: bool = False,
) -> list[dict[str, float | None]]:
    """Train until the estimate has reached every level, and return what is measured where it first has.

    Args:
        towers: modified in place.
        data: the pairs.
        levels: of the estimate on held-out pairs, in nats.
        steps: maximum number.
        batch, seed: as in `train`.
        every: number of steps between two readings of the estimate.
        at_end: train for all steps, and measure after the last one too; its `until_nats` is None.

    Returns:
        For each level a row: `until_nats`, the level; `reached`, 1 or 0; `step`, `nats` and the measures of `QUALITIES`,
        None if not reached; `skipped`.
    """
    waiting = sorted(levels)
    rows: list[dict[str, float | None]] = []
    for step in train(towers, data, steps=steps, batch=batch, seed=seed):
        last = at_end and step == steps
        if not last and (step % every or not waiting):
            continue
        nats = held_out_nats(towers, data)
        reached: list[float | None] = [level for level in waiting if nats >= level]
        waiting = waiting[len(reached) :]
        if reached or last:
            found = {"reached": 1.0, "step": step, "nats": nats, **quality(towers.first, data), "skipped": towers.skipped}
            rows += [{"until_nats": level, **found} for level in [*reached, *([None] if last else [])]]
        if not waiting and not at_end:
            break
    missing = {**dict.fromkeys(("step", "nats", *QUALITIES)), "skipped": towers.skipped}
    return [*rows, *({"until_nats": value, "reached": 0.0, **missing} for value in waiting)]


@torch.no_grad()
def held_out_nats(towers: Towers, data: Pairs) -> float:
    """Return InfoNCE with the run's own critic on held-out pairs: a lower bound for any critic, at most log of their number.

    All other held-out pairs are negatives, also those of one family, which training may leave out: without them, knowing one
    of F families would show up to log of the number of pairs rather than log F. A critic that was trained by another
    estimator is read by InfoNCE too, so that runs are compared on one scale. The scores of other objectives, such as
    triplets and margins, have no unit; they are multiplied by `best_scale` of some of the pairs.
    """
    a, b = data.held_out
    critic = towers.objective.critic
    assert isinstance(critic, nn.Module)
    scores: Tensor = critic(towers.first(a), towers.second(b))
    if not isinstance(towers.objective, Estimator):
        some = slice(None, None, max(1, len(a) // SCALED_ON))
        scores = best_scale(scores[some, some][:SCALED_ON, :SCALED_ON]) * scores
    return infonce_of_all(scores)


def infonce_of_all(scores: Tensor) -> float:
    """Return InfoNCE in nats from scores (N, N), all of which but the true pairs on the diagonal are negatives.

    It is `infonce.bound` without a mask, in a sixth of the time.
    """
    against = (scores.logsumexp(0) + scores.logsumexp(1)).mean() / 2
    return float(scores.diagonal().mean() - against) + math.log(len(scores))


@torch.no_grad()
def best_scale(scores: Tensor, lowest: float = 1e-4, highest: float = 1e4) -> float:
    """Return the factor of the scores (N, N), between `lowest` and `highest`, that maximises InfoNCE; 0 if none is above 0.

    InfoNCE is concave in the factor, so that the zero of its derivative is found by bisection: the mean score of the true
    pairs minus that of all pairs, weighted by the softmax of each row and column.
    """
    scores = scores.double()
    own = scores.diagonal().mean()

    def slope(factor: float) -> float:
        return float(own - sum(((factor * s).softmax(1) * s).sum(1).mean() for s in (scores, scores.T)) / 2)

    if slope(0.0) <= 0:
        return 0.0
    low, high = math.log(lowest), math.log(highest)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    return math.exp(low)


@torch.no_grad()
def quality(encoder: nn.Module, data: Pairs) -> dict[str, float]:
    """Return the measures of `QUALITIES` for an encoder of first views."""
    return quality_of(encoder(data.unseen.features), encoder(data.seen.features), data)


def quality_of(unseen: Tensor, seen: Tensor, data: Pairs) -> dict[str, float]:
    """Return the measures of `QUALITIES` for vectors of the members of `data.unseen` and `data.seen`, (m, D)."""
    return {**_probe(unseen.numpy(), data.unseen), "seen_accuracy": _probe(seen.numpy(), data.seen)["accuracy"]}


def _probe(x: npt.NDArray[np.float32], scored: Scored) -> dict[str, float]:
    """Return accuracy, nearest-neighbour accuracy and usable nats.

    The probe is a logistic regression on standardised features, trained on a few members of each family.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    test, y = scored.is_test, scored.family
    scaled = StandardScaler().fit(x[~test]).transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # approximate convergence suffices for a probe
        model = LogisticRegression(C=PENALTY, max_iter=100, tol=1e-3).fit(scaled[~test], y[~test])
    rows = np.flatnonzero(test)
    chances = np.zeros((len(rows), int(y.max()) + 1))
    chances[:, model.classes_] = model.predict_proba(scaled[rows])
    own = (1 - FLOOR) * chances[np.arange(len(rows)), y[rows]] + FLOOR / chances.shape[1]
    frequency = np.bincount(y[rows]) / len(rows)
    entropy = -(frequency[frequency > 0] * np.log(frequency[frequency > 0])).sum()
    near = KNeighborsClassifier(1, metric="cosine", algorithm="brute").fit(x[~test], y[~test])
    return {
        "accuracy": float(model.score(scaled[rows], y[rows])),
        "knn": float(near.score(x[rows], y[rows])),
        "usable_nats": float(entropy + np.log(own).mean()),
    }
