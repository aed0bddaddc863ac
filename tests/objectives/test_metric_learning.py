"""Triplet, margin and Wasserstein objectives: pytorch-metric-learning, loops, and optimal transport."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.objectives import Batch, build_objective
from phylocli.objectives.base.mining import mined

N, D = 10, 6


def views(seed: int = 0, n: int = N) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, D, generator=generator, dtype=torch.float64)
    return a.requires_grad_(), (a.detach() + torch.randn(n, D, generator=generator, dtype=torch.float64)).requires_grad_()


def build(name: str, temperature: float = 1.0, **parameters: Any) -> torch.nn.Module:
    return build_objective(name, build_critic("cosine", D, {"temperature": temperature}), parameters).double()


def the_same(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6) and ours.item() > 0
    for mine, other in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-8)


def triplets(scores: Tensor, mining: str) -> list[tuple[int, int]]:
    """Return anchors and their negatives, by a loop."""
    found = []
    for i in range(len(scores)):
        others = [j for j in range(len(scores)) if j != i]
        below = [j for j in others if scores[i, j] < scores[i, i]]
        if mining == "hard":
            others = [max(others, key=lambda j: float(scores[i, j]))]
        elif mining == "semihard" and below:
            others = [max(below, key=lambda j: float(scores[i, j]))]
        elif mining == "semihard":
            others = [min(others, key=lambda j: float(scores[i, j]))]
        found += [(i, j) for j in others]
    return found


def both_directions(a: Tensor, b: Tensor, mining: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchors, positives and negatives as rows of [a; b]."""
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2).detach()
    forward = [(i, i + N, j + N) for i, j in triplets(cosines, mining)]
    backward = [(i + N, i, j) for i, j in triplets(cosines.T, mining)]
    return tuple(torch.tensor(column) for column in zip(*forward, *backward, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("mining", ["all", "semihard", "hard"])
def test_triplet_is_pytorch_metric_learnings_on_squared_distances(mining: str) -> None:
    a, b = views()
    squared = distances.LpDistance(power=2)
    theirs = losses.TripletMarginLoss(margin=0.4, distance=squared)
    z, labels = torch.cat([a, b]), torch.arange(N).repeat(2)
    expected = theirs(z, labels, both_directions(a, b, mining))
    the_same(build("triplet", 0.5, margin=0.4, mining=mining)(a, b, Batch.of_pairs(N))["loss"], expected, a, b)


@pytest.mark.parametrize("mining", ["semihard", "hard"])
def test_margin_is_pytorch_metric_learnings_on_cosines(mining: str) -> None:
    a, b = views()
    theirs = losses.MarginLoss(margin=0.3, beta=0.4, distance=distances.CosineSimilarity())
    z, labels = torch.cat([a, b]), torch.arange(N).repeat(2)
    expected = theirs(z, labels, both_directions(a, b, mining))
    found = build("margin", margin=0.3, boundary=0.4, mining=mining)
    terms = found(a, b, Batch.of_pairs(N))
    the_same(terms["loss"], expected, a, b)
    terms = found(a, b, Batch.of_pairs(N))
    terms["loss"].backward()
    assert found.boundary.grad is not None and found.boundary.grad != 0


def test_hard_negatives_are_those_of_pytorch_metric_learnings_miner() -> None:
    a, b = views(3)
    miner = miners.BatchHardMiner(distance=distances.CosineSimilarity())
    labels = torch.arange(N)
    anchors, _, hardest = miner(a.detach(), labels, ref_emb=b.detach(), ref_labels=labels)
    scores = build_critic("cosine", D)(a, b)
    chosen = mined(scores, Batch.of_pairs(N).negatives(), "hard")
    assert chosen.sum(1).eq(1).all()
    assert chosen.int().argmax(1)[anchors].tolist() == hardest.tolist()


def test_the_curriculum_goes_from_the_median_to_the_hardest_negative() -> None:
    a, b = views()
    found = build("triplet", mining="hard", curriculum=4)
    scores, negatives = build_critic("cosine", D)(a, b), Batch.of_pairs(N).negatives()
    ranks = []
    for _ in range(6):
        chosen = mined(scores, negatives, "hard", found.curriculum.hardness())
        own = scores.masked_select(chosen)[:, None]
        ranks.append(((scores > own) & negatives).sum(1).unique().tolist())
        found.after_step()
    assert ranks == [[4], [3], [2], [1], [0], [0]]
    assert int(found.state_dict()["curriculum.step"]) == 6


@pytest.mark.parametrize("name", ["triplet", "margin"])
def test_mining_never_takes_homologs_and_rows_without_negatives_take_none(name: str) -> None:
    a, b = views()
    family = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
    negatives = Batch.of_families(family).negatives()
    scores = build_critic("cosine", D)(a, b)
    for mining in ("all", "semihard", "hard"):
        assert not (mined(scores, negatives, mining) & ~negatives).any()
        alone = build(name, mining=mining)(a, b, Batch.of_families(torch.zeros(N, dtype=torch.int64)))["loss"]
        assert torch.isfinite(alone)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("triplet", {"margin": -1.0}),
        ("triplet", {"mining": "soft"}),
        ("triplet", {"curriculum": 5}),
        ("triplet", {"mining": "hard", "curriculum": -1}),
        ("margin", {"margin": -0.1}),
        ("wasserstein", {"penalty": 0.0}),
        ("wasserstein", {"form": "nwj"}),
        ("wasserstein", {"constraint": "clip"}),
        ("wasserstein", {"constraint": "spectral"}),  # of a cosine
    ],
)
def test_values_out_of_range_are_usage_errors(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        build(name, **parameters)


def transport(a: np.ndarray, b: np.ndarray) -> float:
    """Return the earth mover's distance from the pairs (a_i, b_i) to all pairs (a_i, b_j), by linear programming."""
    from scipy.optimize import linprog

    joint = np.concatenate([a, b], axis=1)
    product = np.concatenate([np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1))], axis=1)
    cost = np.linalg.norm(joint[:, None] - product[None], axis=2)
    n, m = cost.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    return float(linprog(cost.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=weights).fun)


