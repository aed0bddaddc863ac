"""The latent diffusion model: it samples and learns a density, is kept on disk, and is a function of its seeds."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from phylocli.core.errors import BadInputError, UsageError
from phylocli.diffusion import Average, DiffusionArchitecture, LatentDiffusion, conditions_of
from phylocli.diffusion.denoiser import Denoiser
from phylocli.diffusion.latent_diffusion import DESCRIPTION, WEIGHTS

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = DiffusionArchitecture(2, ("PF1", "PF2"), width=40, depth=2)
MEANS, SCALE = torch.tensor([[2.0, 10.0], [4.0, 13.0]]), 0.25


def mixture(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Vectors of two Gaussians far from the origin, 30 % of the second, and their codes 1 and 2."""
    random = torch.Generator().manual_seed(seed)
    component = (torch.rand(n, generator=random) < 0.3).long()
    return MEANS[component] + SCALE * torch.randn(n, 2, generator=random), component + 1


@pytest.fixture(scope="module", params=["v", "epsilon"])
def trained(request: pytest.FixtureRequest) -> LatentDiffusion:
    torch.manual_seed(0)
    diffusion = LatentDiffusion(DiffusionArchitecture(2, ("PF1", "PF2"), request.param, width=40, depth=2))
    data, codes = mixture(2000, 1)
    diffusion.standardise(data)
    average = Average(diffusion.denoiser, 0.99)
    optimiser = torch.optim.Adam(diffusion.parameters(), lr=3e-3)
    for step in range(350):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * math.cos(step / 350 * math.pi / 2)
        rows = torch.randint(2000, (192,))
        given = codes[rows].masked_fill(torch.rand(192) < 0.2, 0)
        times = torch.randint(diffusion.schedule.last(request.param) + 1, (192,))
        loss = diffusion.loss(data[rows], given, times, torch.randn(192, 2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update(diffusion.denoiser)
    diffusion.denoiser.load_state_dict(average.network.state_dict())
    return diffusion.eval()


class Exact(torch.nn.Module):
    """The best prediction of v or ε for the mixture, in closed form."""

    def __init__(self, diffusion: LatentDiffusion) -> None:
        super().__init__()
        self.schedule, self.kind = diffusion.schedule, diffusion.config.prediction
        self.means, self.variance = (MEANS - diffusion.mean) / diffusion.scale, (SCALE / diffusion.scale) ** 2

    def forward(self, x: Tensor, times: Tensor, conditions: Tensor) -> Tensor:
        signal, spread = self.schedule.signal_and_noise(int(times[0]))
        variance = signal**2 * self.variance + spread**2  # of x_t within a component
        log_weight = torch.tensor([0.7, 0.3]).log() - ((x[:, None] - signal * self.means) ** 2 / (2 * variance)).sum(2)
        other = (conditions[:, None] > 0) & (conditions[:, None] - 1 != torch.arange(2))
        mean = log_weight.masked_fill(other, -torch.inf).softmax(1) @ self.means
        clean = mean + signal * self.variance / variance * (x - signal * mean)  # E[x_0 | x_t]
        epsilon = spread * (x - signal * mean) / variance
        return epsilon if self.kind == "epsilon" else signal * epsilon - spread * clean


@pytest.fixture(scope="module", params=["v", "epsilon"])
def exact(request: pytest.FixtureRequest) -> LatentDiffusion:
    diffusion = LatentDiffusion(DiffusionArchitecture(2, ("PF1", "PF2"), request.param, width=8, depth=1))
    diffusion.standardise(mixture(20000, 0)[0])
    diffusion.denoiser = Exact(diffusion)  # type: ignore[assignment]
    return diffusion.eval()


def test_samples_of_the_exact_denoiser_are_the_mixture(exact: LatentDiffusion) -> None:
    n = 4000
    found = exact.sample(torch.zeros(n, dtype=torch.int64), seed=0, steps=200)
    second = torch.cdist(found, MEANS).argmin(1) == 1
    assert float(second.double().mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / n))
    of_code = [exact.sample(torch.full((n,), code), seed=1, steps=200) for code in (1, 2)]
    for x, mean in zip((found[~second], found[second], *of_code), (*MEANS, *MEANS), strict=True):
        torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.02)
        torch.testing.assert_close(x.std(0), torch.full((2,), SCALE), rtol=0.05, atol=0)


def test_samples_with_fresh_noise_in_each_step_have_the_same_moments(exact: LatentDiffusion) -> None:
    found = exact.sample(torch.ones(1200, dtype=torch.int64), seed=1, steps=200, eta=1.0)
    torch.testing.assert_close(found.mean(0), MEANS[0], rtol=0, atol=4 * SCALE / math.sqrt(1200))
    torch.testing.assert_close(found.std(0), torch.full((2,), SCALE), rtol=4 / math.sqrt(2 * 1200), atol=0)


def test_the_noise_of_latent_vectors_is_standard_normal_and_is_decoded_again(exact: LatentDiffusion) -> None:
    data, codes = mixture(2000, 5)
    noise = exact.encode(data, codes, steps=200)
    torch.testing.assert_close(noise.mean(0), torch.zeros(2), rtol=0, atol=0.1)
    torch.testing.assert_close(noise.std(0), torch.ones(2), rtol=0.05, atol=0)
    torch.testing.assert_close(exact.decode(noise, codes, steps=200), data, rtol=0, atol=1e-3)


