"""Metrics in TensorBoard and Weights & Biases: what they hold is what metrics.parquet holds."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import wandb

from phylocli.config.train import TrainConfig
from phylocli.core.errors import MissingDependencyError
from phylocli.train import train_model
from phylocli.train.report.metrics import MetricsLog
from phylocli.train.report.trackers import named, tracking

QUICK: dict[str, Any] = {
    "encoder.preset": "tiny",
    "batch.pairs": 8,
    "validation.every": 2,
    "validation.pairs": 8,
    "validation.fraction": 0.2,
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(3, members=24)


def figures(folder: Path) -> dict[tuple[str, int], float]:
    """Return what a run's metrics hold, by name and step."""
    rows = pl.read_parquet(folder / "metrics.parquet").to_dicts()
    return {(name, row["step"]): value for row in rows for name, value in named(row).items()}


def test_names_are_grouped_without_missing_ones() -> None:
    row = {"step": 3, "loss": 1.5, "pairs": 8, "val_rank": 2.0, "val_loss": None, "mfu": math.nan}
    assert named(row) == {"train/loss": 1.5, "train/pairs": 8.0, "validation/rank": 2.0}


def test_rows_are_published_once_and_again_after_a_roll_back(tmp_path: Path) -> None:
    seen: list[int] = []
    metrics = MetricsLog(tmp_path / "metrics.parquet")
    metrics.trackers = [lambda row: seen.append(row["step"])]
    for step in (1, 2, 3):
        metrics.append({"step": step})
        metrics.publish()
    metrics.forget(1)
    metrics.publish()
    metrics.append({"step": 2})
    metrics.write()
    assert seen == [1, 2, 3, 2]
    later = MetricsLog(tmp_path / "metrics.parquet", upto=2)
    later.trackers = metrics.trackers
    later.publish()  # an earlier process did
    assert seen == [1, 2, 3, 2]


def test_tensorboard_reads_back_every_row(families: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_model([families], tmp_path / "run", steps=4, device="cpu", settings={**QUICK, "log.tensorboard": True})
    reader = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    found = {(tag, event.step): event.value for tag in reader.Tags()["scalars"] for event in reader.Scalars(tag)}
    expected = figures(tmp_path / "run")
    assert ("validation/bound", 4) in expected and ("train/mfu", 1) in expected
    assert found == {at: pytest.approx(value, rel=1e-6) for at, value in expected.items()}


def test_tracked_rows_after_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrainConfig.of(None, {"log": {"tensorboard": True}})
    with tracking(tmp_path, config) as [track]:
        for step in (1, 2, 3):
            track({"step": step, "loss": 1.0})
    with tracking(tmp_path, config, start=1) as [track]:
        track({"step": 2, "loss": 5.0})
    reader = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in reader.Scalars("train/loss")] == [(1, 1.0), (2, 5.0)]


def test_weights_and_biases_keeps_an_offline_run(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    train_model([families], tmp_path / "run", steps=2, device="cpu", settings={**QUICK, "log.wandb": "phylocli-test"})
    wandb.teardown()  # the service may write the file after the run has finished; it ends here, as at the end of a command
    [kept] = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    identity = (tmp_path / "run" / "wandb-run").read_text().strip()
    assert identity in kept.name
    for name in ("train/loss", "validation/bound", "phylocli-test"):
        assert name.encode() in content
    last = figures(tmp_path / "run")["train/loss", 2]
    assert repr(last).encode() in content  # figures are kept as JSON
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("name", "setting"), [("tensorboard", True), ("wandb", "project")])
def test_missing_extra_is_an_error_before_any_work(
    name: str, setting: Any, families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError) as caught:
        train_model([families], tmp_path / "run", steps=2, device="cpu", settings={**QUICK, f"log.{name}": setting})
    assert caught.value.fix == f"pip install '.[{name}]'"
    assert not (tmp_path / "run").exists()


def test_a_run_may_be_resumed_with_other_trackers(families: Path, tmp_path: Path) -> None:
    train_model([families], tmp_path / "run", steps=2, device="cpu", settings={**QUICK, "log.mfu": False})
    again = train_model([families], tmp_path / "run", steps=2, device="cpu", resume=True, settings=QUICK)
    assert again == tmp_path / "run" / "model"
