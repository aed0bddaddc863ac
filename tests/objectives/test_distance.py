"""Objectives that use evolutionary distance, against slow versions; and how the distance reaches them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.objectives import Batch, build_objective
from phylocli.train.data.loading import load_corpus
from phylocli.train.task import ContrastiveTask

FAMILY = [0, 1, 2, 2, 3]
DISTANCE = [0.2, 1.5, math.nan, 0.0, 0.7]


def inputs() -> tuple[Tensor, Tensor, Batch]:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(5, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, b, Batch.of_families(torch.tensor(FAMILY), distance=torch.tensor(DISTANCE, dtype=torch.float64))


def objective(name: str, **parameters: Any) -> torch.nn.Module:
    return build_objective(name, build_critic("cosine", 6, {"temperature": 0.3}).double(), parameters)


def slow_log_probabilities(a: Tensor, b: Tensor) -> list[float]:
    """Return the log probability of each true partner, the mean over both directions."""
    found = []
    for i in range(5):
        both = 0.0
        for x, y in ((a, b), (b, a)):
            score = {j: float(F.cosine_similarity(x[i], y[j], dim=0)) / 0.3 for j in range(5)}
            rivals = [j for j in range(5) if j == i or FAMILY[j] != FAMILY[i]]
            both += score[i] - math.log(sum(math.exp(score[j]) for j in rivals))
        found.append(both / 2)
    return found


def test_distance_regression_adds_squared_errors_of_the_pairs_with_a_distance() -> None:
    a, b, batch = inputs()
    errors = [
        (1 - float(F.cosine_similarity(a[i], b[i], dim=0)) - (1 - math.exp(-d / 0.5))) ** 2
        for i, d in enumerate(DISTANCE)
        if not math.isnan(d)
    ]
    plain = -sum(slow_log_probabilities(a, b)) / 5
    terms = objective("distance-regression", weight=2.0, scale=0.5)(a, b, batch)
    assert float(terms["regression"]) == pytest.approx(sum(errors) / 4)
    assert float(terms["loss"]) == pytest.approx(plain + 2 * sum(errors) / 4)


@pytest.mark.parametrize("power", [0.0, 1.0, -0.5])
def test_distance_weighted_weighs_each_pair_by_a_power_of_its_distance(power: float) -> None:
    a, b, batch = inputs()
    known = [(0.1 + d) ** power for d in DISTANCE if not math.isnan(d)]
    weights = [sum(known) / 4 if math.isnan(d) else (0.1 + d) ** power for d in DISTANCE]
    expected = -sum(w * p for w, p in zip(weights, slow_log_probabilities(a, b), strict=True)) / sum(weights)
    terms = objective("distance-weighted", power=power, offset=0.1)(a, b, batch)
    assert float(terms["loss"]) == pytest.approx(expected)


def test_with_power_zero_or_without_distances_the_weights_are_those_of_infonce() -> None:
    a, b, batch = inputs()
    plain = float(objective("infonce")(a, b, batch)["loss"])
    assert float(objective("distance-weighted", power=0.0)(a, b, batch)["loss"]) == pytest.approx(plain)
    unknown = Batch.of_families(batch.family)
    assert float(objective("distance-weighted", power=2.0)(a, b, unknown)["loss"]) == pytest.approx(plain)
    assert float(objective("distance-regression", weight=3.0)(a, b, unknown)["loss"]) == pytest.approx(plain)


def test_distances_that_the_gradient_must_follow_give_finite_gradients() -> None:
    a, b, batch = inputs()
    for name in ("distance-regression", "distance-weighted"):
        x = a.clone().requires_grad_(True)
        objective(name)(x, b, batch)["loss"].backward()
        assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("distance-regression", {"scale": 0.0}),
        ("distance-regression", {"weight": -1.0}),
        ("distance-weighted", {"offset": 0.0}),
    ],
)
def test_parameters_out_of_range_are_usage_errors(name: str, parameters: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=name):
        objective(name, **parameters)


@pytest.mark.parametrize("cached", [False, True])
def test_the_objective_gets_the_distances_of_the_pairs_that_were_drawn(
    simulate: Callable[..., Family], tmp_path: Path, cached: bool
) -> None:
    write_families([simulate(f"PF{i:05d}", 8) for i in range(4)], tmp_path / "families.sto")
    changes = {"encoder.preset": "tiny", "batch.pairs": 8, "batch.grad_cache": cached, "batch.max_tokens": 200}
    config = TrainConfig.of(None, {"recipe": "distance-weighted", **nested(changes)})
    task, corpus = ContrastiveTask(config), load_corpus([tmp_path / "families.sto"], config)
    seen: list[Tensor] = []
    task.objective.register_forward_pre_hook(lambda module, given: seen.append(given[2].distance))
    pairs = corpus.batch(0)
    task(pairs)["loss"].backward()
    assert np.isfinite(pairs.distance).all() and len(set(pairs.distance.tolist())) > 1
    assert seen[0].tolist() == pairs.distance.astype(np.float32).tolist()
