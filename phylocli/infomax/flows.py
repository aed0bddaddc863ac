"""RealNVP: an invertible network of affine coupling layers, whose output has all the information of its input.

Dinh, Sohl-Dickstein & Bengio 2017, arXiv 1605.08803. A layer leaves half of the features unchanged and scales and shifts the
others by functions of them:  y_A = x_A,  y_B = x_B · exp(s(x_A)) + t(x_A),  log |det J| = Σ s(x_A).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.critics.base.layers import perceptron


class Coupling(nn.Module):
    """One affine coupling layer on a fixed random half of the features; initially the identity.

    Args:
        features: D.
        hidden: features of the hidden layers of s and t.
        generator: chooses the half.
    """

    order: Tensor
    inverse_order: Tensor

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        order = torch.randperm(features, generator=generator)
        self.register_buffer("order", order)
        self.register_buffer("inverse_order", order.argsort())
        self.kept = features // 2
        self.network = perceptron(self.kept, hidden, 2 * (features - self.kept))
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.network(kept).chunk(2, dim=-1)
        return torch.tanh(scale), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y, (N, D), and log |det J|, (N,)."""
        kept, changed = x[..., self.order].split([self.kept, len(self.order) - self.kept], dim=-1)
        scale, shift = self._scale_and_shift(kept)
        y = torch.cat([kept, changed * scale.exp() + shift], dim=-1)
        return y[..., self.inverse_order], scale.sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        """Return x, (N, D)."""
        kept, changed = y[..., self.order].split([self.kept, len(self.order) - self.kept], dim=-1)
        scale, shift = self._scale_and_shift(kept)
        x = torch.cat([kept, (changed - shift) * (-scale).exp()], dim=-1)
        return x[..., self.inverse_order]


class RealNVP(nn.Module):
    """A stack of coupling layers: (N, D) → (N, D).

    Args:
        features: D.
        layers: number of coupling layers.
        hidden: features of the hidden layers of each.
        seed: of the halves.
    """

    def __init__(self, features: int, *, layers: int = 6, hidden: int = 128, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList(Coupling(features, hidden, generator) for _ in range(layers))

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
