"""The noise schedule: how much of a vector is signal and how much is noise at each time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from phylocli.core.errors import UsageError

Prediction = Literal["v", "epsilon"]
LEAST_SIGNAL = 1e-3
"""Smallest ᾱ at which a prediction of the noise determines the signal well enough."""


@dataclass(frozen=True)
class Schedule:
    """x_t = √ᾱ_t · x_0 + √(1 - ᾱ_t) · ε for the times t = 0 … T - 1; time -1 is x_0 itself.

    Attributes:
        alpha_bar: ᾱ_t, (T,) float64, decreasing.
    """

    alpha_bar: Tensor

    @classmethod
    def cosine(cls, times: int = 1000, offset: float = 0.008, largest: float = 0.999) -> Self:
        """Return the schedule ᾱ_t ∝ cos²(π/2 · (t/T + s) / (1 + s)) (Nichol & Dhariwal 2021, arXiv 2102.09672, equation 17).

        Args:
            times: T.
            offset: s.
            largest: the largest fraction of the variance that is added in one step.

        Raises:
            UsageError: fewer than two times.
        """
        if times < 2:
            raise UsageError(f"a diffusion needs at least two times, not {times}")

        def f(t: float) -> float:
            return math.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2

        added = [min(1 - f((t + 1) / times) / f(t / times), largest) for t in range(times)]
        return cls((1 - torch.tensor(added, dtype=torch.float64)).cumprod(0))

    def __len__(self) -> int:
        return len(self.alpha_bar)

    def signal_and_noise(self, t: int) -> tuple[float, float]:
        """Return √ᾱ_t and √(1 - ᾱ_t); of time -1, 1 and 0."""
        if t < 0:
            return 1.0, 0.0
        alpha_bar = float(self.alpha_bar[t])
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)

    def last(self, prediction: Prediction) -> int:
        """Return the time at which sampling starts.

        A prediction of v determines the signal at every time, so this is T - 1. One of the noise does not where there is
        hardly any signal: it starts at the last time with ᾱ of at least `LEAST_SIGNAL`, where x is normal up to 3 %.
        """
        return len(self) - 1 if prediction == "v" else int((self.alpha_bar >= LEAST_SIGNAL).sum()) - 1

    def times(self, steps: int, prediction: Prediction) -> list[int]:
        """Return the times of a sample, descending, evenly spaced, from `last`; followed by time -1.

        The largest times are included ("trailing" spacing; Lin et al. 2024, arXiv 2305.08891).

        Raises:
            UsageError: fewer than one step, or more than there are times.
        """
        most = self.last(prediction) + 1
        if not 1 <= steps <= most:
            raise UsageError(f"a sample cannot have {steps} steps", fix=f"give 1 to {most}; 50 is usual")
        return [round(most - i * most / steps) - 1 for i in range(steps)]