def test_training_reduces_the_loss_but_not_below_that_of_the_best_prediction(trained: LatentDiffusion) -> None:
    best = copy.deepcopy(trained)
    best.denoiser = Exact(trained)  # type: ignore[assignment]
    (data, codes), random = mixture(2000, 7), torch.Generator().manual_seed(8)
    last, least, learned = trained.schedule.last(trained.config.prediction), 0.0, 0.0
    with torch.no_grad():
        for t in range(0, last + 1, 25):
            given = data, codes, torch.full((2000,), t), torch.randn(2000, 2, generator=random)
            least, learned = least + float(best.loss(*given)), learned + float(trained.loss(*given))
    nothing = len(range(0, last + 1, 25))  # 1 at each time
    assert least < learned < least + 0.15 * (nothing - least)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_of_a_condition_are_of_its_component(trained: LatentDiffusion, eta: float) -> None:
    for code in (1, 2):
        found = trained.sample(torch.full((200,), code), seed=0, steps=25, eta=eta)
        assert float((torch.cdist(found, MEANS).argmin(1) == code - 1).double().mean()) > 0.97


def test_guidance_moves_samples_away_from_other_components(trained: LatentDiffusion) -> None:
    codes = torch.full((300,), 1)
    away = MEANS[1] - MEANS[0]
    plain, more = (trained.sample(codes, seed=0, steps=25, guidance=g) for g in (1.0, 3.0))
    assert ((more - plain) @ away).mean() < 0
    without = trained.sample(torch.zeros(300, dtype=torch.int64), seed=0, steps=25)
    torch.testing.assert_close(trained.sample(codes, seed=0, steps=25, guidance=0.0), without, rtol=0, atol=1e-4)


def test_a_sample_is_a_function_of_seed_and_number(trained: LatentDiffusion) -> None:
    codes = torch.tensor([0, 1, 2, 1])
    for eta in (0.0, 0.7):
        whole = trained.sample(codes, seed=5, steps=10, eta=eta)
        assert torch.equal(whole, trained.sample(codes, seed=5, steps=10, eta=eta))
        part = trained.sample(codes[2:], seed=5, first=2, steps=10, eta=eta)
        torch.testing.assert_close(part, whole[2:], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(whole, trained.sample(codes, seed=6, steps=10, eta=eta), atol=1e-2)


def test_the_average_is_the_weighted_sum_of_all_weights() -> None:
    network = Denoiser(2, width=4, depth=1)
    average, expected = Average(network, 0.9), network.input.weight.detach().clone()
    for n in range(30):
        with torch.no_grad():
            network.input.weight.add_(1.0)
        average.update(network)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * network.input.weight.detach()
    torch.testing.assert_close(average.network.input.weight, expected)
    assert int(average.updates) == 30


def test_a_model_folder_keeps_it(trained: LatentDiffusion, tmp_path: Path) -> None:
    trained.save(tmp_path, "abc")
    again = LatentDiffusion.load(tmp_path, "abc")
    assert again.config == trained.config
    codes = torch.tensor([0, 1, 2])
    assert torch.equal(again.sample(codes, seed=1, steps=10), trained.sample(codes, seed=1, steps=10))
    with pytest.raises(BadInputError, match="another model"):
        LatentDiffusion.load(tmp_path, "other")


def damage(folder: Path, how: str) -> None:
    description = json.loads((folder / DESCRIPTION).read_text())
    if how == "weights":
        data = bytearray((folder / WEIGHTS).read_bytes())
        data[-3] ^= 1
        (folder / WEIGHTS).write_bytes(bytes(data))
    elif how == "missing weights":
        (folder / WEIGHTS).unlink()
    elif how == "text":
        (folder / DESCRIPTION).write_text("{")
    else:
        changes = {"width": {"width": 64}, "huge": {"width": 10**9}, "format": {"format": "x"}, "kind": {"prediction": "x0"}}
        (folder / DESCRIPTION).write_text(json.dumps({**description, **changes[how]}))


@pytest.mark.parametrize("how", ["weights", "missing weights", "text", "width", "huge", "format", "kind"])
def test_damage_is_named(how: str, tmp_path: Path) -> None:
    LatentDiffusion(CONFIG).save(tmp_path, "abc")
    damage(tmp_path, how)
    with pytest.raises(BadInputError, match="cannot be read"):
        LatentDiffusion.load(tmp_path, "abc")


def test_what_cannot_be_sampled_is_a_usage_error(tmp_path: Path) -> None:
    diffusion = LatentDiffusion(CONFIG)
    with pytest.raises(UsageError, match="did you mean 'PF1'"):
        diffusion.code("PF11")
    with pytest.raises(UsageError, match="eta"):
        diffusion.sample(torch.zeros(1, dtype=torch.int64), seed=0, eta=2.0)
    with pytest.raises(UsageError, match="recipe latent-diffusion"):
        LatentDiffusion.load(tmp_path, "abc")


def test_constant_features_stay_constant() -> None:
    diffusion = LatentDiffusion(CONFIG)
    diffusion.standardise(torch.tensor([[1.0, 3.0], [2.0, 3.0]]))
    assert diffusion.scale.tolist() == [0.5, 1.0] and diffusion.mean.tolist() == [1.5, 3.0]


def test_conditions_are_families_then_clans() -> None:
    assert conditions_of(["b", "a", "b"], ["", "c", "c"]) == ("a", "b", "c")
    assert conditions_of(["a"], ["a"]) == ("a",)
