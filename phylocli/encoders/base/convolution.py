"""A residual block of convolutions on flat residues on the CPU, as one function with its own gradient.

A convolution is a product of the gathered neighbours of each residue, (T, kernel · width), with one matrix. Gathered at
once and kept for the gradient, they are the largest arrays of an encoder's step. Here they are gathered for some residues at
a time, multiplied, and dropped.

The gradient is a convolution, too: residue t was read, as neighbour k, by the residue `offsets[k]` before it, so

    ∂h[t] = Σ_k g[t - offsets[k]] · W_k,    ∂W_k = Σ_t g[t - offsets[k]]ᵀ · h[t]

and with offsets that are symmetric about 0 the gathered g are in the same table of neighbours, in reverse order. Nothing is
scattered, and both products take the same gathered rows.

Between the products, a block normalises, rounds to bfloat16, adds a row of zeros, applies GELU and adds. As one function it
writes these results where the next product reads them, without the copies that separate operations make.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PIECE = 8 << 20
"""Bytes of gathered rows for each thread. Smaller pieces stay in faster caches, but their products are slower."""


def residual_block(x: Tensor, norm: nn.LayerNorm, look: nn.Linear, back: nn.Linear, neighbours: Tensor) -> Tensor:
    """Return x + back(gelu(look(neighbours of norm(x)))), (T, D).

    Args:
        x: rows (T, D).
        norm: of D features.
        look: from K · D features to H, neighbours in the order of `neighbours`.
        back: from H features to D.
        neighbours: row of each of K neighbours, (T, K), T where there is none. Their offsets are symmetric: t is the
            neighbour K - 1 - k of its neighbour k.
    """
    device = x.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    weights = (p.to(precision) for p in (look.weight, look.bias, back.weight, back.bias))
    with torch.autocast(device, enabled=False):
        return cast(Tensor, _ResidualBlock.apply(x, norm.weight, norm.bias, norm.eps, *weights, neighbours))


def _pieces(rows: int, width: int, size: int) -> list[slice]:
    """Return pieces of rows that are gathered together, of `width` numbers of `size` bytes each."""
    step = max(256, PIECE * torch.get_num_threads() // (width * size) // 64 * 64)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _with_zeros(rows: int, width: int, like: Tensor) -> Tensor:
    """Return an array for as many rows, and a last row of zeros."""
    padded = like.new_empty(rows + 1, width)
    padded[rows] = 0
    return padded


def _gathered(padded: Tensor, neighbours: Tensor) -> Tensor:
    """Return the rows of the neighbours of some residues, (t, K · D)."""
    return padded.index_select(0, neighbours.reshape(-1)).view(len(neighbours), -1)


class _ResidualBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        shift: Tensor,
        eps: float,
        look: Tensor,
        look_bias: Tensor,
        back: Tensor,
        back_bias: Tensor,
        neighbours: Tensor,
    ) -> Tensor:
        rows, (hidden, width) = len(x), look.shape
        normalised, mean, rstd = torch.native_layer_norm(x, x.shape[1:], gain, shift, eps)
        h = _with_zeros(rows, x.shape[1], look)
        h[:rows] = normalised
        inner, outer, found = look.new_empty(rows, hidden), look.new_empty(rows, hidden), torch.empty_like(x)
        for at in _pieces(rows, width, h.element_size()):
            torch.addmm(look_bias, _gathered(h, neighbours[at]), look.t(), out=inner[at])
            torch.ops.aten.gelu.out(inner[at], out=outer[at])
            torch.add(x[at], torch.addmm(back_bias, outer[at], back.t()), out=found[at])
        ctx.save_for_backward(x, mean, rstd, gain, shift, h, inner, outer, look, back, neighbours)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd, gain, shift, h, inner, outer, look, back, neighbours = ctx.saved_tensors
        (rows, width), (hidden, taps) = x.shape, (len(look), neighbours.shape[1])
        g = gradient.to(look.dtype)
        of_inner = _with_zeros(rows, hidden, look)
        torch.ops.aten.gelu_backward.grad_input(g @ back, inner, grad_input=of_inner[:rows])
        of_back, of_back_bias, of_look_bias = g.t() @ outer, g.sum(0), of_inner.sum(0)
        reverse = look.view(hidden, taps, width).flip(1).transpose(0, 1).reshape(taps * hidden, width)
        exact = torch.promote_types(look.dtype, torch.float32)
        of_look = torch.zeros(width, taps * hidden, dtype=exact, device=x.device)
        of_h = look.new_empty(rows, width)
        for at in _pieces(rows, taps * hidden, h.element_size()):
            read = _gathered(of_inner, neighbours[at])
            torch.mm(read, reverse, out=of_h[at])
            of_look += h[at].t() @ read
        of_look = of_look.view(width, taps, hidden).flip(1).permute(2, 1, 0).reshape(hidden, -1).to(look.dtype)
        of_x, of_gain, of_shift = torch.ops.aten.native_layer_norm_backward(
            of_h.to(x.dtype), x, x.shape[1:], mean, rstd, gain, shift, [True, True, True]
        )
        return of_x.add_(gradient), of_gain, of_shift, None, of_look, of_look_bias, of_back, of_back_bias, None
