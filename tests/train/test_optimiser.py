"""The optimisers and the learning-rate schedule."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from phylocli.config.train import OptimiserConfig, TrainConfig
from phylocli.core.errors import UsageError
from phylocli.models.model import Model
from phylocli.train.optimiser import Muon, Schedule, make_optimiser, orthogonalised


class Task(nn.Module):
    """One parameter of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(70, 64)
        self.linear = nn.Linear(64, 96)
        self.convolution = nn.Conv1d(96, 64, 3)
        self.states = nn.Linear(64, 3)


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    schedule = Schedule(100, learning_rate=0.01, warmup=0.1, final=0.1)
    rates = [schedule.rate(step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[9] == max(rates) == pytest.approx(0.01)
    assert rates[54] == pytest.approx((0.01 + 0.001) / 2)
    assert rates[-1] == pytest.approx(0.001)


def test_the_learning_rate_is_constant_until_the_decay() -> None:
    schedule = Schedule(100, learning_rate=0.01, warmup=0.1, final=0.0, decay=0.2)
    rates = [schedule.rate(step) for step in range(1, 101)]
    assert rates[9:80] == [pytest.approx(0.01)] * 71
    assert rates[89] == pytest.approx(0.005)
    assert rates[-1] == pytest.approx(0)
    assert rates[80:] == sorted(rates[80:], reverse=True)


def test_orthogonalised_keeps_singular_vectors_and_equalises_singular_values() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((64, 96), (96, 64)):
        matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        assert values[0] > 3 * values[-1]
        inner = left.T @ orthogonalised(matrix) @ right.T
        assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-9
        assert 0.6 < inner.diagonal().min() <= inner.diagonal().max() < 1.3


def test_muon_is_for_matrices_between_hidden_layers_only() -> None:
    torch.manual_seed(0)
    task, twin = Task(), Task()
    twin.load_state_dict(task.state_dict())
    muon = make_optimiser(task, OptimiserConfig(name="muon", weight_decay=0.1))
    adamw = make_optimiser(twin, OptimiserConfig(weight_decay=0.1))
    assert isinstance(muon, Muon)
    before = {name: p.detach().clone() for name, p in task.named_parameters()}
    for p, q in zip(task.parameters(), twin.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    gradients = {name: p.grad for name, p in task.named_parameters() if p.grad is not None}
    muon.step()
    adamw.step()
    expected = dict(twin.named_parameters())
    for name, p in task.named_parameters():
        if name not in ("linear.weight", "convolution.weight"):
            torch.testing.assert_close(p, expected[name])
            continue
        # Nesterov: at the first step, gradient and momentum have the same direction.
        direction = orthogonalised(gradients[name].flatten(1)).view_as(p)
        step = 0.002 * 0.2 * math.sqrt(max(p.flatten(1).shape))
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.002 * 0.1) - step * direction)


def test_the_state_of_muon_is_saved_and_restored() -> None:
    torch.manual_seed(0)
    task, twin = Task(), Task()
    one, two = (make_optimiser(x, OptimiserConfig(name="muon")) for x in (task, twin))

    def step(task: Task, optimiser: torch.optim.Optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for p in task.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        optimiser.step()

    step(task, one, 0)
    twin.load_state_dict(task.state_dict())
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    step(task, one, 1)
    step(twin, two, 1)
    for p, q in zip(task.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_muon_does_not_divide_matrices_among_processes() -> None:
    with pytest.raises(UsageError, match="whole matrices"):
        TrainConfig.of(None, {"optimiser": {"name": "muon"}, "batch": {"shard": True}})


@pytest.mark.parametrize("kind", ["esm2", "prott5"])
def test_layer_decay_lowers_the_learning_rate_from_layer_to_layer(kind: str, pretrained: Callable[[str], Path]) -> None:
    model = Model.create("plm", parameters={"checkpoint": str(pretrained(kind)), "mode": "full", "project": 4})
    task = torch.nn.Module()
    task.model, task.temperature = model, torch.nn.Parameter(torch.ones(()))
    optimiser = make_optimiser(task, OptimiserConfig(layer_decay=0.5))
    names = {id(p): name for name, p in task.named_parameters()}
    scales = {names[id(p)]: group["scale"] for group in optimiser.param_groups for p in group["params"]}
    assert len(scales) == len(names)
    layer = "encoder.layer.{}." if kind == "esm2" else "encoder.block.{}."
    expected = {layer.format(1): 0.5, layer.format(0): 0.25, "embed": 0.125, "projection": 1.0, "temperature": 1.0}
    for name, scale in scales.items():
        wanted = next((value for part, value in expected.items() if part in name), 1.0)  # 1: the final norm
        assert scale == wanted, name
    assert {group["scale"] for group in optimiser.param_groups if group["params"]} == {1.0, 0.5, 0.25, 0.125}


def test_layer_decay_needs_layers() -> None:
    with pytest.raises(UsageError, match="no layers"):
        make_optimiser(Task(), OptimiserConfig(layer_decay=0.5))
