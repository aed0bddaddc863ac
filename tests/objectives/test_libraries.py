"""Losses have the values and gradients of pytorch-metric-learning's, where there are no homologs to mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses
from torch import Tensor

from phylocli.critics import build_critic
from phylocli.objectives import Batch, build_objective

N, D, TEMPERATURE = 12, 7, 0.2


def normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (N, D)), generator=generator, dtype=torch.float64).requires_grad_()


def build(name: str, **parameters: Any) -> torch.nn.Module:
    critic = build_critic("cosine", D, {"temperature": TEMPERATURE})
    return build_objective(name, critic, parameters, dimension=D, features=D).double()


def the_same(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    for mine, other in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-8)


def test_nt_xent_is_pytorch_metric_learnings() -> None:
    a, b = normal(0), normal(1)
    theirs = losses.NTXentLoss(temperature=TEMPERATURE)(torch.cat([a, b]), torch.arange(N).repeat(2))
    the_same(build("nt-xent")(a, b, Batch.of_pairs(N))["loss"], theirs, a, b)


def test_supcon_is_pytorch_metric_learnings() -> None:
    a, b = normal(0), normal(1)
    family = torch.tensor([0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 5, 5])
    theirs = losses.SupConLoss(temperature=TEMPERATURE)(torch.cat([a, b]), family.repeat(2))
    the_same(build("supcon")(a, b, Batch.of_families(family))["loss"], theirs, a, b)


def test_declutr_is_pytorch_metric_learnings_nt_xent_on_averaged_positives() -> None:
    a, b, c = normal(0), normal(1), normal(2)
    theirs = losses.NTXentLoss(temperature=TEMPERATURE)(torch.cat([a, (b + c) / 2]), torch.arange(N).repeat(2))
    batch = Batch.of_families(torch.arange(N), torch.full((N,), -1), more=[c])
    the_same(build("declutr")(a, b, batch)["loss"], theirs, a, b, c)
