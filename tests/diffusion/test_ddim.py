"""DDIM against diffusers step by step, and on mixtures of Gaussians whose scores are known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.diffusion import ddim
from phylocli.diffusion.schedule import Prediction, Schedule

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

KINDS: list[Prediction] = ["v", "epsilon"]
SCHEDULE = Schedule.cosine()
WEIGHTS = torch.tensor([0.7, 0.3], dtype=torch.float64)
MEANS = torch.tensor([[-1.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
SCALE = 0.3  # standard deviation of both components


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def theirs(prediction: Prediction, steps: int) -> DDIMScheduler:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler  # which takes seconds in each process

    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction" if prediction == "v" else "epsilon",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("steps", [10, 50, 1000])
def test_every_step_is_that_of_diffusers(prediction: Prediction, eta: float, steps: int) -> None:
    scheduler = theirs(prediction, steps)
    torch.testing.assert_close(SCHEDULE.alpha_bar, scheduler.alphas_cumprod.double(), rtol=2e-4, atol=1e-9)
    schedule = Schedule(scheduler.alphas_cumprod.double())  # theirs in single precision
    times = schedule.times(steps, "v")
    assert times == scheduler.timesteps.tolist()
    for i in range(0, steps, max(1, steps // 20)):
        t, s = times[i], times[i + 1] if i + 1 < steps else -1
        x, predicted, noise = normal(t, 4, 3), normal(t + 1, 4, 3), normal(t + 2, 4, 3)
        expected = scheduler.step(predicted, t, x, eta=eta, variance_noise=noise)
        found = ddim.step(x, predicted, t, s, schedule, prediction, eta=eta, noise=noise)
        size = max(1.0, float(expected.prev_sample.abs().max()))
        torch.testing.assert_close(found, expected.prev_sample, rtol=1e-4, atol=1e-4 * size)


def log_density(x: Tensor, signal: float, noise: float) -> Tensor:
    """The log density of x_t, (N,), for x_0 of the mixture."""
    variance = (signal * SCALE) ** 2 + noise**2
    squared = (x[:, None] - signal * MEANS).square().sum(2)
    return (WEIGHTS.log() - squared / (2 * variance) - math.log(2 * math.pi * variance)).logsumexp(1)


def exact(prediction: Prediction) -> ddim.Denoiser:
    """The best denoiser: the noise is minus the score times its standard deviation."""

    def denoise(x: Tensor, t: int) -> Tensor:
        signal, noise = SCHEDULE.signal_and_noise(t)
        variance = (signal * SCALE) ** 2 + noise**2
        squared = (x[:, None] - signal * MEANS).square().sum(2)
        weight = (WEIGHTS.log() - squared / (2 * variance)).softmax(1)
        epsilon = noise * (x - signal * weight @ MEANS) / variance
        clean = (x - noise * epsilon) / signal
        return epsilon if prediction == "epsilon" else signal * epsilon - noise * clean

    return denoise


@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize(("eta", "steps"), [(0.0, 100), (1.0, 400)])
def test_samples_of_the_exact_denoiser_have_the_density_of_the_mixture(
    prediction: Prediction, eta: float, steps: int
) -> None:
    n = 4000
    seeds = iter(range(1, 10**6))
    x = ddim.sample(
        exact(prediction),
        normal(0, n, 2),
        SCHEDULE,
        prediction,
        steps=steps,
        eta=eta,
        noise=lambda: normal(next(seeds), n, 2),
    )
    component = torch.cdist(x, MEANS).argmin(1)
    assert float((component == 0).double().mean()) == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / n))
    for k in (0, 1):
        inside = x[component == k]
        torch.testing.assert_close(inside.mean(0), MEANS[k], rtol=0, atol=0.05)
        torch.testing.assert_close(inside.std(0), torch.full((2,), SCALE, dtype=torch.float64), rtol=0.1, atol=0)
    entropy = -float(log_density(x, 1.0, 0.0).mean())
    truth = math.log(2 * math.pi * SCALE**2) + 1 - float((WEIGHTS * WEIGHTS.log()).sum())  # the components hardly overlap
    assert entropy == pytest.approx(truth, abs=0.1)


@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("steps", [20, 50, 200])
def test_inversion_leads_back_to_the_vector(prediction: Prediction, steps: int) -> None:
    x = MEANS[torch.arange(40) % 2] + SCALE * normal(3, 40, 2)
    denoise = exact(prediction)
    noise = ddim.invert(denoise, x, SCHEDULE, prediction, steps=steps, iterations=200)
    again = ddim.sample(denoise, noise, SCHEDULE, prediction, steps=steps)
    torch.testing.assert_close(again, x, rtol=0, atol=1e-6)


def test_one_iteration_is_the_usual_approximate_inversion_whose_error_falls_with_the_steps() -> None:
    x = MEANS[torch.arange(40) % 2] + SCALE * normal(3, 40, 2)
    denoise, errors = exact("v"), []
    for steps in (20, 100, 500):
        noise = ddim.invert(denoise, x, SCHEDULE, "v", steps=steps, iterations=1)
        errors.append(float((ddim.sample(denoise, noise, SCHEDULE, "v", steps=steps) - x).abs().mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.05


def test_many_noises_of_the_inversion_are_standard_normal() -> None:
    component = (torch.rand(1500, generator=torch.Generator().manual_seed(0)) > 0.7).long()
    noise = ddim.invert(exact("v"), MEANS[component] + SCALE * normal(4, 1500, 2), SCHEDULE, "v", steps=50)
    torch.testing.assert_close(noise.mean(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=0.12)
    torch.testing.assert_close(torch.cov(noise.T), torch.eye(2, dtype=torch.float64), rtol=0, atol=0.15)


def test_both_predictions_describe_the_same_signal_and_noise() -> None:
    x, clean, epsilon = (normal(seed, 5, 3) for seed in (0, 1, 2))
    for t in (0, 400, 900):
        signal, noise = SCHEDULE.signal_and_noise(t)
        x = signal * clean + noise * epsilon
        for prediction, predicted in (("v", signal * epsilon - noise * clean), ("epsilon", epsilon)):
            found = ddim.split(x, predicted, t, SCHEDULE, prediction)  # type: ignore[arg-type]
            torch.testing.assert_close(found[0], clean)
            torch.testing.assert_close(found[1], epsilon)


def test_sampling_starts_where_the_prediction_determines_the_signal() -> None:
    assert SCHEDULE.last("v") == 999
    last = SCHEDULE.last("epsilon")
    assert SCHEDULE.alpha_bar[last] >= 1e-3 > SCHEDULE.alpha_bar[last + 1]
    assert SCHEDULE.times(1, "v") == [999]
    assert SCHEDULE.times(1000, "v") == list(range(999, -1, -1))
    for steps in (0, 1001):
        with pytest.raises(UsageError, match="1 to 1000"):
            SCHEDULE.times(steps, "v")


def test_guidance_is_linear_in_its_weight() -> None:
    given, without = normal(0, 2, 3), normal(1, 2, 3)
    assert torch.equal(ddim.guided((given, without), 0.0), without)
    torch.testing.assert_close(ddim.guided((given, without), 1.0), given)
    torch.testing.assert_close(ddim.guided((given, without), 3.0), 3 * given - 2 * without)
