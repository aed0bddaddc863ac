"""The hybrid bound: its pure cases, its background, and closed forms of a linear Gaussian model."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from phylocli.core.alphabet import MISSING, encode_tokens
from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.decoders import GaussianDecoder
from phylocli.objectives import Batch, build_objective, requirements_of
from phylocli.objectives.base import profile
from phylocli.objectives.base.background import LONGEST, Unigram
from phylocli.objectives.base.batch import Decoded
from phylocli.objectives.base.profile import FamilyProfiles, match_states
from phylocli.objectives.hybrid import Objective

N, D = 8, 5


def hybrid(alpha: float, contrast: str = "infonce", **parameters: Any) -> Objective:
    critic = build_critic("cosine", D, {"temperature": 0.3})
    given = {"alpha": alpha, "contrast": contrast, "contrast_parameters": parameters}
    found = build_objective("hybrid", critic, given, dimension=D, features=D).double()
    assert isinstance(found, Objective)
    return found


def vectors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(N, D, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return a, b


def decoded() -> Decoded:
    generator = torch.Generator().manual_seed(2)
    letters = torch.randint(-1, 20, (N, 30), generator=generator)
    nats = -torch.rand(N, generator=generator, dtype=torch.float64) * 60
    return Decoded(nats.requires_grad_(), letters, torch.full((N,), 30))


def batch() -> Batch:
    return Batch.of_families(torch.tensor([0, 0, 1, 2, 3, 4, 5, 6]), decoded=decoded())


@pytest.mark.parametrize("contrast", ["infonce", "nt-xent", "jsd"])
def test_alpha_zero_is_the_contrastive_objective_exactly(contrast: str) -> None:
    (a, b), given = vectors(), batch()
    pure = build_objective(contrast, build_critic("cosine", D, {"temperature": 0.3})).double()
    found, expected = hybrid(0.0, contrast)(a, b, given), pure(a, b, given)
    assert torch.equal(found["loss"], expected["loss"])
    x = given.decoded
    assert x is not None
    mine = torch.autograd.grad(found["loss"], [a, b, x.log_likelihood], allow_unused=True)
    theirs = torch.autograd.grad(expected["loss"], [a, b])
    assert all(map(torch.equal, mine[:2], theirs)) and mine[2] is None
    assert all(torch.equal(found[f"contrast_{name}"], value) for name, value in expected.items())


def test_alpha_one_is_the_decoder_alone_exactly() -> None:
    (a, b), given = vectors(), batch()
    terms = hybrid(1.0)(a, b, given)
    x = given.decoded
    assert x is not None
    slopes = torch.autograd.grad(terms["loss"], [a, b, x.log_likelihood], allow_unused=True)
    assert slopes[0] is None and slopes[1] is None
    torch.testing.assert_close(slopes[2], torch.full((N,), -1 / N, dtype=torch.float64))
    torch.testing.assert_close(terms["bound"], terms["decoded"])
    assert not requirements_of(hybrid(1.0)).negatives and requirements_of(hybrid(0.5)).negatives


def test_the_bound_is_the_weighted_sum_of_its_parts_and_stays_below_its_ceiling() -> None:
    for alpha in (0.0, 0.3, 1.0):
        terms = hybrid(alpha)(*vectors(), batch())
        for name, part in (("bound", "decoded"), ("ceiling", "decoded_ceiling")):
            expected = alpha * terms[part] + (1 - alpha) * terms[f"contrast_{name}"]
            assert float(terms[name]) == pytest.approx(float(expected), rel=1e-12)
        assert terms["bound"] <= terms["ceiling"]
        assert terms["decoded"] <= terms["decoded_ceiling"]


def test_a_perfect_decoder_reaches_the_ceiling() -> None:
    given = batch()
    assert given.decoded is not None
    given.decoded.log_likelihood = torch.zeros(N, dtype=torch.float64)
    terms = hybrid(1.0)(*vectors(), given)
    assert float(terms["decoded"]) == pytest.approx(float(terms["decoded_ceiling"]))
    assert float(terms["decoded_perplexity"]) == 1


def test_the_background_has_the_frequencies_of_the_sequences_it_counted() -> None:
    background = Unigram().double()
    letters = torch.tensor([[0, 0, 1, -1], [0, 1, -1, -1]])
    lengths = torch.tensor([4, 2])  # the first has an unknown residue
    before = background(letters, lengths)
    expected = [-3 * math.log(20) - math.log(LONGEST), -2 * math.log(20) - math.log(LONGEST)]
    assert before.tolist() == pytest.approx(expected)
    for _ in range(5000):
        background.count(letters, lengths)
    entropy = [2 * math.log(3 / 5) + math.log(2 / 5) + math.log(1 / 2), math.log(3 / 5) + math.log(2 / 5) + math.log(1 / 2)]
    assert background(letters, lengths).tolist() == pytest.approx(entropy, abs=1e-3)
    every = torch.arange(20)[:, None].expand(20, 1)
    total = background(every, torch.ones(20, dtype=torch.int64)).exp().sum() * LONGEST * 10001  # none has length 1
    assert float(total) == pytest.approx(1), "letters are normalised"


def test_the_background_is_counted_in_training_only() -> None:
    objective = hybrid(0.5).eval()
    before = objective.background.letter_counts.clone()
    objective(*vectors(), batch())
    assert torch.equal(objective.background.letter_counts, before)
    objective.train()(*vectors(), batch())
    assert int(objective.background.length_counts.sum()) == N


def test_counts_grow_beyond_the_integers_that_float32_has() -> None:
    background = Unigram()
    for counts in (background.letter_counts, background.length_counts):
        counts[:] = 0
        counts[1] = 2**24
    for _ in range(3):
        background.count(torch.tensor([[1], [2]]), torch.tensor([2, 3]))
    assert background.letter_counts[1:3].tolist() == background.length_counts[1:3].tolist() == [2**24 + 3, 3]
    nats = background(torch.tensor([[1]]), torch.tensor([2]))
    expected = math.log((2**24 + 3.05) / (2**24 + 7)) + math.log((2**24 + 3 + 1 / LONGEST) / (2**24 + 7))
    assert float(nats) == pytest.approx(expected, abs=1e-5)


def test_both_parts_are_the_information_of_a_linear_gaussian_model() -> None:
    """x is normal and z = A x + noise: the best decoder is linear, and the best critic is the log density ratio."""
    torch.manual_seed(0)
    n, d, k = 1200, 6, 3
    a = torch.randn(k, d, dtype=torch.float64)
    noise = 0.8
    x = torch.randn(n, d, dtype=torch.float64)
    z = x @ a.T + noise * torch.randn(n, k, dtype=torch.float64)
    covariance = a @ a.T + noise**2 * torch.eye(k, dtype=torch.float64)
    information = float(torch.logdet(covariance) - k * 2 * math.log(noise)) / 2
    gain = a.T @ torch.linalg.inv(covariance)  # E[x | z] = gain · z
    remaining = torch.eye(d, dtype=torch.float64) - gain @ a
    # The covariance of x given z is not a multiple of the identity: decode in its principal axes, scaled to unit variance.
    scale = torch.linalg.cholesky(torch.linalg.inv(remaining)).T
    mean = nn.Linear(k, d, bias=False).double()
    mean.weight = nn.Parameter(scale @ gain)
    decoder = GaussianDecoder(mean).double()
    log_likelihood = decoder.log_likelihood(z, x @ scale.T) + torch.logdet(scale)
    log_background = -x.square().sum(1) / 2 - d / 2 * math.log(2 * math.pi)

    class Optimal(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            """log p(z | x) - log p(z) of x (N, D) and z (M, K)."""
            given = torch.cdist(second, first @ a.T).T.square() / noise**2
            alone = torch.einsum("mk,kl,ml->m", second, torch.linalg.inv(covariance), second)
            return information + (alone[None] - given) / 2

    objective = Objective(Optimal(), dimension=k, features=d, alpha=0.25, contrast="infonce")
    given = Batch.of_families(torch.arange(n), decoded=Decoded(log_likelihood, log_background=log_background))
    with torch.no_grad():
        terms = objective(x, z, given)
    for name in ("decoded", "contrast_bound", "bound"):
        assert float(terms[name]) == pytest.approx(information, abs=0.15), name
    assert "decoded_perplexity" not in terms


def test_the_squared_loss_has_the_gradient_of_squared_errors() -> None:
    mean = nn.Linear(3, 4)
    z, x = torch.randn(6, 3), torch.randn(6, 4)
    loss = -GaussianDecoder(mean, sigma=2**-0.5).log_likelihood(z, x).sum()
    squared = (mean(z) - x).square().sum()
    for mine, theirs in zip(
        torch.autograd.grad(loss, mean.parameters()), torch.autograd.grad(squared, mean.parameters()), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    normal = torch.distributions.Normal(mean(z), 0.7)
    torch.testing.assert_close(GaussianDecoder(mean, sigma=0.7).log_likelihood(z, x), normal.log_prob(x).sum(1))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"alpha": float("nan")}, "nan"),
        ({"contrast": "hybrid"}, "its own"),
        ({"contrast": "cpc"}, "cannot be the contrastive part"),
        ({"contrast": "infonse"}, "unknown objective"),
        ({"contrast_parameters": {"queue": 3}}, "no parameter 'queue'"),
    ],
)
def test_parameters_that_make_no_bound_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_objective("hybrid", build_critic("cosine", D), parameters, dimension=D, features=D)


def test_an_undecoded_batch_is_an_error() -> None:
    with pytest.raises(TypeError, match="decoder=True"):
        hybrid(0.5)(*vectors(), Batch.of_pairs(N))


def test_a_queue_and_a_momentum_encoder_are_those_of_the_contrastive_part() -> None:
    objective = hybrid(0.5, "moco", queue=20, momentum=0.9)
    needs = requirements_of(objective)
    assert needs.momentum == 0.9 and needs.decoder and not needs.negatives
    objective(*vectors(), batch())
    objective.after_step()
    queue = objective.contrast.get_buffer("queue.family")
    assert int((queue >= 0).sum()) == N


def profiles() -> FamilyProfiles:
    """Of a family of three match states and one of two."""
    rng = np.random.default_rng(0)
    return FamilyProfiles([rng.integers(0, 4, (6, m)).astype(np.uint8) for m in (3, 2)])


def by_paths(given: FamilyProfiles, family: int, letters: list[int]) -> float:
    """The probability of a sequence, as a sum over all sequences of states."""
    m = int(given.matches[family])
    stop = 1 - 0.5 ** (1 / m)
    states = [("M", k) for k in range(m)] + [("I", k) for k in range(m)]

    def deleted(k: int, j: int) -> float:
        if j == k + 1:
            return 1 - profile.DELETE_OPEN
        return profile.DELETE_OPEN * profile.DELETE_EXTEND ** (j - k - 2) * (1 - profile.DELETE_EXTEND)

    def move(a: tuple[str, int], b: tuple[str, int]) -> float:
        (kind, k), (other, j) = a, b
        if kind == "M":
            on = 1 - stop
            if other == "I":
                return on * profile.INSERT_OPEN * (j == k)
            return on * (1 - profile.INSERT_OPEN) * deleted(k, j) if j > k else 0.0
        if other == "I":
            return profile.INSERT_EXTEND * (j == k)
        return (1 - profile.INSERT_EXTEND) * (j == k + 1)

    def emit(state: tuple[str, int], letter: int) -> float:
        if letter < 0:
            return 1.0
        return float(given.emissions[family, state[1], letter] if state[0] == "M" else given.inserted[letter])

    total = 0.0
    for path in itertools.product(states, repeat=len(letters)):
        if path[0][0] != "M":
            continue
        value = (0.5 / m + 0.5 * (path[0][1] == 0)) * emit(path[0], letters[0])
        for a, b, letter in zip(path, path[1:], letters[1:], strict=False):
            value *= move(a, b) * emit(b, letter)
        total += value * (1 - sum(move(path[-1], state) for state in states))
    return total


def test_the_profile_background_sums_over_all_paths() -> None:
    given = profiles()
    rows = [[0, 1, 2], [3, -1, 0], [2, 2, 1], [1, 0, -1]]
    letters = torch.tensor([[*rows[0], -1], [*rows[1], -1], [*rows[2], 0], [1, 0, -1, -1]])
    lengths, family = torch.tensor([3, 3, 4, 2]), torch.tensor([0, 1, 0, 1])
    expected = [by_paths(given, int(f), row[: int(n)]) for f, row, n in zip(family, letters.tolist(), lengths, strict=True)]
    assert given(letters, lengths, family).exp().tolist() == pytest.approx(expected, rel=1e-4)
    alone = [float(given(row[None, :n], n[None], f[None])) for row, n, f in zip(letters, lengths, family, strict=True)]
    assert alone == pytest.approx(given(letters, lengths, family).tolist(), rel=1e-5), "padding changes nothing"


def test_the_profile_background_gives_all_sequences_a_total_probability_of_one() -> None:
    """With unknown letters, which are any letter, the probability of a sequence is that of its length."""
    longest = 60
    letters = torch.full((longest, longest), -1)
    for code in (0, 1):
        found = profiles()(letters, torch.arange(1, longest + 1), torch.full((longest,), code))
        assert float(found.exp().sum()) == pytest.approx(1, abs=1e-4)


def test_a_family_knows_its_members_better_than_the_unigram() -> None:
    states = np.tile(np.arange(10, dtype=np.uint8), (30, 1))
    other = np.tile(np.arange(10, 20, dtype=np.uint8), (30, 1))
    given, unigram = FamilyProfiles([states, other]), Unigram()
    letters, lengths = torch.arange(10)[None], torch.tensor([10])
    unigram.count(letters, lengths)
    mine, theirs = (float(given(letters, lengths, torch.tensor([code]))) for code in (0, 1))
    assert mine > float(unigram(letters, lengths)) > theirs


def test_a_family_without_a_profile_is_named() -> None:
    states = np.zeros((3, 2), dtype=np.uint8)
    with pytest.raises(UsageError, match="PF2 has no match column with a residue"):
        FamilyProfiles([states, np.full_like(states, MISSING)], ["PF1", "PF2"])


def test_match_states_leave_out_insertions_and_unknown_letters() -> None:
    tokens = [encode_tokens("ACXD"), encode_tokens("A")]
    columns = [np.array([0, -1, 1, 3], dtype=np.int32), np.array([2], dtype=np.int32)]
    assert match_states(tokens, columns).tolist() == [[0, MISSING, MISSING, 2], [MISSING, MISSING, 0, MISSING]]
