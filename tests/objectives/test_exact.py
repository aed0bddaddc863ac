"""Objectives against naive implementations and closed forms, and the rule for negatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phylocli.core import plugins
from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.objectives import (
    Batch,
    Requirements,
    build_objective,
    dv,
    infonce,
    interpolated,
    jsd,
    needs_decoder,
    nwj,
    requirements_of,
    smile,
)

# Those that ask for nothing besides a and b; the others are in test_objectives_views.py.
DECODER = build_critic("gaussian", 5)  # barber-agakov takes no other critic
ALL = {name: build_objective(name, DECODER, dimension=5, features=5) for name in plugins.OBJECTIVES.names()}
OBJECTIVES = [
    name for name, objective in ALL.items() if replace(requirements_of(objective), negatives=True) == Requirements()
]
# Without negatives, or with more than one matrix of scores.
WITHOUT_NEGATIVES = (
    "nt-xent", "supcon", "hierarchical", "align-uniform", "barber-agakov", "leave-one-out", "club", "crd",
    "embedding-regression", "similarity-distillation", "triplet", "margin", "wasserstein",
)  # fmt: skip

FAMILY = [0, 1, 2, 2, 3, 4]
CLAN = [-1, 7, -1, -1, 7, -1]  # families 1 and 3 are of one clan


def batch() -> Batch:
    return Batch.of_families(torch.tensor(FAMILY), torch.tensor(CLAN))


def may_contrast(i: int, j: int) -> bool:
    n = len(FAMILY)
    i, j = i % n, j % n
    return FAMILY[i] != FAMILY[j] and not (CLAN[i] >= 0 and CLAN[i] == CLAN[j])


def views(n: int = len(FAMILY), d: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return a, 0.7 * a + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)


def cosine(temperature: float = 0.3) -> torch.nn.Module:
    return build_critic("cosine", 5, {"temperature": temperature}).double()


def critic_for(name: str) -> torch.nn.Module:
    """Return a critic that the objective takes: any, but for those that need a decoder."""
    torch.manual_seed(0)
    return build_critic("gaussian", 5, {"hidden": 8}).double() if needs_decoder(name) else cosine()


def similarity(x: Tensor, y: Tensor, temperature: float = 0.3) -> float:
    return float(x @ y / x.norm() / y.norm()) / temperature


def loss_of(name: str, **parameters: object) -> float:
    a, b = views()
    return build_objective(name, cosine(), parameters).double()(a, b, batch())["loss"].item()


def test_negatives_are_neither_of_one_family_nor_of_one_clan() -> None:
    expected = [[may_contrast(i, j) for j in range(6)] for i in range(6)]
    assert batch().negatives().tolist() == expected
    assert not expected[1][4]
    assert not expected[2][3]
    assert expected[0][5]  # no clan is not a clan


def test_infonce_is_the_cross_entropy_of_the_true_partner() -> None:
    a, b = views()
    n = len(a)

    def direction(x: Tensor, y: Tensor) -> float:
        total = 0.0
        for i in range(n):
            candidates = [math.exp(similarity(x[i], y[j])) for j in range(n) if j == i or may_contrast(i, j)]
            total -= math.log(math.exp(similarity(x[i], y[i])) / sum(candidates)) / n
        return total

    assert loss_of("infonce", symmetric=False) == pytest.approx(direction(a, b), rel=1e-6)
    assert loss_of("infonce") == pytest.approx((direction(a, b) + direction(b, a)) / 2, rel=1e-6)


def test_infonce_without_masking_is_torchs_cross_entropy() -> None:
    scores = torch.randn(9, 9, dtype=torch.float64)
    free = Batch.of_pairs(9).negatives()
    expected = math.log(9) - torch.nn.functional.cross_entropy(scores, torch.arange(9))
    assert infonce.bound(scores, free, symmetric=False) == pytest.approx(float(expected))


def test_nt_xent_contrasts_each_view_with_both_sides() -> None:
    z = torch.cat(views())
    n = len(FAMILY)
    total = 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        candidates = [k for k in range(2 * n) if k == partner or (k != i and may_contrast(i, k))]
        total -= similarity(z[i], z[partner]) - math.log(sum(math.exp(similarity(z[i], z[k])) for k in candidates))
    assert loss_of("nt-xent") == pytest.approx(total / (2 * n), rel=1e-6)


def test_supcon_averages_the_log_probability_over_the_family() -> None:
    z = torch.cat(views())
    n = len(FAMILY)
    total = 0.0
    for i in range(2 * n):
        homologs = [k for k in range(2 * n) if k != i and FAMILY[k % n] == FAMILY[i % n]]
        candidates = homologs + [k for k in range(2 * n) if may_contrast(i, k)]
        log_sum = math.log(sum(math.exp(similarity(z[i], z[k])) for k in candidates))
        total -= sum(similarity(z[i], z[k]) - log_sum for k in homologs) / len(homologs)
    assert loss_of("supcon") == pytest.approx(total / (2 * n), rel=1e-6)


def test_hierarchical_ranks_partner_above_clan_above_the_rest() -> None:
    a, b = views()
    z, n = torch.cat([a, b]), len(a)
    near, far = [], []
    for i in range(2 * n):
        clan = [k for k in range(2 * n) if CLAN[i % n] == CLAN[k % n] >= 0 and FAMILY[i % n] != FAMILY[k % n]]
        score = {k: similarity(z[i], z[k]) for k in range(2 * n)}
        against = [math.exp(score[k]) for k in range(2 * n) if may_contrast(i, k)]
        partner = (i + n) % (2 * n)
        near.append(
            math.log(sum([math.exp(score[partner]), *against, *(math.exp(score[k]) for k in clan)])) - score[partner]
        )
        if clan:
            each = [math.log(math.exp(score[k]) + sum(against)) - score[k] for k in clan]
            far.append(sum(each) / len(each))
    assert len(far) == 4
    expected = sum(near) / len(near) + 0.7 * sum(far) / len(far)
    assert loss_of("hierarchical", weight=0.7) == pytest.approx(expected, rel=1e-6)


def test_hierarchical_without_clans_is_nt_xent() -> None:
    a, b = views()
    families = Batch.of_families(torch.tensor(FAMILY))
    graded, plain = (build_objective(name, cosine()).double()(a, b, families) for name in ("hierarchical", "nt-xent"))
    assert graded["loss"].item() == pytest.approx(plain["loss"].item(), rel=1e-9)
    assert graded["far"] == 0


def test_dcl_leaves_the_true_pair_out_of_the_denominator() -> None:
    a, b = views()
    n = len(a)
    total = 0.0
    for x, y in ((a, b), (b, a)):
        for i in range(n):
            negatives = sum(math.exp(similarity(x[i], y[j])) for j in range(n) if may_contrast(i, j))
            total += (math.log(negatives) - similarity(x[i], y[i])) / (2 * n)
    assert loss_of("dcl") == pytest.approx(total, rel=1e-6)


def test_siglip_asks_about_every_pair() -> None:
    a, b = views()
    n = len(a)
    total = 0.0
    for i in range(n):
        for j in range(n):
            logit = similarity(a[i], b[j]) - 2.0
            if i == j:
                total += math.log1p(math.exp(-logit)) / n
            elif may_contrast(i, j):
                total += math.log1p(math.exp(logit)) / n
    assert loss_of("siglip", bias=-2.0) == pytest.approx(total, rel=1e-6)


def test_alignment_and_uniformity_are_the_papers() -> None:
    a, b = (v / v.norm(dim=1, keepdim=True) for v in views())
    n = len(a)
    align = sum(float((a[i] - b[i]).norm()) ** 2 for i in range(n)) / n
    allowed = [(i, j) for i in range(n) for j in range(n) if may_contrast(i, j)]

    def uniform(x: Tensor) -> float:
        return math.log(sum(math.exp(-2 * float((x[i] - x[j]).norm()) ** 2) for i, j in allowed) / len(allowed))

    expected = align + 0.5 * (uniform(a) + uniform(b)) / 2
    assert loss_of("align-uniform", weight=0.5) == pytest.approx(expected, rel=1e-6)


def slow_terms() -> tuple[list[float], list[float]]:
    a, b = views()
    n = len(a)
    joint = [similarity(a[i], b[i]) for i in range(n)]
    return joint, [similarity(a[i], b[j]) for i in range(n) for j in range(n) if may_contrast(i, j)]


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def test_nwj_dv_jsd_and_smile_are_averages_over_pairs_and_negatives() -> None:
    joint, negative = slow_terms()
    assert -loss_of("nwj") == pytest.approx(average(joint) - average([math.exp(s - 1) for s in negative]), rel=1e-6)
    assert -loss_of("dv") == pytest.approx(average(joint) - math.log(average([math.exp(s) for s in negative])), rel=1e-6)

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    expected = average([-softplus(-s) for s in joint]) - average([softplus(s) for s in negative])
    assert -loss_of("jsd") == pytest.approx(expected, rel=1e-6)
    a, b = views()
    clipped = [min(max(math.exp(s), math.exp(-1)), math.exp(1)) for s in negative]
    value = build_objective("smile", cosine(), {"clip": 1.0})(a, b, batch())["bound"]
    assert float(value) == pytest.approx(average(joint) - math.log(average(clipped)), rel=1e-6)


def test_the_interpolated_bound_is_the_formula_with_one_negative_left_out() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    negatives = batch().negatives()
    for alpha, log_q in ((0.0, 0.3), (0.3, -0.5), (1.0, 0.0)):
        joint, marginal = [], []
        for i in range(6):
            others = [j for j in range(6) if negatives[i, j]]
            mix = [
                alpha * (math.exp(scores[i, i]) + sum(math.exp(scores[i, k]) for k in others if k != j)) / len(others)
                + (1 - alpha) * math.exp(log_q)
                for j in others
            ]
            joint.append(average([float(scores[i, i]) - math.log(m) for m in mix]))
            mean = average([math.exp(scores[i, k]) for k in others])
            marginal.append(mean / (alpha * mean + (1 - alpha) * math.exp(log_q)))
        expected = 1 + average(joint) - average(marginal)
        found = interpolated.bound(scores, negatives, alpha=alpha, log_baseline=log_q)
        assert float(found) == pytest.approx(expected, rel=1e-9)


def test_the_interpolated_bound_with_alpha_zero_is_nwj() -> None:
    scores = torch.randn(8, 8, dtype=torch.float64)
    free = Batch.of_pairs(8).negatives()
    assert float(interpolated.bound(scores, free, alpha=0.0)) == pytest.approx(float(nwj.bound(scores + 1, free)))


def test_mines_gradient_divides_by_the_moving_average() -> None:
    a, b = views()
    objective = build_objective("mine", cosine(), {"decay": 0.9}).double()
    objective(a, b, batch())  # the average starts at this batch's value
    start = math.exp(float(objective.log_average))
    a2, b2 = a.flip(1).clone(), (b * torch.linspace(0.5, 2, 5)).clone().requires_grad_()
    terms = objective(a2, b2, batch())
    (found,) = torch.autograd.grad(terms["loss"], b2)
    scores, negatives = cosine()(a2, b2), batch().negatives()
    now = scores[negatives].exp().mean()
    eta = 0.9 * start + 0.1 * now.item()
    assert math.exp(float(objective.log_average)) == pytest.approx(eta, rel=1e-6)
    (expected,) = torch.autograd.grad(-(scores.diagonal().mean() - now / eta), b2)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert -terms["loss"].item() == pytest.approx((scores.diagonal().mean() - now.log()).item(), rel=1e-6)


def test_mines_average_is_part_of_the_checkpoint_and_still_in_evaluation() -> None:
    a, b = views()
    objective = build_objective("mine", cosine()).double()
    objective(a, b, batch())
    before = objective.state_dict()["log_average"].clone()
    objective.eval()(b, a.flip(1), batch())
    assert torch.equal(objective.log_average, before)


class Recorded(torch.nn.Module):
    """A critic that keeps the gradients of its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = cosine()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        self.scores = self.inner(a, b)
        self.scores.retain_grad()
        return self.scores


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n not in WITHOUT_NEGATIVES])
def test_homologs_are_never_pushed_apart(name: str) -> None:
    critic = Recorded()
    a, b = (v.requires_grad_() for v in views())
    build_objective(name, critic).double()(a, b, batch())["loss"].backward()
    gradient = critic.scores.grad
    assert gradient is not None
    negatives = batch().negatives()
    homologs = ~negatives & ~torch.eye(6, dtype=torch.bool)
    assert homologs.any()
    assert gradient[homologs].abs().max() == 0
    assert (gradient.diagonal() < 0).all()  # true pairs are pulled together
    assert (gradient[negatives] > 0).all()  # negatives are pushed apart


