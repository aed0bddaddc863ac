"""The f-divergences of f-GAN, each with its convex conjugate, output activation and critical value.

    D_f(P ‖ Q) = E_Q[ f(p/q) ],   f(1) = 0,   f*(t) = sup over u ≥ 0 of  t u - f(u)

Nowozin, Cseke & Tomioka 2016, arXiv 1606.00709, tables 1, 2 and 6, with three differences. Activations are increasing here,
so that a high score always means "a pair" (-exp(v) and 1 - exp(v) become -exp(-v) and 1 - exp(-v); only the sign of the
score changes). Their conjugate of Pearson's f, t²/4 + t, is over all real u; over u ≥ 0 it is constant, -1, below t = -2,
which is tighter. Their generator of Jensen–Shannon gives twice the usual divergence, so at most 2 log 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from phylocli.objectives.base.masking import LOG_2

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Divergence:
    """One row of the table; all functions are elementwise.

    Attributes:
        name: the name used in options.
        f: the generator, of u > 0.
        activation: g(v), which maps any score into the domain of the conjugate.
        conjugate: f*(t).
        penalty: f*(g(v)), simplified: the penalty of a negative's score.
        critical: f'(1): t above it means "more likely a pair than not".
        domain: of the conjugate, minimum and maximum t.
        best: the best scores v, with g(v) = f'(r), from log r.
        log_ratio: log r from the best scores; None where they do not determine it.
    """

    name: str
    f: Function
    activation: Function
    conjugate: Function
    penalty: Function
    critical: float
    domain: tuple[float, float]
    best: Function
    log_ratio: Function | None


def _same(v: Tensor) -> Tensor:
    return v


def log_lambert(c: Tensor) -> Tensor:
    """Return x with x + exp(x) = c, the logarithm of Lambert's W(exp c), for any real c, of the same shape.

    Newton's method from the right of the root, where it decreases monotonically; c may be far too large for exp(c).
    """
    with torch.no_grad():
        x = torch.where(c < 1, c, c.clamp(min=1).log())
        for _ in range(12):
            e = x.exp()
            x = x - (x + e - c) / (1 + e)
    # Once more, with the gradient: dx/dc = 1 / (1 + exp x).
    e = x.exp()
    return x - (x + e - c) / (1 + e)


def _jeffrey_conjugate(t: Tensor) -> Tensor:
    x = log_lambert(1 - t)
    return x.exp() + (-x).exp() + t - 2


def _pearson_conjugate(t: Tensor) -> Tensor:
    t = t.clamp(min=-2)
    return t * t / 4 + t


TOTAL_VARIATION = Divergence(
    name="total-variation",
    f=lambda u: (u - 1).abs() / 2,
    activation=lambda v: torch.tanh(v) / 2,
    conjugate=_same,
    penalty=lambda v: torch.tanh(v) / 2,
    critical=0.0,
    domain=(-0.5, 0.5),
    best=lambda x: torch.where(x > 0, math.inf, -math.inf).to(x),
    log_ratio=None,
)
KULLBACK_LEIBLER = Divergence(
    name="kl",
    f=lambda u: u * u.log(),
    activation=_same,
    conjugate=lambda t: (t - 1).exp(),
    penalty=lambda v: (v - 1).exp(),
    critical=1.0,
    domain=(-math.inf, math.inf),
    best=lambda x: x + 1,
    log_ratio=lambda v: v - 1,
)
REVERSE_KL = Divergence(
    name="reverse-kl",
    f=lambda u: -u.log(),
    activation=lambda v: -(-v).exp(),
    conjugate=lambda t: -1 - (-t).log(),
    penalty=lambda v: v - 1,
    critical=-1.0,
    domain=(-math.inf, 0.0),
    best=_same,
    log_ratio=_same,
)
PEARSON = Divergence(
    name="pearson",
    f=lambda u: (u - 1) ** 2,
    activation=_same,
    conjugate=_pearson_conjugate,
    penalty=_pearson_conjugate,
    critical=0.0,
    domain=(-math.inf, math.inf),
    best=lambda x: 2 * x.expm1(),
    log_ratio=lambda v: torch.log1p((v / 2).clamp(min=-1 + 1e-6)),
)
NEYMAN = Divergence(
    name="neyman",
    f=lambda u: (1 - u) ** 2 / u,
    activation=lambda v: -(-v).expm1(),
    conjugate=lambda t: 2 - 2 * (1 - t).sqrt(),
    penalty=lambda v: -2 * (-v / 2).expm1(),
    critical=0.0,
    domain=(-math.inf, 1.0),
    best=lambda x: 2 * x,
    log_ratio=lambda v: v / 2,
)
SQUARED_HELLINGER = Divergence(
    name="hellinger",
    f=lambda u: (u.sqrt() - 1) ** 2,
    activation=lambda v: -(-v).expm1(),
    conjugate=lambda t: t / (1 - t),
    penalty=torch.expm1,
    critical=0.0,
    domain=(-math.inf, 1.0),
    best=lambda x: x / 2,
    log_ratio=lambda v: 2 * v,
)
JEFFREY = Divergence(
    name="jeffrey",
    f=lambda u: (u - 1) * u.log(),
    activation=_same,
    conjugate=_jeffrey_conjugate,
    penalty=_jeffrey_conjugate,
    critical=0.0,
    domain=(-math.inf, math.inf),
    best=lambda x: x - (-x).expm1(),
    log_ratio=lambda v: -log_lambert(1 - v),
)
JENSEN_SHANNON = Divergence(
    name="jensen-shannon",
    f=lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    activation=lambda v: LOG_2 - F.softplus(-v),
    conjugate=lambda t: -(2 - t.exp()).log(),
    penalty=lambda v: F.softplus(v) - LOG_2,
    critical=0.0,
    domain=(-math.inf, LOG_2),
    best=_same,
    log_ratio=_same,
)

DIVERGENCES = {
    row.name: row
    for row in (
        *(TOTAL_VARIATION, KULLBACK_LEIBLER, REVERSE_KL, PEARSON),
        *(NEYMAN, SQUARED_HELLINGER, JEFFREY, JENSEN_SHANNON),
    )
}
