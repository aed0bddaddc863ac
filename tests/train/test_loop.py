"""The training loop: complete run folders, generalisation, and resumption."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import small_run
import torch

from phylocli.config.train import OptimiserConfig
from phylocli.core.errors import UsageError
from phylocli.core.plugins import CRITICS, OBJECTIVES
from phylocli.critics import build_critic
from phylocli.formats import read_families
from phylocli.models.model import Model
from phylocli.objectives import Requirements, build_objective, needs_decoder, requirements_of
from phylocli.pairs import Split
from phylocli.train import checkpoints, train_model
from phylocli.train.divergence import DivergedError
from phylocli.train.report.metrics import VALIDATION
from phylocli.train.signals import Stop, Stopped

SMALL: dict[str, Any] = {**small_run.SMALL, "batch.pairs": 16, "validation.every": 5, "checkpoints.every": 4}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=24, in_clan=2)


def losses(run: Path) -> list[float]:
    return pl.read_parquet(run / "metrics.parquet")["loss"].to_list()


def test_a_run_folder_holds_what_the_design_says(families: Path, tmp_path: Path) -> None:
    model = train_model([families], tmp_path / "run", steps=10, device="cpu", settings=SMALL)
    assert model == tmp_path / "run" / "model"
    names = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert names == ["checkpoints", "config.toml", "metrics.parquet", "model", "provenance.json", "split.parquet"]
    metrics = pl.read_parquet(tmp_path / "run" / "metrics.parquet")
    assert metrics["step"].to_list() == list(range(1, 11))
    assert metrics.filter(pl.col("val_loss").is_not_null())["step"].to_list() == [5, 10]
    last = metrics.row(-1, named=True)
    assert all(math.isfinite(last[name]) for name in VALIDATION)
    assert last["val_ceiling"] == pytest.approx(math.log(16))
    assert last["val_bound"] <= last["val_ceiling"]
    assert 1 <= last["val_rank"] <= Model.load(model).dimension
    assert [p.name for p in checkpoints.found(tmp_path / "run" / "checkpoints")] == ["step-00000008.pt", "step-00000010.pt"]
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["encoder"]["preset"] == "tiny"
    assert config["optimiser"] == OptimiserConfig().model_dump()
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert record["stage"] == "train"
    assert "fingerprint" in (model / "MODEL_CARD.md").read_text().lower()


def test_the_same_seed_gives_the_same_model_and_its_config_reproduces_it(families: Path, tmp_path: Path) -> None:
    def fingerprint(name: str, **options: Any) -> str:
        return Model.load(train_model([families], tmp_path / name, device="cpu", **options)).fingerprint

    first = fingerprint("a", steps=3, seed=1, settings=SMALL)
    assert fingerprint("b", steps=3, seed=1, settings=SMALL) == first
    assert fingerprint("c", steps=3, seed=2, settings=SMALL) != first
    assert fingerprint("d", seed=1, recipe=tmp_path / "a" / "config.toml") == first
    again = train_model([], tmp_path / "e", seed=None, recipe=tmp_path / "a" / "config.toml", device="cpu")
    assert Model.load(again).fingerprint == first


def test_training_improves_retrieval_of_held_out_members(families: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "validation.every": 1, "view.name": "phylogenetic"}
    train_model([families], tmp_path / "run", steps=60, device="cpu", settings=settings)
    metrics = pl.read_parquet(tmp_path / "run" / "metrics.parquet")
    first, last = metrics.row(0, named=True), metrics.row(-1, named=True)
    assert last["loss"] < 0.5 * first["loss"]
    assert last["val_loss"] < 0.8 * first["val_loss"], (first, last)
    assert last["val_accuracy"] > first["val_accuracy"] + 0.2


def command(families: Path, run: Path, *more: str) -> subprocess.Popen[bytes]:
    options = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    dropout = ("--set", "encoder.parameters.dropout=0.2", "--set", "checkpoints.every=3")  # so that random state matters
    return subprocess.Popen(
        [sys.executable, "-m", "phylocli", "train", str(families), "-o", str(run), "--steps", "30", "--device", "cpu",
         *options, *dropout, *more],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate(timeout=600)[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("recipe", ["simclr", "moco-v2"])
def test_killed_run_resumes_exactly(recipe: str, families: Path, tmp_path: Path) -> None:
    whole = command(families, tmp_path / "whole", "--recipe", recipe)
    said = whole.communicate(timeout=600)[1].decode()
    assert whole.returncode == 0, said
    killed = command(families, tmp_path / "killed", "--recipe", recipe)
    wait_for(tmp_path / "killed" / "checkpoints" / "step-00000006.pt", killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    resumed = command(families, tmp_path / "killed", "--recipe", recipe, "--resume")
    said = resumed.communicate(timeout=600)[1].decode()
    assert resumed.returncode == 0, said
    assert "resuming after step" in said
    assert not list((tmp_path / "killed").rglob(".*"))  # neither a lock nor temporary files
    assert losses(tmp_path / "killed") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)
    one, two = (Model.load(tmp_path / name / "model") for name in ("whole", "killed"))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(families: Path, tmp_path: Path) -> None:
    """At random moments: within steps, while a checkpoint is written, between a checkpoint and its metrics."""
    whole, run = tmp_path / "whole", tmp_path / "killed"
    said = command(families, whole).communicate(timeout=600)[1].decode()
    assert (whole / "model").is_dir(), said
    rng, kills = np.random.default_rng(0), 0
    while True:
        before = checkpoints.found(run / "checkpoints")
        with command(families, run, "--resume") as process:
            end = time.monotonic() + 600
            while process.poll() is None and checkpoints.found(run / "checkpoints") == before:
                assert time.monotonic() < end
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1))
            if process.poll() is not None:
                break
            process.kill()
            kills += 1
    assert process.returncode == 0 and kills >= 3
    assert not list(run.rglob(".*"))
    assert losses(run) == pytest.approx(losses(whole), abs=1e-6)
    one, two = (Model.load(folder / "model") for folder in (whole, run))
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.usefixtures("heeds_hangups")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 130)])
def test_stopped_run_saves_a_checkpoint_and_prints_the_resume_command(
    number: signal.Signals, code: int, families: Path, tmp_path: Path
) -> None:
    process = command(families, tmp_path / "run", "--steps", "100000")
    wait_for(tmp_path / "run" / "checkpoints" / "step-00000003.pt", process)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == code
    assert f"phylocli train --resume -o {tmp_path / 'run'}" in said
    state = checkpoints.load_latest(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert f"stopped after step {state['step']} of 100000" in said
    assert len(losses(tmp_path / "run")) == state["step"]
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_that_was_stopped_and_resumed_ends_with_the_checkpoints_of_one_that_was_not(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SMALL, "validation.fraction": 0.0, "checkpoints.every": 4, "checkpoints.keep": 3}
    train_model([families], tmp_path / "whole", steps=10, device="cpu", settings=settings)
    asked = iter([False] * 5 + [True])
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="step 6"):
        patch.setattr(Stop, "agreed", lambda stop, world: setattr(stop, "signal", signal.SIGTERM) or next(asked))
        train_model([families], tmp_path / "run", steps=10, device="cpu", settings=settings)
    assert [path.stem[-2:] for path in checkpoints.found(tmp_path / "run" / "checkpoints")] == ["04", "06"]
    train_model([families], tmp_path / "run", steps=10, device="cpu", settings=settings, resume=True)
    names = [{path.name for path in checkpoints.found(tmp_path / run / "checkpoints")} for run in ("whole", "run")]
    assert names[0] == names[1]


def test_damaged_checkpoint_is_skipped_and_pickles_are_never_loaded(
    families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_model([families], tmp_path / "run", steps=8, device="cpu", settings=SMALL)
    folder = tmp_path / "run" / "checkpoints"
    good = losses(tmp_path / "run")
    newest = checkpoints.found(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"step": 9, "evil": Evil()}, folder / "step-00000009.pt")
    train_model([families], tmp_path / "run", steps=8, device="cpu", settings=SMALL, resume=True)
    assert not (tmp_path / "owned").exists()
    assert losses(tmp_path / "run") == pytest.approx(good, abs=1e-6)
    assert capsys.readouterr().err.count("is damaged and is skipped") == 2


def test_finished_run_is_not_trained_again_but_its_model_is_restored(families: Path, tmp_path: Path) -> None:
    model = train_model([families], tmp_path / "run", steps=2, device="cpu", settings=SMALL)
    fingerprint = Model.load(model).fingerprint
    before = (tmp_path / "run" / "metrics.parquet").stat().st_mtime_ns
    train_model([families], tmp_path / "run", steps=2, device="cpu", settings=SMALL, resume=True)
    shutil.rmtree(model)
    train_model([], tmp_path / "run", device="cpu", resume=True)  # inputs and settings are those of the run
    assert Model.load(model).fingerprint == fingerprint
    assert (tmp_path / "run" / "metrics.parquet").stat().st_mtime_ns == before


def test_a_run_of_constant_rate_is_extended_and_a_decayed_one_is_not(families: Path, tmp_path: Path) -> None:
    def trained(run: str, steps: int, decay: float, *, resume: bool = False) -> Path:
        schedule = {"optimiser.warmup": 1 / steps, "optimiser.decay": decay}
        return train_model(
            [families], tmp_path / run, steps=steps, device="cpu", settings={**SMALL, **schedule}, resume=resume
        )

    whole = Model.load(trained("whole", 8, 0.5))
    short = Model.load(trained("run", 4, 0.0)).fingerprint
    extended = Model.load(trained("run", 8, 0.5, resume=True))
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)
    assert extended.fingerprint != short
    rates = pl.read_parquet(tmp_path / "run" / "metrics.parquet")["learning_rate"].to_list()
    assert rates[:4] == pytest.approx([rates[0]] * 4)
    assert rates[-1] == pytest.approx(0.05 * rates[0])
    torch.testing.assert_close(extended.state_dict(), whole.state_dict())
    with pytest.raises(UsageError, match=r"different settings: optimiser\.warmup = 0\.125, steps = 8"):
        trained("run", 16, 0.5, resume=True)


def test_a_run_folder_in_use_is_never_overwritten(families: Path, tmp_path: Path) -> None:
    train_model([families], tmp_path / "run", steps=2, device="cpu", settings=SMALL)
    with pytest.raises(UsageError, match="already contains a run"):
        train_model([families], tmp_path / "run", steps=2, device="cpu", settings=SMALL)
    with pytest.raises(UsageError, match=r"different settings: batch\.pairs = 16, seed = 0"):
        train_model(
            [families], tmp_path / "run", steps=2, seed=9, device="cpu", settings={**SMALL, "batch.pairs": 8}, resume=True
        )
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("…")
    with pytest.raises(UsageError, match="contains no run"):
        train_model([families], tmp_path / "thesis", steps=2, device="cpu", settings=SMALL, resume=True)


def test_a_resumed_run_keeps_its_split(families: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.tsv"
    found = list(read_families(families))
    Split.of((f, [("train", f.ids[4:]), ("validation", f.ids[:4])]) for f in found).write(split)
    settings = {**SMALL, "validation.split": str(split)}
    train_model([families], tmp_path / "run", steps=2, device="cpu", settings=settings)
    saved = Split.read(tmp_path / "run" / "split.parquet")
    assert saved.digest() == Split.read(split).digest()
    shutil.rmtree(tmp_path / "run" / "model")
    Split.of((f, [("train", f.ids[:-4]), ("validation", f.ids[-4:])]) for f in found).write(split)
    with pytest.raises(UsageError, match="started with a different split"):
        train_model([families], tmp_path / "run", steps=2, device="cpu", settings=settings, resume=True)
    assert Split.read(tmp_path / "run" / "split.parquet").digest() == saved.digest()


def test_a_run_from_before_a_setting_existed_can_be_resumed(families: Path, tmp_path: Path) -> None:
    train_model([families], tmp_path / "run", steps=2, device="cpu", settings=SMALL)
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace('on_divergence = "stop"\n', ""))
    shutil.rmtree(tmp_path / "run" / "model")
    assert train_model([families], tmp_path / "run", steps=2, device="cpu", settings=SMALL, resume=True).is_dir()


def test_divergence_is_noticed_and_explained(families: Path, tmp_path: Path) -> None:
    wild = {**SMALL, "optimiser.learning_rate": 1e30, "optimiser.warmup": 0.0}
    with pytest.raises(DivergedError, match=r"diverged: the .* of step"):
        train_model([families], tmp_path / "run", steps=20, device="cpu", settings=wild)
    assert not (tmp_path / "run" / "model").exists()


PLAIN = [
    name
    for name in OBJECTIVES.names()
    if replace(requirements_of(build_objective(name, build_critic("gaussian", 5), dimension=5, features=5)), negatives=True)
    == Requirements()
]


@pytest.mark.parametrize("objective", PLAIN)
def test_every_objective_trains(objective: str, families: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "objective.name": objective, "validation.fraction": 0.0}
    if needs_decoder(objective):
        settings["critic.name"] = "gaussian"
    if objective == "crd":
        settings["objective.buffer"] = 0  # as the buffer fills, negatives and loss increase
    train_model([families], tmp_path / "run", steps=12, device="cpu", settings=settings)
    values = losses(tmp_path / "run")
    assert sum(values[-3:]) < sum(values[:3])


@pytest.mark.parametrize("critic", CRITICS.names())
def test_every_critic_trains(critic: str, families: Path, tmp_path: Path) -> None:
    changes = {"critic.name": critic, "objective.name": "infonce", "validation.fraction": 0.0}
    settings = {**SMALL, **changes}
    train_model([families], tmp_path / "run", steps=40, device="cpu", settings=settings)
    values = losses(tmp_path / "run")
    assert sum(values[-3:]) < sum(values[:3])


def test_bf16_training_keeps_float32_weights_and_follows_the_float32_curve(families: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        train_model([families], tmp_path / precision, steps=8, device="cpu", settings={**SMALL, "precision": precision})
    assert losses(tmp_path / "bf16") == pytest.approx(losses(tmp_path / "fp32"), rel=0.05)
    state = checkpoints.load_latest(tmp_path / "bf16" / "checkpoints")
    assert state is not None
    assert {t.dtype for t in state["task"].values()} == {torch.float32}
    first = Model.load(tmp_path / "bf16" / "model").fingerprint
    assert first != Model.create(preset="tiny", seed=0).fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch.pears": 3}, "did you mean 'pairs'"),
        ({"batch.pairs": "many"}, "must be a whole number"),
        ({"checkpoints.keep": 0}, "must be at least 1"),
        ({"critic.temprature": 0.1}, "did you mean 'temperature'"),
        ({"encoder.name": "resnet"}, "unknown encoder"),
        ({"precision": "fp8"}, "must be auto, fp32 or bf16"),
        ({"view.crop.size": 3}, "no parameter 'size'"),
        ({"validation.fraction": 1.5}, "must be below 1"),
    ],
    ids=str,
)
def test_wrong_settings_are_usage_errors_and_leave_nothing_behind(
    settings: dict[str, Any], message: str, families: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        train_model([families], tmp_path / "run", steps=2, device="cpu", settings={**SMALL, **settings})
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()
