"""Objectives with more than two vectors: against naive implementations, homologs, and state between steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.objectives import Batch, build_objective
from phylocli.objectives.base.memory_bank import MemoryBank
from phylocli.objectives.base.sinkhorn import sinkhorn
from phylocli.objectives.infomax import information

N, D, T, L = 6, 5, 4, 7
FAMILY = [0, 1, 2, 2, 3, 4]
CLAN = [-1, 7, -1, -1, 7, -1]  # families 1 and 3 are of one clan


def may_contrast(i: int, j: int) -> bool:
    return FAMILY[i] != FAMILY[j] and not (CLAN[i] >= 0 and CLAN[i] == CLAN[j])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(**more: object) -> Batch:
    return Batch.of_families(torch.tensor(FAMILY), torch.tensor(CLAN), **more)


def pair() -> tuple[Tensor, Tensor]:
    a = normal(N, D, seed=1)
    return a, 0.7 * a + 0.5 * normal(N, D, seed=2)


def build(name: str, critic: str = "cosine", **parameters: object) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"temperature": 0.3} if critic == "cosine" else {}
    made = build_objective(name, build_critic(critic, D, options), parameters, dimension=D, features=D)
    return made.double()


def cosine(x: Tensor, y: Tensor) -> float:
    return float(x @ y / x.norm() / y.norm()) / 0.3


def log_softmax_of_first(scores: list[float]) -> float:
    return scores[0] - math.log(sum(math.exp(s) for s in scores))


# --- the queue and MoCo


def test_a_queue_keeps_the_last_vectors_with_their_codes() -> None:
    queue = MemoryBank(5, 2)
    for turn in range(4):
        vectors = torch.full((3, 2), float(turn))
        queue.add(
            vectors, Batch.of_families(torch.tensor([10 * turn, 10 * turn + 1, 10 * turn + 2]), torch.tensor([-1, -1, turn]))
        )
        assert queue.filled().sum() == min(5, 3 * turn)  # nothing enters before the end of the step
        queue.flush()
    assert sorted(queue.family.tolist()) == [21, 22, 30, 31, 32]
    assert sorted(queue.vectors[:, 0].tolist()) == [2, 2, 3, 3, 3]
    at = dict(zip(queue.family.tolist(), queue.clan.tolist(), strict=True))
    assert at == {21: -1, 22: 2, 30: -1, 31: -1, 32: 3}
    queue.add(torch.arange(16.0).view(8, 2), Batch.of_pairs(8))
    queue.flush()
    assert sorted(queue.family.tolist()) == [3, 4, 5, 6, 7]


def test_homologs_in_the_bank_and_empty_slots_are_not_negatives() -> None:
    queue = MemoryBank(4, 2)
    queue.add(torch.ones(3, 2), Batch.of_families(torch.tensor([2, 9, 8]), torch.tensor([-1, 7, 5])))
    queue.flush()
    expected = [[True, True, True, False], [True, False, True, False], [False, True, True, False]]
    assert queue.negatives(batch())[:3].tolist() == expected


def test_moco_is_the_cross_entropy_among_the_queues_keys() -> None:
    objective = build("moco", queue=8)
    a, b = pair()
    first = objective(a, b, batch())
    assert first["loss"].item() == pytest.approx(0)  # the queue is empty, so there is nothing to tell apart
    objective.after_step()
    a2, b2 = normal(N, D, seed=5), normal(N, D, seed=6)
    found = objective(a2, b2, batch())["loss"]
    total = 0.0
    for i in range(N):
        scores = [cosine(a2[i], b2[i])] + [cosine(a2[i], b[j]) for j in range(N) if may_contrast(i, j)]
        total -= log_softmax_of_first(scores) / N
    assert found.item() == pytest.approx(total, rel=1e-6)


def test_moco_sends_no_gradient_to_keys_and_its_queue_is_in_the_checkpoint() -> None:
    objective = build("moco", queue=8)
    a, b = (v.requires_grad_() for v in pair())
    objective(a, b, batch())
    objective.after_step()
    objective(a, b, batch())["loss"].backward()
    assert a.grad is not None and a.grad.abs().sum() > 0
    assert b.grad is None
    assert {"queue.vectors", "queue.family", "queue.clan", "queue.place"} <= set(objective.state_dict())


def test_evaluating_moco_puts_nothing_in_the_queue() -> None:
    objective = build("moco", queue=8).eval()
    objective(*pair(), batch())
    objective.after_step()
    assert not objective.queue.filled().any()


# --- SwAV


def slow_sinkhorn(scores: np.ndarray, epsilon: float, iterations: int, mass: np.ndarray) -> np.ndarray:
    plan = np.exp(scores / epsilon)
    n, k = plan.shape
    for _ in range(iterations):
        for column in range(k):
            plan[:, column] *= (1 / k) / sum(plan[row, column] for row in range(n))
        for row in range(n):
            plan[row] *= mass[row] / sum(plan[row, column] for column in range(k))
    return plan / mass[:, None]


@pytest.mark.parametrize("weighted", [False, True])
def test_sinkhorn_is_the_loop_that_scales_columns_and_rows(weighted: bool) -> None:
    scores = normal(9, 4)
    mass = (
        torch.rand(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        if weighted
        else torch.ones(9).double()
    )
    mass = mass / mass.sum()
    for iterations in (1, 3, 50):
        found = sinkhorn(scores, 0.3, iterations, mass if weighted else None)
        np.testing.assert_allclose(found, slow_sinkhorn(scores.numpy(), 0.3, iterations, mass.numpy()), rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sinkhorn_leaves_samples_without_mass_out(dtype: torch.dtype) -> None:
    scores, mass = normal(9, 4).to(dtype), torch.tensor([1, 0, 2, 3, 0, 1, 1, 2, 0]).to(dtype) / 10
    there = mass > 0
    for iterations in (1, 3, 50):
        found, expected = sinkhorn(scores, 0.05, iterations, mass), sinkhorn(scores[there], 0.05, iterations, mass[there])
        assert torch.allclose(found[there], expected, rtol=1e-4)


def test_sinkhorn_is_doubly_stochastic_in_the_end_and_in_float32_too() -> None:
    scores = (
        torch.nn.functional.normalize(normal(40, 8), dim=1) @ torch.nn.functional.normalize(normal(10, 8, seed=1), dim=1).T
    )
    for x, tolerance in ((scores, 1e-9), (scores.float(), 1e-4)):
        codes = sinkhorn(x, 0.05, 300)
        assert torch.allclose(codes.sum(1), torch.ones(40, dtype=x.dtype), atol=tolerance)
        assert torch.allclose(codes.sum(0), torch.full((10,), 4, dtype=x.dtype), atol=40 * tolerance)


def test_sinkhorn_tends_to_the_optimal_transport_plan() -> None:
    scores = normal(7, 7, seed=4)
    rows, columns = linear_sum_assignment(scores.numpy(), maximize=True)
    codes = sinkhorn(scores, 0.005, 5000)
    expected = torch.zeros(7, 7, dtype=torch.float64)
    expected[rows, columns] = 1
    assert torch.allclose(codes, expected, atol=1e-3)


def test_swav_predicts_each_large_views_codes_from_all_other_views() -> None:
    objective = build("swav", prototypes=3, freeze=0, homolog_weight=False)
    views = [normal(N, D, seed=s) for s in range(4)]
    found = objective(views[0], views[1], batch(more=views[2:]))["loss"]
    z = [v / v.norm(dim=1, keepdim=True) for v in views]
    centres = objective.prototypes.detach()
    total, count = 0.0, 0
    for s in (0, 1):
        codes = slow_sinkhorn((z[s] @ centres.T).numpy(), 0.05, 3, np.full(N, 1 / N))
        for t in range(4):
            if t == s:
                continue
            count += 1
            for i in range(N):
                logits = [float(z[t][i] @ c) / 0.1 for c in centres]
                log_sum = math.log(sum(math.exp(x) for x in logits))
                total -= sum(q * (x - log_sum) for q, x in zip(codes[i], logits, strict=True)) / N
    assert found.item() == pytest.approx(total / count, rel=1e-9)


def test_swavs_codes_take_no_gradient() -> None:
    objective = build("swav", prototypes=3, freeze=0)
    a, b = (v.requires_grad_() for v in pair())
    terms = objective(a, b, batch())
    (gradient,) = torch.autograd.grad(terms["loss"], a)
    z, centres = torch.nn.functional.normalize(a, dim=1), objective.prototypes
    code = objective._codes(
        1, torch.nn.functional.normalize(b, dim=1), torch.nn.functional.normalize(b, dim=1) @ centres.T, batch()
    )
    half = -(code * torch.log_softmax(z @ centres.T / 0.1, 1)).sum(1).mean() / 2
    assert torch.allclose(gradient, torch.autograd.grad(half, a)[0], atol=1e-12)


def test_prototypes_stay_for_the_first_steps_and_have_length_one() -> None:
    objective = build("swav", prototypes=3, freeze=2)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=0.1, weight_decay=0.1)
    start = objective.prototypes.detach().clone()
    for step in range(4):
        optimiser.zero_grad()
        a, b = (v.requires_grad_() for v in pair())
        objective(a, b, batch())["loss"].backward()
        optimiser.step()
        objective.after_step()
        assert torch.allclose(objective.prototypes.norm(dim=1), torch.ones(3).double())
        assert torch.allclose(objective.prototypes, start) == (step < 2)


def test_homologs_share_the_mass_of_one_sample() -> None:
    objective = build("swav", prototypes=2, homolog_weight=True, iterations=500)
    # Five members of one family and one of another, each like one prototype: balance must not split the family.
    centres = torch.eye(2, D, dtype=torch.float64)
    objective.prototypes.data.copy_(centres)
    a = torch.stack([centres[0]] * 5 + [centres[1]])
    codes = Batch.of_families(torch.tensor([0] * 5 + [1]), torch.full((6,), -1))
    scores = a @ centres.T
    together = objective._codes(0, a, scores, codes)
    objective.homolog_weight = False
    apart = objective._codes(0, a, scores, codes)
    assert (together[:5, 0] > 0.99).all()
    assert torch.allclose(apart[:5, 0], torch.full((5,), 0.6, dtype=torch.float64), atol=0.02)  # 3 of 6 samples a prototype


def test_swavs_queue_takes_part_in_the_codes_but_not_in_the_loss() -> None:
    objective = build("swav", prototypes=3, freeze=0, queue=12, homolog_weight=False)
    a, b = pair()
    alone = build("swav", prototypes=3, freeze=0, homolog_weight=False)
    assert objective(a, b, batch())["loss"].item() == pytest.approx(alone(a, b, batch())["loss"].item())
    objective.after_step()
    alone.load_state_dict({k: v for k, v in objective.state_dict().items() if "queue" not in k})
    z = [torch.nn.functional.normalize(v, dim=1) for v in (normal(N, D, seed=8), a)]
    found = objective._codes(0, z[0], z[0] @ objective.prototypes.T, batch())
    both = torch.cat([z[0], z[1]]) @ objective.prototypes.T
    expected = slow_sinkhorn(both.detach().numpy(), 0.05, 3, np.full(2 * N, 1 / (2 * N)))[:N]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# --- hard negatives and averaged positives


def test_supervised_simcse_contrasts_with_every_hard_negative() -> None:
    a, b = pair()
    hard = normal(N, D, seed=7)
    for weight in (1.0, 2.5):
        total = 0.0
        for i in range(N):
            terms = [math.exp(cosine(a[i], b[j])) for j in range(N) if j == i or may_contrast(i, j)]
            terms += [(weight if i == j else 1) * math.exp(cosine(a[i], hard[j])) for j in range(N)]
            total -= (cosine(a[i], b[i]) - math.log(sum(terms))) / N
        found = build("simcse-supervised", weight=weight)(a, b, batch(more=[hard]))
        assert found["loss"].item() == pytest.approx(total, rel=1e-6)
    with pytest.raises(UsageError, match="decoy"):
        build("simcse-supervised")(a, b, batch())


def test_declutr_is_nt_xent_with_the_mean_of_the_positives() -> None:
    a, b = pair()
    more = [normal(N, D, seed=s) for s in (7, 8)]
    z = torch.cat([a, (b + more[0] + more[1]) / 3])
    total = 0.0
    for i in range(2 * N):
        partner = (i + N) % (2 * N)
        others = [k for k in range(2 * N) if k != i and may_contrast(i % N, k % N)]
        total -= log_softmax_of_first([cosine(z[i], z[partner])] + [cosine(z[i], z[k]) for k in others]) / (2 * N)
    assert build("declutr")(a, b, batch(more=more))["loss"].item() == pytest.approx(total, rel=1e-6)


# --- segments


def segmented() -> Batch:
    present = torch.tensor([[True] * n + [False] * (T - n) for n in (4, 3, 4, 1, 2, 4)])
    return batch(segments=normal(N, T, D, seed=3), present=present)


def slow_ahead(
    objective: torch.nn.Module, made: Batch, score: object, first: int, steps: int, *, everywhere: bool, within: bool
) -> float:
    z, present = made.segments, made.present
    total, count = 0.0, 0
    for i in range(N):
        context = objective.reader(z[i : i + 1])[0][0]
        for t in range(first - 1, T):
            for k in range(1, steps + 1):
                if t + k >= T or not present[i, t + k]:
                    continue
                scores = [score(k, context[t], z[i, t + k])]
                for j in range(N):
                    for u in range(T):
                        homologs = not may_contrast(i, j)
                        if not present[j, u] or (j == i and u == t + k) or (homologs and not (within and j == i)):
                            continue
                        if j == i or everywhere or u == t + k:
                            scores.append(score(k, context[t], z[j, u]))
                total -= log_softmax_of_first(scores)
                count += 1
    return total / count


@pytest.mark.parametrize("within", [False, True])
def test_cpc_identifies_the_next_segment_among_those_of_other_sequences(within: bool) -> None:
    objective = build("cpc", context=6, steps=2, within=within)

    def score(k: int, context: Tensor, segment: Tensor) -> float:
        return (segment @ objective.predict[k - 1].weight @ context).item()

    expected = slow_ahead(objective, segmented(), score, 1, 2, everywhere=True, within=within)
    found = objective(torch.empty(N, 0), torch.empty(N, 0), segmented())
    assert found["loss"].item() == pytest.approx(expected, rel=1e-9)
    assert found["bound"] <= found["ceiling"]


@pytest.mark.parametrize("critic", ["dot", "bilinear"])
def test_cpcprot_identifies_the_next_patch_among_those_at_its_position(critic: str) -> None:
    objective = build("cpcprot", critic, steps=2, first=2)

    def score(k: int, context: Tensor, segment: Tensor) -> float:
        return objective.critic(context[None], segment[None]).item()

    expected = slow_ahead(objective, segmented(), score, 2, 2, everywhere=False, within=False)
    found = objective(torch.empty(N, 0), torch.empty(N, 0), segmented())
    assert found["loss"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["cpc", "cpcprot"])
def test_the_context_never_sees_what_it_predicts_and_padding_means_nothing(name: str) -> None:
    objective = build(name, "dot")
    made = segmented()
    changed = made.segments.clone()
    changed[~made.present] = 100.0
    nothing = torch.empty(N, 0)
    again = objective(nothing, nothing, batch(segments=changed, present=made.present))["loss"]
    assert again.item() == pytest.approx(objective(nothing, nothing, made)["loss"].item(), rel=1e-12)
    z = made.segments.clone().requires_grad_()
    context = objective.reader(z)[0]
    (gradient,) = torch.autograd.grad(context[:, 1].sum(), z)
    assert gradient[:, 2:].abs().max() == 0 and gradient[:, :2].abs().min() > 0


@pytest.mark.parametrize("name", ["cpc", "cpcprot"])
def test_sequences_of_one_segment_give_nothing_to_predict(name: str) -> None:
    z = normal(N, 1, D).requires_grad_()
    made = batch(segments=z, present=torch.ones(N, 1, dtype=torch.bool))
    terms = build(name, "dot")(torch.empty(N, 0), torch.empty(N, 0), made)
    terms["loss"].backward()
    assert terms["loss"].item() == 0


# --- Deep InfoMax


def with_residues() -> tuple[Tensor, Batch]:
    lengths = (7, 3, 5, 1, 6, 2)
    mask = torch.tensor([[True] * n + [False] * (L - n) for n in lengths])
    return normal(N, D, seed=4), batch(residues=normal(N, L, D, seed=5), mask=mask)


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize("estimator", ["jsd", "dv", "infonce"])
def test_infomax_estimates_are_averages_over_residues_then_over_sequences(estimator: str) -> None:
    a, made = with_residues()
    scores = torch.einsum("nd,mld->nml", a, made.residues)
    lengths = made.mask.sum(1).tolist()
    free = [(i, j) for i in range(N) for j in range(N) if may_contrast(i, j)]
    own = [[float(scores[i, i, r]) for r in range(lengths[i])] for i in range(N)]
    against = {(i, j): [float(scores[i, j, r]) for r in range(lengths[j])] for i, j in free}
    if estimator == "jsd":
        expected = average([average([-softplus(-s) for s in row]) for row in own])
        expected -= average([average([softplus(s) for s in row]) for row in against.values()])
    elif estimator == "dv":
        expected = average([average(row) for row in own])
        expected -= math.log(average([average([math.exp(s) for s in row]) for row in against.values()]))
    else:
        expected = 0.0
        for i in range(N):
            others = [s for (k, j), row in against.items() if k == i for s in row]
            expected += average([log_softmax_of_first([s, *others]) for s in own[i]]) / N
    mask = torch.tensor([[may_contrast(i, j) for j in range(N)] for i in range(N)])
    assert information(scores, made.mask, mask, estimator).item() == pytest.approx(expected, rel=1e-9)


def test_infomax_weighs_its_three_terms() -> None:
    a, made = with_residues()
    parts = {}
    for name in ("glob", "local", "prior"):
        weights = {"glob": 0.0, "local": 0.0, "prior": 0.0, name: 1.0}
        if name == "prior":
            weights["local"] = 1.0
        torch.manual_seed(1)
        parts[name] = build("infomax", "dot", **weights)(a, a, made)
    assert parts["glob"]["loss"].item() == pytest.approx(-parts["glob"]["global"].item())
    assert parts["local"]["loss"].item() == pytest.approx(-parts["local"]["local"].item())
    prior = parts["prior"]
    assert prior["loss"].item() == pytest.approx(prior["prior"].item() - prior["local"].item())


def test_the_game_with_the_prior_has_opposite_gradients() -> None:
    a, made = with_residues()
    objective = build("infomax", "dot", glob=0.0, local=1e-9, prior=1.0)
    a.requires_grad_()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    objective(a, a, made)["loss"].backward()
    torch.set_rng_state(state)
    other = a.detach().clone().requires_grad_()
    drawn = torch.rand_like(other)
    d = objective.discriminator
    value = torch.log(torch.sigmoid(d(drawn))).mean() + torch.log(1 - torch.sigmoid(d(torch.sigmoid(other)))).mean()
    gradients = torch.autograd.grad(value, [other, *d.parameters()])
    assert torch.allclose(a.grad, gradients[0], atol=1e-8)  # the encoder minimises it
    for weight, gradient in zip(d.parameters(), gradients[1:], strict=True):
        assert torch.allclose(weight.grad, -gradient, atol=1e-8)  # the discriminator maximises it


def test_the_best_discriminator_of_a_uniform_encoder_is_at_a_loss() -> None:
    torch.manual_seed(0)
    objective = build("infomax", "dot", glob=0.0, local=1e-9, prior=1.0)
    uniform = torch.rand(512, D, dtype=torch.float64)
    logits = (uniform / (1 - uniform)).log()
    optimiser = torch.optim.Adam(objective.discriminator.parameters(), lr=1e-3)
    for _ in range(50):
        value, learned = objective._game(logits)
        optimiser.zero_grad()
        learned.backward()
        optimiser.step()
    assert value.item() == pytest.approx(-2 * math.log(2), abs=0.05)  # Goodfellow et al. 2014, theorem 1
    spread = objective._game(torch.zeros(512, D, dtype=torch.float64))
    for _ in range(200):
        spread = objective._game(torch.zeros(512, D, dtype=torch.float64))
        optimiser.zero_grad()
        spread[1].backward()
        optimiser.step()
    assert spread[0].item() > -0.5


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("moco", {"momentum": 1.0}),
        ("moco", {"queue": 0}),
        ("swav", {"epsilon": 0.0}),
        ("simcse-supervised", {"weight": 0.0}),
        ("cpc", {"steps": 0}),
        ("infomax", {"estimator": "kl"}),
        ("infomax", {"glob": 0.0, "local": 0.0}),
        ("moco", {"dimension": 3}),
    ],
    ids=str,
)
def test_wrong_parameters_are_usage_errors(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build(name, **parameters)


# --- for all of them: homologs, and gradients


def loss_of(name: str, a: Tensor, b: Tensor, family: Tensor, clan: Tensor, extra: Tensor) -> Tensor:
    torch.manual_seed(0)
    objective = build(name, "dot", **({"queue": 16} if name == "moco" else {}))
    present = torch.ones(len(a), T, dtype=torch.bool)
    more = [] if name in ("moco", "infomax") else [extra[:, 0]]
    made = Batch.of_families(family, clan, more=more, residues=extra, mask=present, segments=extra, present=present)
    if name == "moco":
        objective(b, b, made)
        objective.after_step()
    torch.manual_seed(1)
    return objective(a, b, made)["loss"]


@pytest.mark.parametrize("name", ["moco", "simcse-supervised", "declutr", "cpc", "cpcprot", "infomax"])
def test_without_homologs_a_batch_is_contrasted_and_those_of_family_or_clan_change_the_loss_alike(name: str) -> None:
    a, b = pair()
    extra = normal(N, T, D, seed=9)
    none = torch.full((N,), -1)
    free = loss_of(name, a, b, torch.arange(N), none, extra).item()
    by_family = loss_of(name, a, b, torch.tensor([0, 1, 1, 1, 4, 5]), none, extra).item()
    by_clan = loss_of(name, a, b, torch.arange(N), torch.tensor([-1, 3, 3, 3, -1, -1]), extra).item()
    assert by_family == pytest.approx(by_clan, rel=1e-12)
    assert by_family != pytest.approx(free, rel=1e-6)


@pytest.mark.parametrize("name", ["moco", "simcse-supervised", "declutr", "cpc", "cpcprot"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    a, b = pair()
    extra = normal(N, T, D, seed=9)
    family, clan = torch.tensor(FAMILY), torch.tensor(CLAN)
    a.requires_grad_(name not in ("cpc", "cpcprot"))
    extra.requires_grad_(name in ("cpc", "cpcprot"))
    assert torch.autograd.gradcheck(
        lambda x, y: loss_of(name, x, b, family, clan, y), (a, extra), eps=1e-6, atol=1e-6, fast_mode=True
    )
