"""Estimators of information: tables against numerical transforms, bounds against discrete distributions, slow versions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.core.plugins import OBJECTIVES
from phylocli.critics import build_critic
from phylocli.objectives import Batch, build_objective, infonce, nce, needs_decoder, nwj
from phylocli.objectives.base.divergences import DIVERGENCES, log_lambert
from phylocli.objectives.base.estimator import estimators
from phylocli.objectives.base.masking import at_most

TABLE = list(DIVERGENCES)
BIASED = ("infonce", "interpolated", "smile", "barber-agakov", "club")  # not the information at the best critic
WITH_RATIO = [name for name in TABLE if name != "total-variation"]
FAMILY = torch.tensor([0, 1, 2, 2, 3, 4])
CLAN = torch.tensor([-1, 7, -1, -1, 7, -1])


def batch() -> Batch:
    return Batch.of_families(FAMILY, CLAN)


def random_scores(n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objective(name: str, **parameters: object) -> torch.nn.Module:
    critic = "gaussian" if needs_decoder(name) else "dot"
    return build_objective(name, build_critic(critic, 3), parameters).double()


# A joint distribution as counts: 23 pairs of 3 kinds of a and 4 kinds of b. With a mask that allows every (i, j), averages
# over pairs are expectations under p(a, b), and averages over negatives are expectations under p(a) p(b), exactly.
COUNTS = torch.tensor([[5, 1, 1, 2], [1, 3, 1, 1], [1, 1, 4, 2]])


def kinds() -> Tensor:
    """Return the kinds of a and b of all pairs, (23, 2)."""
    return COUNTS.nonzero().repeat_interleave(COUNTS.flatten(), dim=0)


def population() -> tuple[Tensor, Tensor, Tensor]:
    """Return the log ratio of all pairs (23, 23), the mask of all, and the joint distribution (3, 4)."""
    joint = COUNTS.double() / COUNTS.sum()
    ratio = joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))
    a, b = kinds().T
    return ratio.log()[a][:, b], torch.ones(23, 23, dtype=torch.bool), joint


def true_divergence(name: str) -> float:
    """Return E_Q[f(p/q)], summed over the cells of the table."""
    joint = population()[2]
    product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float((product * DIVERGENCES[name].f(joint / product)).sum())


def information() -> float:
    log_ratio, _, _ = population()
    return float(log_ratio.diagonal().mean())


@pytest.mark.parametrize("name", TABLE)
def test_conjugates_are_the_legendre_transform_of_the_generator(name: str) -> None:
    row = DIVERGENCES[name]
    # A fine grid over twenty decades stands for all u > 0.
    u = torch.logspace(-10, 10, 400_001, dtype=torch.float64)
    f = row.f(u)
    low, high = max(row.domain[0], -4.0), min(row.domain[1], 4.0)
    for t in torch.linspace(low, high, 13, dtype=torch.float64)[1:-1]:
        expected = (t * u - f).max()
        assert float(row.conjugate(t)) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("name", TABLE)
def test_rows_of_the_table_agree_with_themselves(name: str) -> None:
    row = DIVERGENCES[name]
    v = torch.linspace(-4, 4, 81, dtype=torch.float64)
    t = row.activation(v)
    assert ((t >= row.domain[0]) & (t <= row.domain[1])).all()
    assert (t.diff() > 0).all()  # a higher score means a pair
    assert torch.allclose(row.penalty(v), row.conjugate(t), atol=1e-9)
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert row.f(one).item() == 0
    (slope,) = torch.autograd.grad(row.f(one), one)
    assert float(slope) == pytest.approx(row.critical)  # f'(1); of |u - 1| the middle of the subdifferential
    if row.log_ratio is None:
        return
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    r = x.exp().requires_grad_()
    (derivative,) = torch.autograd.grad(row.f(r).sum(), r)
    assert torch.allclose(row.activation(row.best(x)), derivative)
    assert torch.allclose(row.log_ratio(row.best(x)), x)


@pytest.mark.parametrize("name", TABLE)
def test_the_best_critic_reaches_the_divergence_and_no_other_exceeds_it(name: str) -> None:
    log_ratio, everyone, _ = population()
    fgan = objective("fgan", divergence=name)
    truth = true_divergence(name)
    best = fgan.best_scores(log_ratio)
    assert float(fgan.terms(best, everyone)["divergence"]) == pytest.approx(truth, rel=1e-9)
    a, b = kinds().T
    for seed in range(20):  # any critic, as a function of the kinds of a and b
        table = 2 * torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        value = fgan.terms(table[a][:, b], everyone)["divergence"]
        assert float(value) <= truth + 1e-9


def test_jensen_shannon_and_total_variation_are_the_well_known_figures() -> None:
    _, _, joint = population()
    product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    middle = (joint + product) / 2
    relative = [float(torch.special.xlogy(p, p / middle).nansum()) for p in (joint, product)]
    assert true_divergence("jensen-shannon") == pytest.approx(sum(relative), abs=1e-9)
    assert true_divergence("total-variation") == pytest.approx(float((joint - product).abs().sum()) / 2)
    assert true_divergence("kl") == pytest.approx(information())


@pytest.mark.parametrize("name", [n for n in estimators() if n not in BIASED])
def test_the_best_critic_reads_the_information_of_a_discrete_distribution(name: str) -> None:
    log_ratio, everyone, _ = population()
    for parameters in [{"divergence": d} for d in WITH_RATIO] if name == "fgan" else [{}]:
        tested = objective(name, **parameters).eval()
        scores = tested.best_scores(log_ratio)
        assert float(tested.bound(scores, everyone)) == pytest.approx(information(), abs=1e-9)


def test_smile_without_clipping_is_donsker_varadhan() -> None:
    log_ratio, everyone, _ = population()
    value = objective("smile", clip=60.0).bound(log_ratio, everyone)
    assert float(value) == pytest.approx(information(), abs=1e-9)


def test_smiles_own_loss_is_bounded_where_its_value_is_not() -> None:
    scores, negatives = 3 * random_scores(), batch().negatives()
    tested = objective("smile", clip=1.0, loss="clipped")

    def value(shift: float, term: str) -> float:
        return float(tested.terms(scores + shift, negatives)[term])

    pairs = [min(max(float(scores[i, i]), -1), 1) for i in range(6)]
    others = [min(max(float(s), -1), 1) for s in scores[negatives]]
    slow = sum(pairs) / 6 - math.log(sum(math.exp(s) for s in others) / len(others))
    assert -value(0, "loss") == pytest.approx(slow, abs=1e-9)
    assert value(1000, "bound") > value(0, "bound") + 900
    assert all(abs(value(shift, "loss")) <= 2 for shift in (-1000, 0, 1000))


def coins() -> tuple[Tensor, Tensor, float]:
    """Return a joint distribution over 2 × 2, its log ratio (2, 2) and its information."""
    joint = torch.tensor([[0.42, 0.08], [0.05, 0.45]], dtype=torch.float64)
    log_ratio = (joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))).log()
    return joint, log_ratio, float((joint * log_ratio).sum())


def expectation(tested: torch.nn.Module, table: Tensor, size: int) -> float:
    """Return the expected bound over every batch of `size` pairs of `coins`, for the critic of scores `table`, (2, 2)."""
    joint, free, total = coins()[0], Batch.of_pairs(size).negatives(), 0.0
    for pairs in itertools.product(itertools.product(range(2), range(2)), repeat=size):
        a, b = torch.tensor([k[0] for k in pairs]), torch.tensor([k[1] for k in pairs])
        weight = math.prod(float(joint[k]) for k in pairs)
        total += weight * float(tested.bound(table[a][:, b], free))
    return total


@pytest.mark.parametrize("name", [name for name in estimators() if not needs_decoder(name)])
def test_the_side_is_that_of_the_expected_value_over_all_batches(name: str) -> None:
    _, log_ratio, truth = coins()
    tested = objective(name).eval()
    noise = [torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in range(4)]
    best = tested.best_scores(log_ratio)
    gaps = [expectation(tested, best + 0.7 * other, 3) - truth for other in (torch.zeros(2, 2), *noise)]
    assert tested.side != "lower" or max(gaps) < 1e-12, gaps
    assert tested.side != "neither" or max(gaps) > 0.01, gaps


@pytest.mark.parametrize(
    ("name", "parameters", "size"),
    [
        ("infonce", {"symmetric": False}, 3),
        ("infonce", {}, 3),
        ("infonce", {"negatives": 1}, 3),
        ("nce", {"form": "ranking"}, 3),
        ("interpolated", {"alpha": 0.6}, 3),
        ("interpolated", {"alpha": 1.0}, 3),
        ("interpolated", {"alpha": 0.0}, 3),
    ],
)
def test_the_expected_value_over_all_batches_is_a_lower_bound(name: str, parameters: dict[str, object], size: int) -> None:
    log_ratio, truth = coins()[1:]
    tested = objective(name, **parameters)

    def expected(table: Tensor) -> float:
        return expectation(tested, table, size)

    best = expected(log_ratio)
    assert 0.3 * truth < best <= truth + 1e-12
    if name == "interpolated" and parameters["alpha"] == 0:
        assert best == pytest.approx(truth)  # it is NWJ, which is exact
    for seed in range(4):
        other = log_ratio + 0.7 * torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert expected(other) <= truth + 1e-12


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def test_binary_nce_asks_of_every_pair_and_of_the_noise() -> None:
    scores, negatives = random_scores(), batch().negatives()
    noise = [float(scores[i, j]) for i in range(6) for j in range(6) if negatives[i, j]]
    for ratio in (0.0, 1.0, 7.0):
        nu = ratio or len(noise) / 6
        yes = average([math.log(1 / (1 + nu * math.exp(-float(s)))) for s in scores.diagonal()])
        no = average([math.log(1 - 1 / (1 + nu * math.exp(-s))) for s in noise])
        found = objective("nce", ratio=ratio).terms(scores, negatives)
        assert float(found["loss"]) == pytest.approx(-(yes + nu * no), rel=1e-6)
        assert float(found["bound"]) == pytest.approx(float(nwj.bound(scores + 1, negatives)))


def test_nce_is_minimal_at_the_log_ratio_for_any_noise_ratio() -> None:
    log_ratio, everyone, _ = population()
    for ratio in (0.5, 1.0, 10.0):
        scores = log_ratio.clone().requires_grad_()
        (slope,) = torch.autograd.grad(nce.loss(scores, everyone, ratio=ratio), scores)
        # Cells of one kind of (a, b) move together: their summed slope is 0 at the optimum.
        a, b = kinds().T
        code = a[:, None] * 4 + b[None]
        summed = torch.zeros(12, dtype=torch.float64).index_add(0, code.flatten(), slope.flatten())
        assert summed.abs().max() < 1e-9


def test_nce_with_as_much_noise_as_pairs_is_jensen_shannon_and_its_ranking_form_infonce() -> None:
    scores, negatives = random_scores(), batch().negatives()
    one = objective("nce", ratio=1.0).terms(scores, negatives)
    assert float(one["loss"]) == pytest.approx(float(objective("jsd").terms(scores, negatives)["loss"]))
    ranking = objective("nce", form="ranking").terms(scores, negatives)
    other = objective("infonce", symmetric=False).terms(scores, negatives)
    assert {k: float(ranking[k]) for k in ("loss", "bound")} == pytest.approx(
        {k: float(other[k]) for k in ("loss", "bound")}
    )


def test_fgan_of_kl_is_nwj_and_of_jensen_shannon_is_jsd() -> None:
    scores, negatives = random_scores(), batch().negatives()
    kl = objective("fgan", divergence="kl").terms(scores, negatives)
    assert float(kl["divergence"]) == pytest.approx(float(nwj.bound(scores, negatives)))
    assert float(kl["bound"]) == pytest.approx(float(kl["divergence"]))
    shannon = objective("fgan", divergence="jensen-shannon").terms(scores, negatives)
    assert float(shannon["divergence"]) == pytest.approx(2 * float(objective("jsd").terms(scores, negatives)["divergence"]))


def test_infonce_with_m_negatives_is_the_cross_entropy_of_m_plus_one_candidates() -> None:
    scores = random_scores(7)
    free = Batch.of_pairs(7).negatives()
    for m in (1, 3, 6):
        for symmetric in (False, True):
            total = []
            for matrix in (scores, scores.T) if symmetric else (scores,):
                for i in range(7):
                    candidates = [float(matrix[i, (i + k) % 7]) for k in range(m + 1)]
                    total.append(candidates[0] - math.log(average([math.exp(s) for s in candidates])))
            tested = objective("infonce", negatives=m, symmetric=symmetric)
            found = tested.terms(scores, free)
            assert float(found["bound"]) == pytest.approx(average(total))
            assert float(found["ceiling"]) == pytest.approx(math.log(m + 1)) == tested.ceiling(free)
    assert float(objective("infonce", negatives=50).bound(scores, free)) == pytest.approx(float(infonce.bound(scores, free)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(1, 12))
def test_at_most_m_negatives_are_kept_and_no_homologs(family: list[int], m: int) -> None:
    negatives = Batch.of_families(torch.tensor(family)).negatives()
    kept = at_most(negatives, m)
    assert not (kept & ~negatives).any()
    assert kept.sum(1).tolist() == negatives.sum(1).clamp(max=m).tolist()


@pytest.mark.parametrize("name", TABLE)
def test_homologs_are_never_pushed_apart_by_any_divergence(name: str) -> None:
    scores, negatives = random_scores().requires_grad_(), batch().negatives()
    (slope,) = torch.autograd.grad(objective("fgan", divergence=name).terms(scores, negatives)["loss"], scores)
    itself = torch.eye(6, dtype=torch.bool)
    assert slope[~negatives & ~itself].abs().max() == 0
    assert (slope[negatives] >= 0).all() and (slope[negatives] > 0).any()
    assert (slope[itself] < 0).all()


def test_scores_of_homologs_that_overflow_do_not_reach_the_gradient() -> None:
    for name in ("kl", "hellinger", "jeffrey"):
        scores = random_scores().float()
        scores[2, 3] = scores[3, 2] = 500.0  # one family
        scores.requires_grad_()
        (slope,) = torch.autograd.grad(objective("fgan", divergence=name).terms(scores, batch().negatives())["loss"], scores)
        assert torch.isfinite(slope).all()


CASES = [
    *[(name, {}) for name in estimators() if name not in ("barber-agakov", "mine", "fgan")],
    *[("fgan", {"divergence": name}) for name in TABLE],
    ("mine", {"decay": 0.0}),
    ("nce", {"form": "ranking"}),
    ("infonce", {"negatives": 2}),
    ("interpolated", {"alpha": 1.0}),
    ("smile", {"loss": "clipped", "clip": 0.8}),
]


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_gradients_are_those_of_finite_differences(name: str, parameters: dict[str, object]) -> None:
    negatives = batch().negatives()
    tested = objective(name, **parameters)
    scores = (0.5 * random_scores(seed=4)).requires_grad_()
    if name == "mine":  # its average takes part in the gradient as a constant: the differences must not move it
        tested.terms(scores, negatives)
        tested.eval()
        plain = objective("dv")
        (found,) = torch.autograd.grad(tested.terms(scores, negatives)["loss"], scores)
        (expected,) = torch.autograd.grad(plain.terms(scores, negatives)["loss"], scores)
        assert torch.allclose(found, expected, atol=1e-7)  # the average is kept in single precision
        return
    assert torch.autograd.gradcheck(lambda s: tested.terms(s, negatives)["loss"], scores, atol=1e-6)


def test_mines_gradient_over_many_batches_is_that_of_the_whole_population() -> None:
    """Donsker–Varadhan's batch gradient is biased; with a slow average the mean of MINE's is that of the population."""
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(400, 400, generator=rng, dtype=torch.float64)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    everyone = torch.ones(400, 400, dtype=torch.bool)
    (whole,) = torch.autograd.grad(objective("dv").terms(weight * values, everyone)["loss"], weight)
    found = {}
    for name in ("dv", "mine"):
        tested = objective(name, **({"decay": 0.99} if name == "mine" else {}))
        slopes = []
        for step in range(3000):
            rows = torch.randint(400, (3,), generator=rng)
            part = weight * values[rows][:, torch.randint(400, (3,), generator=rng)]
            # The pairs' term has no bias and would only add noise; it is taken from the population.
            part = part - torch.diag(part.diagonal())
            loss = tested.terms(part, Batch.of_pairs(3).negatives())["loss"]
            (slope,) = torch.autograd.grad(loss, weight)
            if step >= 500:
                slopes.append(float(slope))
        found[name] = average(slopes)
    target = float(whole) + float(values.diagonal().mean())
    assert abs(found["mine"] - target) < 0.3 * abs(found["dv"] - target)


def test_mine_can_be_evaluated_before_it_is_trained() -> None:
    fresh = objective("mine").eval().terms(random_scores(), batch().negatives())
    assert fresh["loss"].item() == pytest.approx(-fresh["bound"].item())


def test_jeffreys_lambert_function_is_scipys_and_holds_at_extremes() -> None:
    from scipy.special import wrightomega

    c = torch.cat([torch.linspace(-300, 300, 1201, dtype=torch.float64), torch.tensor([1e6, 1e12], dtype=torch.float64)])
    assert np.allclose(log_lambert(c).exp().numpy(), wrightomega(c.numpy()), rtol=1e-12)
    inner = torch.linspace(-5, 8, 14, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_lambert, inner)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 24), st.floats(0.01, 1.0), st.floats(0, 80), st.integers(0, 10_000))
def test_no_score_lifts_the_interpolated_bound_over_its_ceiling(n: int, alpha: float, scale: float, seed: int) -> None:
    scores = random_scores(n, seed) * scale + torch.eye(n) * scale
    tested, free = objective("interpolated", alpha=alpha), Batch.of_pairs(n).negatives()
    ceiling = tested.ceiling(free)
    assert ceiling is not None
    assert float(tested.bound(scores, free)) <= ceiling + 1e-9


def test_every_estimator_is_listed_and_reads_scores_alone() -> None:
    expected = {"barber-agakov", "dv", "fgan", "infonce", "interpolated", "jsd", "mine", "mine-f", "nce", "nwj", "smile"}
    expected |= {"club", "leave-one-out"}
    assert expected <= set(estimators()) <= set(OBJECTIVES.names())
    for name in expected:
        tested = objective(name).eval()
        scores = random_scores()
        terms = tested.terms(scores, batch().negatives())
        assert float(terms["bound"]) == pytest.approx(float(tested.bound(scores, batch().negatives())))


def linear_gaussian(n: int = 4000, rho: float = 0.8, d: int = 3) -> tuple[Tensor, Tensor, torch.nn.Module]:
    """Return correlated Gaussians (n, d) and the Gaussian decoder that is exactly their conditional."""
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(n, d, generator=generator, dtype=torch.float64)
    b = rho * a + math.sqrt(1 - rho**2) * torch.randn(n, d, generator=generator, dtype=torch.float64)
    critic = build_critic("gaussian", d).double()

    class Exact(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            log_scale = math.log(1 - rho**2) / 2
            inverse = critic.MOST * math.atanh(log_scale / critic.MOST)
            return torch.cat([rho * x, torch.full_like(x, inverse)], 1)

    critic.decoder = Exact()
    return a, b, critic


def test_barber_agakov_with_the_true_decoder_is_the_information() -> None:
    a, b, critic = linear_gaussian()
    truth = -1.5 * math.log(1 - 0.64)
    entropy = 1.5 * math.log(2 * math.pi * math.e)
    terms = build_objective("barber-agakov", critic, {"entropy": entropy})(a, b, Batch.of_pairs(len(a)))
    assert float(terms["bound"]) == pytest.approx(truth, abs=0.05)
    gain = build_objective("barber-agakov", critic)
    assert float(gain(a, b, Batch.of_pairs(len(a)))["bound"]) == pytest.approx(truth, abs=0.05)
    scores = gain.scores(a[:5], b[:5])
    assert gain.bound(scores, batch().negatives()).item() == pytest.approx(
        float(gain(a[:5], b[:5], Batch.of_pairs(5))["bound"])
    )


def test_decoders_give_normalised_log_densities() -> None:
    torch.manual_seed(1)
    a = torch.randn(3, 4, dtype=torch.float64)
    gaussian = build_critic("gaussian", 4, {"other": 1, "hidden": 8}).double()
    grid = torch.linspace(-40, 40, 200_001, dtype=torch.float64)[:, None]
    mass = gaussian(a, grid).exp().sum(1) * 80 / 200_000
    assert torch.allclose(mass, torch.ones(3, dtype=torch.float64), atol=1e-6)
    wide = build_critic("gaussian", 4, {"other": 2, "hidden": 8}).double()
    b = torch.randn(5, 2, dtype=torch.float64)
    shift, log_scale = wide.decoder(a).split(2, dim=1)
    scale = (wide.MOST * torch.tanh((wide.log_scale + log_scale) / wide.MOST)).exp()
    normal = torch.distributions.Normal(wide.mean + shift, scale)
    assert torch.allclose(wide(a, b), torch.stack([normal.log_prob(x).sum(1) for x in b], dim=1))
    categorical = build_critic("categorical", 4, {"other": 6, "hidden": 0}).double()
    labels = torch.eye(6, dtype=torch.float64)
    assert torch.allclose(categorical(a, labels).exp().sum(1), torch.ones(3, dtype=torch.float64))
    assert categorical.marginal(labels).exp().sum().item() == pytest.approx(1)


def test_barber_agakov_with_frequencies_is_entropy_less_cross_entropy() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    b = torch.eye(3, dtype=torch.float64)[labels]
    a = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    critic = build_critic("categorical", 4, {"other": 3, "hidden": 0}).double()
    frequency = torch.bincount(labels).double() / 6
    with torch.no_grad():
        critic.frequency.copy_(frequency.log())
    entropy = float(torch.special.entr(frequency).sum())
    loss = torch.nn.functional.cross_entropy(critic.decoder(a) + critic.frequency, labels)
    value = build_objective("barber-agakov", critic)(a, b, batch())["bound"]
    assert float(value) == pytest.approx(entropy - loss.item())
    given_entropy = build_objective("barber-agakov", critic, {"entropy": entropy})(a, b, batch())["bound"]
    assert float(given_entropy) == pytest.approx(float(value))


def test_the_marginal_of_a_decoder_is_the_likeliest() -> None:
    generator = torch.Generator().manual_seed(0)
    b = 3 + 0.2 * torch.randn(500, 2, generator=generator, dtype=torch.float64)
    gaussian = build_critic("gaussian", 4, {"other": 2}).double()
    gaussian.fit_marginal(b)
    expected = torch.distributions.Normal(b.mean(0), b.std(0, correction=0)).log_prob(b).sum(1)
    assert torch.allclose(gaussian.marginal(b), expected)
    labels = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 0, 0, 2])]
    categorical = build_critic("categorical", 4, {"other": 3}).double()
    categorical.fit_marginal(labels)
    assert torch.allclose(categorical.marginal(torch.eye(3).double()).exp(), torch.tensor([3.5, 0.5, 1.5]).double() / 5.5)


@pytest.mark.parametrize("name", ["bilinear", "separable", "concatenated", "gaussian", "categorical"])
def test_critics_take_sides_of_different_width(name: str) -> None:
    torch.manual_seed(0)
    scores = build_critic(name, 7, {"other": 3})(torch.randn(4, 7), torch.randn(5, 3))
    assert scores.shape == (4, 5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fgan", {"divergence": "chi"}),
        ("nce", {"ratio": -1.0}),
        ("nce", {"form": "ternary"}),
        ("infonce", {"negatives": -1}),
        ("mine", {"decay": 1.0}),
        ("smile", {"loss": "nwj"}),
    ],
)
def test_wrong_parameters_are_usage_errors(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        objective(name, **parameters)


def test_unreadable_inputs_are_errors() -> None:
    with pytest.raises(UsageError, match="total-variation"):
        objective("fgan", divergence="total-variation").bound(random_scores(), batch().negatives())
    with pytest.raises(UsageError, match="decoder"):
        build_objective("barber-agakov", build_critic("cosine", 4))
