"""Denoising diffusion implicit models: sampling in few steps, and deterministic inversion (Song, Meng & Ermon 2020).

    x_s = √ᾱ_s · x̂_0 + √(1 - ᾱ_s - σ²) · ε̂ + σ · noise,   σ = η √((1 - ᾱ_s)/(1 - ᾱ_t)) √(1 - ᾱ_t/ᾱ_s)

Song, Meng & Ermon 2020, arXiv 2010.02502, equations 12 and 16, from time t to time s < t, with x̂_0 and ε̂ predicted from x_t.
η = 0 is deterministic, η = 1 is the ancestral sampler of DDPM (Ho, Jain & Abbeel 2020, arXiv 2006.11239).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from phylocli.diffusion.schedule import Prediction, Schedule

Denoiser = Callable[[Tensor, int], Tensor]
"""x_t (N, Z) and t → the prediction, (N, Z): of v or of ε."""


def split(x: Tensor, predicted: Tensor, t: int, schedule: Schedule, prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Return the predicted signal x̂_0 and noise ε̂, (N, Z) each.

    Args:
        x: x_t, (N, Z).
        predicted: of v = √ᾱ ε - √(1 - ᾱ) x_0 (Salimans & Ho 2022, arXiv 2202.00512), or of ε, (N, Z).
        t: the time.
        schedule: the noise schedule.
        prediction: which of the two.
    """
    signal, noise = schedule.signal_and_noise(t)
    if prediction == "v":
        return signal * x - noise * predicted, noise * x + signal * predicted
    return (x - noise * predicted) / signal, predicted


def step(
    x: Tensor,
    predicted: Tensor,
    t: int,
    s: int,
    schedule: Schedule,
    prediction: Prediction,
    *,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """Return x_s from x_t (N, Z), s < t.

    Args:
        x, predicted, t, schedule, prediction: see `split`.
        s: the time to go to; -1 gives x̂_0.
        eta: η.
        noise: standard normal, (N, Z); needed if η > 0.
    """
    clean, epsilon = split(x, predicted, t, schedule, prediction)
    signal, spread = schedule.signal_and_noise(s)
    if eta == 0 or s < 0:
        return signal * clean + spread * epsilon
    assert noise is not None
    before, spread_before = schedule.signal_and_noise(t)
    sigma = eta * spread / spread_before * math.sqrt(max(0.0, 1 - (before / signal) ** 2))
    return signal * clean + math.sqrt(max(0.0, spread**2 - sigma**2)) * epsilon + sigma * noise


def sample(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    prediction: Prediction,
    *,
    steps: int = 50,
    eta: float = 0.0,
    noise: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Return x_0 (N, Z) from x (N, Z), which is standard normal.

    Args:
        denoiser: the network.
        x: x_T.
        schedule, prediction, eta: see `step`.
        steps: number of evaluations of the network.
        noise: returns fresh standard normal numbers, (N, Z); needed if η > 0.

    Raises:
        UsageError: a number of steps that the schedule does not have.
    """
    times = schedule.times(steps, prediction)
    for t, s in zip(times, [*times[1:], -1], strict=True):
        fresh = noise() if noise is not None and eta > 0 and s >= 0 else None
        x = step(x, denoiser(x, t), t, s, schedule, prediction, eta=eta, noise=fresh)
    return x


def invert(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    prediction: Prediction,
    *,
    steps: int = 50,
    iterations: int = 20,
) -> Tensor:
    """Return x_T (N, Z) from which `sample` with η = 0 and as many steps returns x (N, Z).

    The first guess of a step takes the prediction at x_s for the one at x_t: the usual approximate inversion, whose error
    falls as 1/steps. Further iterations move x_t by what its own step misses of x_s, less far where that made it worse.

    Args:
        denoiser, schedule, prediction, steps: see `sample`.
        x: x_0.
        iterations: the largest number of evaluations of the network in each step; 1 is the first guess alone.

    Raises:
        UsageError: a number of steps that the schedule does not have.
    """
    times = schedule.times(steps, prediction)
    for s, t in zip([-1, *times[:0:-1]], times[::-1], strict=True):
        (signal, spread), (signal_t, spread_t) = schedule.signal_and_noise(s), schedule.signal_and_noise(t)
        _, epsilon = split(x, denoiser(x, t), t, schedule, prediction)
        guess = signal_t * (x - spread * epsilon) / signal + spread_t * epsilon

        def missed(candidate: Tensor, target: Tensor = x, t: int = t, s: int = s) -> Tensor:
            return target - step(candidate, denoiser(candidate, t), t, s, schedule, prediction)

        x = guess if iterations == 1 else _corrected(guess, missed, iterations - 1)
    return x


def _corrected(x: Tensor, missed: Callable[[Tensor], Tensor], iterations: int) -> Tensor:
    """Return x (N, Z) with `missed(x)` near zero: damped fixed-point iteration, each row with its own damping."""
    rest = missed(x)
    error = rest.norm(dim=1, keepdim=True)
    damping = torch.ones_like(error)
    small = 4 * torch.finfo(x.dtype).eps * x.norm(dim=1, keepdim=True).clamp(min=1)
    for _ in range(iterations - 1):
        if (error <= small).all():
            break
        moved = x + damping * rest
        left = missed(moved)
        remaining = left.norm(dim=1, keepdim=True)
        better = remaining < error
        x, rest, error = (torch.where(better, new, old) for new, old in ((moved, x), (left, rest), (remaining, error)))
        damping = torch.where(better, (1.5 * damping).clamp(max=1), damping / 2)
    return x


def guided(predictions: Sequence[Tensor], guidance: float) -> Tensor:
    """Return the prediction of classifier-free guidance, (N, Z): without + g · (with - without).

    g = 1 is the conditional prediction, 0 the unconditional one; above 1 samples are more typical of the condition and less
    diverse (Ho & Salimans 2022, arXiv 2207.12598, whose weight is g - 1).

    Args:
        predictions: with the condition, and without, (N, Z) each.
        guidance: g.
    """
    given, without = predictions
    return without + guidance * (given - without)
