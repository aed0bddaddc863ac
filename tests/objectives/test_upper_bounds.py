"""Upper bounds on mutual information: slow versions, exact expectations, closed forms, and brackets."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.critics.base.decoder import Decoder
from phylocli.mi import Gaussians
from phylocli.objectives import Batch, build_objective, club, infonce, leave_one_out

FAMILY, CLAN = torch.tensor([0, 1, 2, 2, 3, 4]), torch.tensor([-1, 7, -1, -1, 7, -1])


def normal(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_leave_one_out_and_club_are_loops_over_negatives() -> None:
    scores, negatives = normal(6), Batch.of_families(FAMILY, CLAN).negatives()
    left_out, against = [], []
    for i in range(6):
        others = [j for j in range(6) if negatives[j, i]]
        mean = sum(math.exp(scores[j, i]) for j in others) / len(others)
        left_out.append(float(scores[i, i]) - math.log(mean))
        against += [float(scores[j, i]) for j in others]
    assert float(leave_one_out.bound(scores, negatives)) == pytest.approx(sum(left_out) / 6)
    trace = float(scores.diagonal().mean())
    assert float(club.bound(scores, negatives)) == pytest.approx(trace - sum(against) / len(against))


def test_a_factor_of_b_alone_changes_nothing() -> None:
    scores, negatives = normal(7), Batch.of_pairs(7).negatives()
    shifted = scores + normal(7, 1)[:1]
    for bound in (leave_one_out.bound, club.bound):
        assert float(bound(shifted, negatives)) == pytest.approx(float(bound(scores, negatives)))


def test_the_expected_values_over_all_batches_are_upper_bounds_at_the_true_density() -> None:
    """Enumerates every batch of three pairs of a distribution over 2 × 2."""
    joint = torch.tensor([[0.42, 0.08], [0.05, 0.45]], dtype=torch.float64)
    density = (joint / joint.sum(1, keepdim=True)).log()
    truth = float((joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))).log()).sum())
    free, cells = Batch.of_pairs(3).negatives(), list(itertools.product(range(2), range(2)))
    for bound in (leave_one_out.bound, club.bound):
        total = 0.0
        for pairs in itertools.product(cells, repeat=3):
            a, b = torch.tensor([k[0] for k in pairs]), torch.tensor([k[1] for k in pairs])
            weight = math.prod(float(joint[k]) for k in pairs)
            total += weight * float(bound(density[a][:, b], free))
        assert truth < total < 3 * truth


def test_club_of_gaussians_is_its_closed_form_and_infonce_and_leave_one_out_bracket_the_information() -> None:
    level = Gaussians(4, 2.0)
    generator = torch.Generator().manual_seed(0)
    found = {"infonce": 0.0, "leave-one-out": 0.0, "club": 0.0}
    free = Batch.of_pairs(64).negatives()
    for _ in range(200):
        scores = level.log_ratio(*level.draw(64, generator))
        found["infonce"] += float(infonce.bound(scores, free)) / 200
        found["leave-one-out"] += float(leave_one_out.bound(scores, free)) / 200
        found["club"] += float(club.bound(scores, free)) / 200
    squared = level.correlation**2
    assert found["club"] == pytest.approx(4 * squared / (1 - squared), rel=0.03)
    assert found["infonce"] + 0.05 < 2.0 < found["leave-one-out"] - 0.05
    assert found["leave-one-out"] - found["infonce"] < 1.0


class Known(Decoder):
    """The true density of b given a of correlated Gaussians, with a marginal that may be wrong."""

    def __init__(self, correlation: float, scale: float) -> None:
        super().__init__()
        self.correlation, self.scale = correlation, scale

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        spread = math.sqrt(1 - self.correlation**2)
        return torch.distributions.Normal(self.correlation * a[:, None], spread).log_prob(b[None]).sum(2)

    def marginal(self, b: Tensor) -> Tensor:
        return torch.distributions.Normal(0.0, self.scale).log_prob(b).sum(1)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_barber_agakov_at_the_true_density_exceeds_the_information_by_the_error_of_the_marginal(scale: float) -> None:
    """The variational upper bound: I + KL(p(b) ‖ m(b))."""
    level = Gaussians(3, 1.5)
    a, b = level.draw(60_000, torch.Generator().manual_seed(1))
    known = build_objective("barber-agakov", Known(level.correlation, scale))
    values = [known(x, y, Batch.of_pairs(len(x)))["bound"] for x, y in zip(a.split(300), b.split(300), strict=True)]
    gap = 3 * (math.log(scale) + 1 / (2 * scale**2) - 0.5)
    assert float(torch.stack(values).mean()) == pytest.approx(1.5 + gap, abs=0.02)


def test_training_fits_the_decoder_and_not_the_bound() -> None:
    a, b = Gaussians(3, 1.0).draw(40, torch.Generator().manual_seed(0))
    critic = build_critic("gaussian", 3)
    slopes = []
    for name in ("barber-agakov", "leave-one-out", "club"):
        critic.zero_grad()
        build_objective(name, critic)(a, b, Batch.of_pairs(40))["loss"].backward()
        slopes.append(torch.cat([p.grad.flatten() for p in critic.parameters()]))
    assert torch.equal(slopes[0], slopes[1]) and torch.equal(slopes[0], slopes[2])
    for name in ("leave-one-out", "club"):
        with pytest.raises(UsageError, match="decoder"):
            build_objective(name, build_critic("cosine", 3))
