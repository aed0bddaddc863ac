"""Invertible networks of coupling layers, whose output has all the information of their input: RealNVP and spline flows.

A coupling layer leaves half of the features, x_A, unchanged, and changes each of the others by a monotonic function whose
parameters depend on x_A: y_B = f(x_B; θ(x_A)),  log |det J| = Σ log f'. The function is affine (RealNVP: Dinh,
Sohl-Dickstein & Bengio 2017, arXiv 1605.08803), or a rational-quadratic spline (Durkan et al. 2019, arXiv 1906.04032).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.critics.base.layers import perceptron


class Coupling(nn.Module):
    """A coupling layer on a fixed random half of the features; initially the identity.

    A subclass defines `apply_to`, with `size` parameters per changed feature.

    Args:
        features: D.
        hidden: features of the hidden layers of the network of parameters.
        generator: chooses the half.
    """

    size: ClassVar[int]
    order: Tensor
    inverse_order: Tensor

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        order = torch.randperm(features, generator=generator)
        self.register_buffer("order", order)
        self.register_buffer("inverse_order", order.argsort())
        self.kept = features // 2
        self.network = perceptron(self.kept, hidden, self.size * (features - self.kept))
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def apply_to(self, x: Tensor, parameters: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the function of x, (N, B), or its inverse, and the logarithm of its derivative, (N, B).

        Args:
            x: (N, B).
            parameters: (N, B, size).
            inverse: whether to apply the inverse.
        """
        raise NotImplementedError

    def _map(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        kept, changed = x[..., self.order].split([self.kept, len(self.order) - self.kept], dim=-1)
        # One feature's parameters are apart by the number of features, as the scales and shifts of RealNVP usually are.
        parameters = self.network(kept).unflatten(-1, (self.size, -1)).transpose(-1, -2)
        found, log_slope = self.apply_to(changed, parameters, inverse)
        return torch.cat([kept, found], dim=-1)[..., self.inverse_order], log_slope.sum(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y, (N, D), and log |det J|, (N,)."""
        return self._map(x, False)

    def inverse(self, y: Tensor) -> Tensor:
        """Return x, (N, D)."""
        return self._map(y, True)[0]


class AffineCoupling(Coupling):
    """y = x · exp(s) + t, with the scale s between -1 and 1."""

    size = 2

    def apply_to(self, x: Tensor, parameters: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the scaled and shifted x, or the inverse, and ±s."""
        scale, shift = torch.tanh(parameters[..., 0]), parameters[..., 1]
        return ((x - shift) * (-scale).exp(), -scale) if inverse else (x * scale.exp() + shift, scale)


class SplineCoupling(Coupling):
    """A monotonic rational-quadratic spline between -`BOUND` and `BOUND`, and the identity beyond.

    Its parameters are the widths and heights of the bins, and the slopes at the knots between them. The inverse of a layer
    is exact to rounding, but where a slope is near `LEAST`, errors of rounding are a thousand times as large in the inverse:
    after training, that of several layers may fail in single precision, and if they are trained against a probe, in double.
    """

    BINS = 8
    BOUND = 5.0
    LEAST = 1e-3
    """Minimum width and height of a bin, as a fraction, and minimum slope at a knot."""
    size = 3 * BINS - 1

    def apply_to(self, x: Tensor, parameters: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the spline at x, or its inverse (Durkan et al., equations 4 to 8), and the logarithm of its slope."""
        widths, heights, slopes = parameters.split([self.BINS, self.BINS, self.BINS - 1], dim=-1)
        left, bottom = self._knots(widths), self._knots(heights)
        one = math.log(math.expm1(1 - self.LEAST))  # parameters of 0 give slopes of 1
        slope = F.pad(F.softplus(slopes + one) + self.LEAST, (1, 1), value=1.0)
        inside = x.abs() < self.BOUND
        at = x.clamp(-self.BOUND, self.BOUND)
        knots = bottom if inverse else left
        bin_ = (at[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)

        def ends(values: Tensor) -> tuple[Tensor, Tensor]:
            return values.gather(-1, bin_)[..., 0], values.gather(-1, bin_ + 1)[..., 0]

        (x0, x1), (y0, y1), (d0, d1) = ends(left), ends(bottom), ends(slope)
        width, height = x1 - x0, y1 - y0
        mean = height / width
        bend = d0 + d1 - 2 * mean
        if inverse:
            rise = at - y0
            a, b, c = height * (mean - d0) + rise * bend, height * d0 - rise * bend, -mean * rise
            fraction = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        else:
            fraction = (at - x0) / width
        rest = fraction * (1 - fraction)
        below = mean + bend * rest
        if inverse:
            found = x0 + fraction * width
        else:
            found = y0 + height * (mean * fraction.square() + d0 * rest) / below
        steepness = (
            mean.square() * (d1 * fraction.square() + 2 * mean * rest + d0 * (1 - fraction).square()) / below.square()
        )
        log_slope = torch.where(inside, steepness.log(), torch.zeros_like(x))
        return torch.where(inside, found, x), -log_slope if inverse else log_slope

    def _knots(self, sizes: Tensor) -> Tensor:
        """Return the ends of the bins, (…, BINS + 1), from -BOUND to BOUND."""
        fractions = self.LEAST + (1 - self.LEAST * self.BINS) * sizes.softmax(-1)
        inner = fractions.cumsum(-1)[..., :-1]
        return 2 * self.BOUND * F.pad(F.pad(inner, (1, 0), value=0.0), (0, 1), value=1.0) - self.BOUND


class Flow(nn.Module):
    """A stack of coupling layers: (N, D) → (N, D).

    Args:
        features: D.
        coupling: the kind of layer.
        layers: number of coupling layers.
        hidden: features of the hidden layers of each.
        seed: of the halves that the layers leave unchanged.
    """

    def __init__(
        self, features: int, coupling: type[Coupling], *, layers: int = 6, hidden: int = 128, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList(coupling(features, hidden, generator) for _ in range(layers))

    def with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y, (N, D), and log |det J| of the whole map, (N,)."""
        total = x.new_zeros(x.shape[:-1])
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (N, D)."""
        return self.with_log_det(x)[0]

    def inverse(self, y: Tensor) -> Tensor:
        """Return x, (N, D)."""
        for layer in reversed(self.layers):
            assert isinstance(layer, Coupling)
            y = layer.inverse(y)
        return y
