"""Losses of distillation against loops over the papers' formulas, with the buffer of CRD."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.objectives import Batch, build_objective

D = 5
FAMILY, CLAN = [0, 1, 2, 2, 3, 4], [-1, 7, -1, -1, 7, -1]  # families 1 and 3 are of one clan


def batch(shift: int = 0) -> Batch:
    return Batch.of_families(torch.tensor(FAMILY) + shift, torch.tensor(CLAN))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def crd(temperature: float = 0.3, **parameters: object) -> torch.nn.Module:
    return build_objective("crd", build_critic("cosine", D, {"temperature": temperature}), parameters, dimension=D).double()


def score(x: Tensor, y: Tensor, temperature: float = 0.3) -> float:
    return float(torch.nn.functional.cosine_similarity(x, y, dim=0)) / temperature


def is_negative(family: int, clan: int, other_family: int, other_clan: int) -> bool:
    return family != other_family and not (clan == other_clan >= 0)


Candidates = list[tuple[Tensor, int, int]]
"""Vectors with their family and clan."""


def slow_crd(anchors: Tensor, positives: Tensor, candidates: Candidates, log_z: float) -> tuple[float, float]:
    """Return the loss for one side, and the mean of log N, from h = e^s / (e^s + N z)."""
    losses, logs = [], []
    for i, (anchor, positive) in enumerate(zip(anchors, positives, strict=True)):
        negatives = [x for x, family, clan in candidates if is_negative(FAMILY[i], CLAN[i], family, clan)]
        noise = len(negatives) * math.exp(log_z)

        def h(x: Tensor, anchor: Tensor = anchor, noise: float = noise) -> float:
            return math.exp(score(anchor, x)) / (math.exp(score(anchor, x)) + noise)

        losses.append(-math.log(h(positive)) - sum(math.log(1 - h(x)) for x in negatives))
        logs.append(math.log(len(negatives)))
    return sum(losses) / len(losses), sum(logs) / len(logs)


def with_codes(vectors: Tensor) -> Candidates:
    return list(zip(vectors, FAMILY, CLAN, strict=True))


@pytest.mark.parametrize("cardinality", [0, 50_000])
def test_crd_is_the_papers_formula_with_its_buffer(cardinality: int) -> None:
    objective = crd(buffer=9, cardinality=cardinality)
    steps = [(normal(6, D, seed=2 * k), normal(6, D, seed=2 * k + 1)) for k in range(3)]
    kept_a: Candidates = []
    kept_b: Candidates = []
    log_z: list[float] = []
    for a, b in steps:
        found = objective(a, b, batch())
        of_a, of_b = with_codes(a) + kept_a, with_codes(b) + kept_b
        if not log_z:  # the constant Z: the mean of e^s over the first negatives
            for anchors, others in ((a, b), (b, a)):
                first = [
                    math.exp(score(anchors[i], others[j]))
                    for i in range(6)
                    for j in range(6)
                    if is_negative(FAMILY[i], CLAN[i], FAMILY[j], CLAN[j])
                ]
                log_z.append(-math.log(cardinality) if cardinality else math.log(sum(first) / len(first)))
        sides = [slow_crd(a, b, of_b, log_z[0]), slow_crd(b, a, of_a, log_z[1])]
        loss, ceiling = ((x + y) / 2 for x, y in zip(*sides, strict=True))
        assert found["loss"].item() == pytest.approx(loss, rel=1e-6)
        assert found["bound"].item() == pytest.approx(ceiling - loss, rel=1e-5)
        assert found["ceiling"].item() == pytest.approx(ceiling, rel=1e-6)
        objective.after_step()
        kept_a, kept_b = (kept_a + with_codes(a))[-9:], (kept_b + with_codes(b))[-9:]


def test_crd_against_the_teacher_only_is_the_formula_of_one_anchor() -> None:
    a, b = normal(6, D, seed=0), normal(6, D, seed=1)
    loss, _ = slow_crd(a, b, with_codes(b), -math.log(1000))
    assert crd(buffer=0, cardinality=1000, symmetric=False)(a, b, batch())["loss"].item() == pytest.approx(loss, rel=1e-6)


def test_crd_without_a_buffer_keeps_nothing_from_step_to_step() -> None:
    objective = crd(buffer=0, cardinality=1000)
    a, b = normal(2, 6, D, seed=0)
    first = objective(a, b, batch())["loss"]
    objective.after_step()
    assert len(objective.of_a) == 0 and torch.equal(objective(a, b, batch())["loss"], first)


def test_the_bound_of_crd_is_below_the_information_for_any_critic_and_close_for_the_best() -> None:
    """Two coins that agree with probability 0.9, as one-hot vectors: every expectation is a sum over the batch."""
    joint = torch.tensor([[9, 1], [1, 9]], dtype=torch.float64) / 20
    information = float((joint * (joint / 0.25).log()).sum())
    counts = (joint * 20 * 10).round().to(torch.int64)
    pairs = [(x, y) for x in (0, 1) for y in (0, 1) for _ in range(int(counts[x, y]))]
    eye = torch.eye(2, dtype=torch.float64)
    a, b = (eye[[pair[side] for pair in pairs]] for side in (0, 1))

    def bound(ratio: Tensor) -> float:
        class Critic(torch.nn.Module):
            def forward(self, x: Tensor, y: Tensor) -> Tensor:
                return x @ ratio.log() @ y.T

        # With the cardinality 1, z is 1: scores are log density ratios.
        objective = build_objective("crd", Critic(), {"buffer": 0, "cardinality": 1}, dimension=2)
        return float(objective(a, b, Batch.of_pairs(len(a)))["bound"])

    best = bound(joint / 0.25)
    assert information - 1.01 < best < information  # N E[log(1 - h)] is at least -1 for the best critic
    for wrong in (torch.ones(2, 2), 3 * joint / 0.25, torch.tensor([[1.2, 0.8], [0.5, 1.5]])):
        assert bound(wrong.double()) < best


def test_homologs_in_batch_and_buffer_are_never_pushed_apart() -> None:
    objective = crd(buffer=6)
    objective(normal(6, D, seed=3), normal(6, D, seed=4), batch())
    objective.after_step()
    a, b = (normal(6, D, seed=seed).requires_grad_() for seed in (5, 6))
    scores: list[Tensor] = []

    class Recorded(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            scores.append(inner(x, y))
            scores[-1].retain_grad()
            return scores[-1]

    inner, objective.critic = objective.critic, Recorded()
    objective(a, b, batch())["loss"].backward()
    negatives = batch().negatives()
    for gradient in (scores[0].grad, scores[1].grad.T):
        assert gradient is not None and gradient.shape == (6, 12)
        assert (gradient[:, :6].diagonal() < 0).all()
        off = ~negatives & ~torch.eye(6, dtype=torch.bool)
        assert gradient[:, :6][off].abs().max() == 0 and gradient[:, 6:][~negatives].abs().max() == 0
        assert (gradient[:, :6][negatives] > 0).all() and (gradient[:, 6:][negatives] > 0).all()


def test_evaluating_crd_changes_neither_buffer_nor_normaliser() -> None:
    objective = crd(buffer=6).eval()
    objective(normal(6, D, seed=3), normal(6, D, seed=4), batch())
    objective.after_step()
    assert objective.log_z.isnan().all() and not objective.of_a.filled().any()
    objective.train()(normal(6, D, seed=3), normal(6, D, seed=4), batch())
    before = objective.log_z.clone()
    objective(normal(6, D, seed=7), normal(6, D, seed=8), batch())
    assert torch.equal(objective.log_z, before) and "log_z" in objective.state_dict()


def test_embedding_regression_is_the_squared_distance_of_unit_vectors() -> None:
    a, b = normal(6, D, seed=0), normal(6, D, seed=1)
    expected = sum(float((x / x.norm() - y / y.norm()).square().sum()) for x, y in zip(a, b, strict=True)) / 6
    objective = build_objective("embedding-regression", build_critic("cosine", D)).double()
    assert objective(a, b, batch())["loss"].item() == pytest.approx(expected, rel=1e-9)
    assert objective(a, 3 * a, batch())["loss"].item() == pytest.approx(0, abs=1e-9)


def test_similarity_distillation_is_the_divergence_of_the_neighbours_of_each_row() -> None:
    a, b = normal(6, D, seed=0), normal(6, 8, seed=1)
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        p, q = ([math.exp(score(x[i], x[j], t)) for j in others] for x, t in ((b, 0.2), (a, 0.5)))
        total += sum(x / sum(p) * math.log(x / sum(p) * sum(q) / y) for x, y in zip(p, q, strict=True))
    parameters = {"temperature": 0.5, "teacher_temperature": 0.2}
    objective = build_objective("similarity-distillation", build_critic("cosine", D), parameters).double()
    assert objective(a, b, batch())["loss"].item() == pytest.approx(total / 6, rel=1e-6)
    same = build_objective("similarity-distillation", build_critic("cosine", D)).double()
    rotation = torch.linalg.qr(normal(D, D, seed=9))[0]
    assert same(a, 2 * a @ rotation, batch())["loss"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("crd", {"buffer": -1}), ("crd", {"cardinality": -5}), ("similarity-distillation", {"temperature": 0.0})],
)
def test_parameters_out_of_range_are_usage_errors(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build_objective(name, build_critic("cosine", D), parameters, dimension=D)
