"""Operations of a step against closed forms and PyTorch's counter, and rates in the record of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from phylocli.config.train import TrainConfig
from phylocli.encoders import pad_batch
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.train import train_model
from phylocli.train.data.types import PairBatch
from phylocli.train.report import flops, throughput
from phylocli.train.report.throughput import Meter, peak_rate
from phylocli.train.task import ContrastiveTask

LENGTHS = [3, 40, 17, 17]


def sequences(lengths: list[int]) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(4, 24, size=n, dtype=np.uint8) for n in lengths]


def closed_form(name: str, parameters: dict[str, Any], length: int) -> float:
    """Return the forward pass' operations by the architecture: twice the weights of each map, and attention's L² terms."""
    width = parameters["width"]
    pooling = 2 * length * width
    attention = 4 * length**2 * width
    if name == "convolutional":
        hidden = parameters["hidden"]
        return 2 * length * parameters["depth"] * (parameters["kernel"] + 1) * width * hidden + pooling
    if name == "transformer":
        return parameters["depth"] * (2 * length * 12 * width**2 + attention) + pooling
    assert name == "recurrent"  # three gates from the input and three from the state, in both directions
    half = width // 2
    return 2 * length * parameters["depth"] * 2 * 3 * half * (width + half) + pooling


@pytest.mark.parametrize("name", ["convolutional", "transformer", "recurrent"])
def test_the_forward_pass_has_the_operations_of_its_closed_form(name: str) -> None:
    model = Model.create(name, preset="tiny")
    work = flops.count(model)
    for length in (1, 60, 1000):
        assert work.of([length], trained=False) == pytest.approx(closed_form(name, model.config.parameters, length))
    backward = work.of([1000]) - work.of([1000], trained=False)
    assert backward == pytest.approx(2 * work.of([1000], trained=False), rel=0.01)


@pytest.mark.parametrize("name", ["convolutional", "transformer", "recurrent", "hybrid", "ensemble"])
def test_three_lengths_tell_what_the_counter_counts_at_any(name: str) -> None:
    model = Model.create(name, preset="tiny").train()
    expected = 0.0
    for sequence in sequences(LENGTHS):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(*pad_batch([sequence])).sum().backward()
        expected += counter.get_total_flops()
    model.zero_grad()
    if hasattr(model.encoder, "activation_checkpointing"):
        model.encoder.activation_checkpointing = True  # what is computed twice to save memory counts once
    assert flops.count(model).of(LENGTHS) == pytest.approx(expected)
    assert all(p.grad is None for p in model.parameters())  # counted on a copy


def batch(lengths: list[int]) -> PairBatch:
    n = len(lengths)
    more = [sequences([7] * n)]
    return PairBatch(sequences(lengths), sequences([9] * n), np.zeros(n), np.arange(n), np.full(n, -1), more=more)


@pytest.mark.parametrize(
    ("recipe", "trained", "forward"),
    [
        ("simclr", [*LENGTHS, 9, 9, 9, 9], []),
        ("moco", LENGTHS, [9, 9, 9, 9]),
        ("infomax", LENGTHS, []),
        ("mae", [n - round(n / 2) for n in LENGTHS], []),
        ("swav", [*LENGTHS, 9, 9, 9, 9, 7, 7, 7, 7], []),
        ("cpcprot", [3, 11, 11, 11, 11, 11], []),
    ],
)
def test_a_batch_costs_what_its_objective_embeds(recipe: str, trained: list[int], forward: list[int]) -> None:
    changes: dict[str, Any] = {"encoder": {"preset": "tiny"}}
    if recipe == "cpcprot":
        changes["objective"] = {"segment": 11}
    task = ContrastiveTask(TrainConfig.of(None, {"recipe": recipe, **changes}))
    work = flops.count(task.model)
    expected = work.of(trained) + work.of(forward, trained=False)
    assert flops.of_batch(work, task, batch(LENGTHS)) == pytest.approx(expected)


def test_rates_are_averages_since_the_device_was_last_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "peak_rate", lambda *_: 1e9)
    task = ContrastiveTask(TrainConfig.of(None, {"recipe": "simclr", **{"encoder": {"preset": "tiny"}}}))
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    meter = Meter(task, flops.count(task.model), processes=2)
    rows: list[dict[str, Any]] = [{"residues": 100}, {"residues": 300}]
    for row in rows:
        meter.note(row, [batch(LENGTHS)])
    clock[0] += 2.0
    meter.settle(rows)
    assert [row["residues_per_second"] for row in rows] == [200.0, 200.0]
    assert rows[0]["mfu"] == pytest.approx((rows[0]["flops"] + rows[1]["flops"]) / 2.0 / 2e9)
    clock[0] += 50.0  # a checkpoint, say
    meter.start()
    clock[0] += 1.0
    later: list[dict[str, Any]] = [{"residues": 50, "flops": 0.0}]
    meter.settle(later)
    assert later[0]["residues_per_second"] == 50.0


def test_the_rate_of_matrix_products_is_measured_once_and_known_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    rate = peak_rate(cpu, torch.float32)
    assert 1e8 < rate < 1e15
    assert peak_rate(cpu, torch.float32) == rate
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    assert peak_rate(torch.device("cuda"), torch.bfloat16) == 989e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA L40S")
    assert peak_rate(torch.device("cuda"), torch.bfloat16) == 362e12


def test_a_run_records_its_rates_unless_told_not_to(simulate: Callable[..., Family], tmp_path: Path) -> None:
    path = tmp_path / "families.sto"
    write_families([simulate(f"PF{i:05d}", 12) for i in range(3)], path)
    settings = {"encoder.preset": "tiny", "batch.pairs": 8, "validation.every": 2, "precision": "fp32"}
    train_model([path], tmp_path / "run", steps=4, device="cpu", settings=settings)
    metrics = pl.read_parquet(tmp_path / "run" / "metrics.parquet")
    learned = metrics.select("residues_per_second", "flops", "mfu")
    assert learned.null_count().sum_horizontal().item() == 0
    assert 0 < metrics["mfu"].max() < 1.5  # type: ignore[operator]
    per_residue = metrics["flops"] / metrics["residues"]
    assert per_residue.is_between(5.9e5, 6.1e5).all()  # six times 0.1 million weights
    train_model([path], tmp_path / "without", steps=1, device="cpu", settings={**settings, "log.mfu": False})
    names = pl.read_parquet(tmp_path / "without" / "metrics.parquet").columns
    assert "residues_per_second" in names and "mfu" not in names and "flops" not in names
