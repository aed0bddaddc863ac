"""Convolution of flat residues on the CPU, piece by piece, with a gradient that gathers instead of scattering.

A convolution is a product of the gathered neighbours of each residue, (T, kernel · width), with one matrix. Gathered at
once and kept for the gradient, they are the largest arrays of an encoder's step. Here they are gathered for some residues at
a time, multiplied, and dropped.

The gradient is a convolution, too: residue t was read, as neighbour k, by the residue `offsets[k]` before it, so

    ∂h[t] = Σ_k g[t - offsets[k]] · W_k,    ∂W_k = Σ_t g[t - offsets[k]]ᵀ · h[t]

and with offsets that are symmetric about 0 the gathered g are in the same table of neighbours, in reverse order. Nothing is
scattered, and both products take the same gathered rows.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 4 << 20
"""Bytes of gathered rows for each thread. Smaller pieces stay in faster caches, but their products are slower."""


def convolve(h: Tensor, weight: Tensor, bias: Tensor, neighbours: Tensor) -> Tensor:
    """Return the linear map of the neighbours of each row, (T, H).

    Args:
        h: rows (T, D).
        weight: (H, K · D), neighbours in the order of `neighbours`.
        bias: (H,).
        neighbours: row of each of K neighbours, (T, K), T where there is none. Their offsets are symmetric: t is the
            neighbour K - 1 - k of its neighbour k.
    """
    return cast(Tensor, _Convolution.apply(h, weight, bias, neighbours))


def _pieces(rows: int, width: int, size: int) -> list[slice]:
    """Return pieces of rows that are gathered together, of `width` numbers of `size` bytes each."""
    step = max(256, PIECE * torch.get_num_threads() // (width * size) // 64 * 64)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight, neighbours)
        padded, found = F.pad(h, (0, 0, 0, 1)), h.new_empty(len(h), len(weight))
        for at in _pieces(len(h), weight.shape[1], h.element_size()):
            rows = padded.index_select(0, neighbours[at].reshape(-1)).view(-1, weight.shape[1])
            torch.addmm(bias, rows, weight.t(), out=found[at])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        h, weight, neighbours = ctx.saved_tensors
        (hidden, width), taps = (len(weight), h.shape[1]), neighbours.shape[1]
        back = weight.view(hidden, taps, width).flip(1).transpose(0, 1).reshape(taps * hidden, width)
        padded, of_rows = F.pad(gradient, (0, 0, 0, 1)), torch.empty_like(h)
        exact = torch.promote_types(h.dtype, torch.float32)
        of_weight = torch.zeros(width, taps * hidden, dtype=exact, device=h.device)
        for at in _pieces(len(h), taps * hidden, h.element_size()):
            rows = padded.index_select(0, neighbours[at].reshape(-1)).view(-1, taps * hidden)
            torch.mm(rows, back, out=of_rows[at])
            of_weight += h[at].t() @ rows
        of_weight = of_weight.view(width, taps, hidden).flip(1).permute(2, 1, 0).reshape(hidden, -1).to(weight.dtype)
        return of_rows, of_weight, gradient.sum(0), None