@pytest.mark.parametrize("name", ["nt-xent", "supcon"])
def test_homologs_are_never_pushed_apart_among_all_views(name: str) -> None:
    critic = Recorded()
    a, b = (v.requires_grad_() for v in views())
    build_objective(name, critic)(a, b, batch())["loss"].backward()
    gradient = critic.scores.grad
    assert gradient is not None
    if name == "nt-xent":
        gradient = gradient.roll(6, dims=1)  # back to the order of z = [a; b] in both directions
    negatives = torch.tensor([[may_contrast(i, j) for j in range(12)] for i in range(12)])
    assert (gradient[negatives] > 0).all()
    family = torch.tensor(FAMILY).repeat(2)
    partner = torch.eye(12, dtype=torch.bool).roll(6, dims=1)
    # Supervised contrast balances the pulls among several homologs, so one can have either sign there; a clan has none.
    without = ~negatives & ~partner if name == "nt-xent" else ~negatives & (family[:, None] != family[None])
    assert without.any()
    assert gradient[without].abs().max() == 0
    if name == "nt-xent":
        assert (gradient[partner] < 0).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_without_any_negative_is_finite(name: str) -> None:
    a, b = (v.requires_grad_() for v in views(3))
    together = Batch.of_families(torch.zeros(3, dtype=torch.int64))
    loss = build_objective(name, critic_for(name), dimension=5).double()(a, b, together)["loss"]
    assert torch.isfinite(loss)
    loss.backward() if loss.requires_grad else None
    assert a.grad is None or torch.isfinite(a.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_large_scores_give_finite_losses_and_gradients(name: str) -> None:
    a, b = (v.float().requires_grad_() for v in views())
    critic = build_critic("cosine", 5, {"temperature": 0.02})
    if needs_decoder(name):
        critic = critic_for(name).float()
    if name in ("nwj", "mine-f"):  # the exponential is part of the objective: offsets up to 50 nats do not overflow float32
        critic = build_critic("cosine", 5, {"temperature": 0.05})
    loss = build_objective(name, critic, dimension=5)(a, b, batch())["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(b.grad).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 40), st.floats(0, 60), st.integers(0, 10_000))
def test_infonce_never_exceeds_log_n(n: int, scale: float, seed: int) -> None:
    scores = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    scores += torch.eye(n) * scale
    assert float(infonce.bound(scores, Batch.of_pairs(n).negatives())) <= math.log(n) + 1e-9


def gaussian_ratio(rho: float, d: int, n: int, seed: int) -> tuple[Tensor, float]:
    """Return log p(x, y) / p(x) p(y) for all pairs of n draws of correlated Gaussians, and the true information in nats."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = rho * x + math.sqrt(1 - rho**2) * torch.randn(n, d, generator=generator, dtype=torch.float64)
    quadratic = rho**2 * (x**2).sum(1)[:, None] + rho**2 * (y**2).sum(1)[None] - 2 * rho * x @ y.T
    information = -d / 2 * math.log(1 - rho**2)
    return information - quadratic / (2 * (1 - rho**2)), information


@pytest.mark.parametrize(
    ("name", "estimate", "tolerance"),
    [
        ("infonce", infonce.bound, 0.04),
        ("nwj", lambda s, m: nwj.bound(s + 1, m), 0.04),
        ("dv", dv.bound, 0.04),
        ("jsd", jsd.bound, 0.04),
        ("smile", lambda s, m: smile.bound(s, m, clip=20.0), 0.04),
        ("interpolated", lambda s, m: interpolated.bound(s, m, alpha=0.01), 0.04),
    ],
)
def test_the_best_critic_of_correlated_gaussians_gives_their_information(
    name: str, estimate: Callable[[Tensor, Tensor], Tensor], tolerance: float
) -> None:
    n = 1024
    free = Batch.of_pairs(n).negatives()
    draws = [gaussian_ratio(0.6, 4, n, seed) for seed in range(6)]
    information = draws[0][1]
    assert information == pytest.approx(-2 * math.log(1 - 0.36))
    mean = average([float(estimate(scores, free)) for scores, _ in draws])
    assert mean == pytest.approx(information, abs=tolerance)


def test_infonce_saturates_at_log_n_where_information_is_higher() -> None:
    scores, information = gaussian_ratio(0.99, 10, 32, 0)
    assert information > 19
    found = float(infonce.bound(scores, Batch.of_pairs(32).negatives()))
    assert math.log(32) - 0.1 < found <= math.log(32)


def test_wrong_parameters_are_usage_errors() -> None:
    for name, parameters in (("interpolated", {"alpha": 2.0}), ("smile", {"clip": 0.0}), ("infonce", {"two_sided": True})):
        with pytest.raises(UsageError):
            build_objective(name, cosine(), parameters)
    with pytest.raises(UsageError, match="infonce"):
        build_objective("infonse", cosine())
