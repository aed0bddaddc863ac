"""The block of convolutions on flat residues: equal to separate operations, with the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from phylocli.encoders.base import convolution
from phylocli.encoders.base.batch import Layout
from phylocli.encoders.convolutional import Block, Encoder


def batch() -> Tensor:
    """Return a mask of sequences from one residue up to more than the reach of a block."""
    return torch.arange(40) < torch.tensor([1, 2, 40, 7, 33, 17, 5, 26])[:, None]


def outcome(block: Block, layout: Layout, x: Tensor, gradient: Tensor, precision: torch.dtype) -> list[Tensor]:
    """Return the result of a block and the gradients of its input and weights."""
    x, weights = x.clone().requires_grad_(), list(block.parameters())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        y = block(x, layout)
    return [y.detach(), *torch.autograd.grad(y, [x, *weights], gradient)]


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize("piece", [1, 1 << 30])
def test_pieces_equal_one_product(
    precision: torch.dtype, tolerance: float, dilation: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "PIECE", piece)
    torch.manual_seed(0)
    weights = torch.promote_types(precision, torch.float32)
    block, mask = Block(12, 20, 5, dilation, 3).to(weights), batch().repeat(4, 1)  # 524 residues, more than one piece
    inside, plain = Layout(mask), Layout(mask)
    plain.rows = None  # as on other devices: one gather, differentiated by torch
    x, gradient = (torch.randn(len(inside), 12, dtype=weights) for _ in range(2))
    ours, expected = (outcome(block, layout, x, gradient, precision) for layout in (inside, plain))
    for a, b in zip(ours, expected, strict=True):
        assert (a - b).norm() <= tolerance * b.norm()


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    layout = Layout(batch()[:4, :8])
    block = Block(3, 4, 3, 2, 1).double()
    x = torch.randn(len(layout), 3, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*block.named_parameters(), strict=True)

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(block, dict(zip(names, weights, strict=True)), (x, layout))

    assert torch.autograd.gradcheck(run, (x, *weights))


def test_an_encoder_gives_the_same_with_and_without_a_gradient() -> None:
    torch.manual_seed(0)
    encoder, mask = Encoder(**Encoder.PRESETS["tiny"]), batch()  # type: ignore[arg-type]
    tokens = torch.randint(5, 25, mask.shape)
    with torch.no_grad():
        expected = encoder(tokens, mask)
    torch.testing.assert_close(encoder(tokens, mask)[mask], expected[mask], rtol=1e-5, atol=1e-5)