@pytest.mark.parametrize(
    ("constraint", "least", "most"),
    [("penalty", 0.9, 1.1), ("spectral", 0.25, 1.01)],  # the product of norms exceeds the slope, so it is too low
)
def test_a_trained_critic_reaches_the_wasserstein_dependency_of_optimal_transport(
    constraint: str, least: float, most: float
) -> None:
    signs = torch.tensor([[-1.0], [1.0]]).repeat(16, 1)
    expected = transport(signs[:2].numpy(), signs[:2].numpy())
    assert expected == pytest.approx(1.0)
    torch.manual_seed(0)
    parameters = {"penalty": 50.0, "constraint": constraint}
    objective = build_objective("wasserstein", build_critic("concatenated", 1, {"hidden": 64}), parameters)
    optimiser = torch.optim.Adam(objective.parameters(), lr=2e-3)
    batch = Batch.of_families(torch.arange(2).repeat(16))  # equal pairs are no negatives of each other
    for _ in range(500):
        terms = objective(signs, signs, batch)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    # Negatives are half of the product of the marginals: the other half are pairs themselves.
    assert least < float(terms["dependency"]) / 2 / expected < most


def test_spectral_norms_limit_the_slope_everywhere_and_are_the_largest_singular_values() -> None:
    torch.manual_seed(0)
    critic = build_critic("concatenated", D, {"hidden": 16, "block": 30})  # blocks, recomputed in the backward pass
    objective = build_objective("wasserstein", critic, {"constraint": "spectral"})
    optimiser = torch.optim.SGD(objective.parameters(), lr=0.3)
    a, b = (view.detach().float() for view in views())
    for _ in range(60):
        terms = objective(a, b, Batch.of_pairs(N))
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    for _ in range(40):  # the estimates converge
        objective(a, b, Batch.of_pairs(N))
    for layer in objective.limited:
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1, abs=0.01)
    x = (10 * torch.randn(500, 2 * D)).requires_grad_()
    scores = torch.stack([objective._scores(row[None, :D], row[None, D:])[0, 0] for row in x])
    (slopes,) = torch.autograd.grad(scores.sum(), x)
    assert 0.1 < float(slopes.norm(dim=1).max()) < 1.01
    kept = {name: value.clone() for name, value in objective.state_dict().items()}
    objective.eval()(a, b, Batch.of_pairs(N))
    assert all(torch.equal(value, kept[name]) for name, value in objective.state_dict().items())


def test_the_slope_is_the_norm_of_the_critics_gradient_and_its_penalty_does_not_reach_the_vectors() -> None:
    a, b = views()
    critic = build_critic("bilinear", D).double()
    terms = build_objective("wasserstein", critic, {"penalty": 1e6, "form": "infonce"})(a, b, Batch.of_pairs(N))
    (slope_a,) = torch.autograd.grad(terms["loss"], a, retain_graph=True)
    plain = build_objective("infonce", critic)(a, b, Batch.of_pairs(N))["loss"]
    (expected,) = torch.autograd.grad(plain, a)
    assert torch.allclose(slope_a, expected)
    norms = []
    for i in range(N):
        fraction = ((i + 1) * 0.6180339887498949) % 1
        between = fraction * b[i] + (1 - fraction) * b[(i + 1) % N]
        norms.append(float(torch.cat([critic.weight @ between, a[i] @ critic.weight]).norm()))
    assert float(terms["slope"]) == pytest.approx(sum(norms) / N)
