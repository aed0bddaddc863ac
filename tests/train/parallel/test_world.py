"""Several processes train as one: gradients of every objective, shares, queues; and the real command under torchrun."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import small_run
import torch
from safetensors.torch import load_file

from phylocli.core.plugins import OBJECTIVES
from phylocli.models.multimodal import MultimodalModel
from phylocli.objectives import needs_decoder
from phylocli.train import train_model
from phylocli.train.parallel.world import World

WORKER = Path(__file__).with_name("ranks_gradients.py")
SMALL: dict[str, Any] = {
    **small_run.UNVALIDATED,
    "encoder.parameters.dropout": 0.0,
    "batch.pairs": 14,
    "batch.max_tokens": 300,
}
RECIPES = [
    "moco",
    "swav",
    "simcse-supervised",
    "declutr",
    "cpc",
    "cpcprot",
    "infomax",
    "mae",
]  # all that ask for more than two views


FORKED = Path(__file__).parents[2] / "services" / "ranks.py"


def torchrun(ranks: int, *args: object) -> subprocess.CompletedProcess[bytes]:
    """Run something as several processes, none of which outlives this, in the environment that torchrun makes.

    They are forked; `stopped_under_torchrun` starts torchrun itself.
    """
    command = [sys.executable, str(FORKED), str(ranks), *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as launcher:
        try:
            said = launcher.communicate(timeout=600)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, launcher.returncode, *said)


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(7, members=20, in_clan=2)


PRETRAINED = [("esm2", "lora"), ("esm2", "full"), ("ankh", "lora"), ("protbert", "full"), ("esmc", "full")]


PAIRED: dict[str, Any] = {
    "modalities": "sequence,text",
    "batch.pairs": 11,
    "batch.max_tokens": 120,
    "head.dimension": 8,
    "precision": "fp32",
    "modality.sequence.preset": "tiny",
    "modality.text.preset": "tiny",
}


def modalities(path: Path) -> Path:
    """Write a table of which no modality is in all rows, and one in a single row."""
    rng = np.random.default_rng(0)
    letters = ["".join(rng.choice(list("ACDEFGHIKL"), rng.integers(8, 40))) for _ in range(24)]
    pl.DataFrame(
        {
            "sequence": letters,
            "three_di": [x if k % 3 else None for k, x in enumerate(reversed(letters))],
            "text": [f"protein number {k} of kind {k % 5}" if k % 4 else None for k in range(24)],
            "smiles": ["CCO" if k == 5 else None for k in range(24)],
            "family": [f"F{k // 2}" for k in range(24)],
        }
    ).write_parquet(path)
    return path


def cases(families: Path, pretrained: Callable[[str], Path]) -> dict[str, dict[str, Any]]:
    """Every objective, with a head, a critic that learns where it may, and queues; a teacher; pretrained encoders; and
    modalities, of which rows have two or three, or one row only."""
    found: dict[str, dict[str, Any]] = {}
    for name in OBJECTIVES.names():
        recipe = name if name in RECIPES else "simclr"
        settings = {**SMALL} if name in RECIPES else {**SMALL, "objective.name": name, "critic.name": "separable"}
        if needs_decoder(name):
            settings["critic.name"] = "gaussian"
        if name in ("moco", "swav"):
            settings["objective.queue"] = 36
        if name in ("infonce", "moco"):
            settings |= {"critic.name": "cosine", "critic.learned": True, "batch.grad_cache": True}
        if name == "hybrid":
            settings |= {"decoder.name": "autoregressive", "decoder.width": 16, "decoder.dropout": 0.2}
        if name in ("moco", "siglip"):
            settings["batch.activation_checkpointing"] = True
        found[name] = {"recipe": recipe, "settings": settings, "families": str(families)}
    taught = {"teachers": ["default"], "distillation.residues": 1.0, "distillation.sequences": 9, "head.norm": True}
    settings = {**SMALL, **taught, "distillation.weights.crd": 1.0, "distillation.weights.similarity-distillation": 1.0}
    found["distillation"] = {"recipe": "simclr", "settings": settings, "families": str(families)}
    for kind, mode in PRETRAINED:
        settings = {key: value for key, value in SMALL.items() if not key.startswith("encoder")} | {
            "encoder.name": "plm", "encoder.parameters": {"checkpoint": str(pretrained(kind)), "mode": mode},
            "batch.grad_cache": kind == "ankh", "batch.activation_checkpointing": kind == "protbert",
        }  # fmt: skip
        found[f"{kind} {mode}"] = {"recipe": "simclr", "settings": settings, "families": str(families)}
    table = str(modalities(families.with_name("table.parquet")))
    found["clip"] = {"recipe": "clip", "settings": {**PAIRED, "inputs": (table,)}}
    three = {key: value for key, value in PAIRED.items() if not key.startswith("modality.sequence")} | {
        "inputs": (table,), "modalities": "sequence,three_di,text,smiles", "modality.three-di.preset": "tiny",
        "modality.sequence.model": "default", "modality.sequence.locked": True, "modality.sequence.hidden": 8,
        "objective.name": "infonce", "critic.name": "separable", "batch.grad_cache": True,
    }  # fmt: skip
    found["cmc"] = {"recipe": "cmc", "settings": three}
    return found


MODALITIES = ("clip", "cmc")


@pytest.fixture(scope="module")
def alone(families: Path, pretrained: Callable[[str], Path]) -> dict[str, Any]:
    """What one process computes."""
    spec = importlib.util.spec_from_file_location("ranks_gradients", WORKER)
    assert spec is not None and spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {name: worker.steps(case, World()) for name, case in cases(families, pretrained).items()}
    torch.set_num_threads(before)
    return found


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_every_loss_and_queue_gives_the_gradients_of_one_process(
    ranks: int, families: Path, pretrained: Callable[[str], Path], alone: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "cases.json").write_text(json.dumps(cases(families, pretrained)))
    done = torchrun(ranks, WORKER, tmp_path / "cases.json", tmp_path / "found")
    assert done.returncode == 0, done.stderr.decode()
    found = [torch.load(tmp_path / f"found-{rank}.pt", weights_only=True) for rank in range(ranks)]
    shares = [part["share"] for part in found[0].pop("world")]
    assert sorted(i for share in shares for i in share) == list(range(5))  # every sequence once, in one process
    assert len(shares) == ranks
    for name, values in alone.items():
        for key, true in values.items():
            here = found[0][name][key]
            error = (here.double() - true.double()).norm() / true.double().norm().clamp(min=1e-3)
            assert here.isfinite().all() and error < 1e-5, (name, key, float(error))
            assert all(torch.equal(other[name][key], here) for other in found[1:]), (name, key)
    pretrained_cases = {f"{kind} {mode}" for kind, mode in PRETRAINED}
    assert set(alone) == {*OBJECTIVES.names(), "distillation", *pretrained_cases, *MODALITIES}


RUN = {
    **SMALL,
    "batch.pairs": 14,
    "validation.every": 8,
    "validation.pairs": 12,
    "validation.fraction": 0.2,
    "checkpoints.every": 2,
}
SETTINGS = [part for key, value in RUN.items() for part in ("--set", f"{key}={value}")]


def workers(launcher: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(pid) for pid, parent, args in rows if int(parent) == launcher and "phylocli" in args]


def stopped_under_torchrun(ranks: int, families: Path, run: Path, number: signal.Signals, *more: str) -> None:
    """Train with several processes, and send one of them a signal after the second step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += [
        "-m",
        "phylocli",
        "train",
        str(families),
        "-o",
        str(run),
        "--steps",
        "16",
        "--device",
        "cpu",
        *SETTINGS,
        *more,
    ]
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as launcher:
        try:
            end = time.monotonic() + 600
            while not list((run / "checkpoints").glob("step-*.pt")):
                assert launcher.poll() is None, launcher.communicate(timeout=600)[1].decode()
                assert time.monotonic() < end
                time.sleep(0.01)
            os.kill(workers(launcher.pid)[-1], number)
            said = launcher.communicate(timeout=600)[1].decode()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
    if number is signal.SIGTERM:  # all stop at the same step, and call it a success
        assert launcher.returncode == 0, said
        assert said.count("a checkpoint is saved") == 1
    else:
        assert launcher.returncode != 0
    assert not (run / "model").exists()


def same_metrics(one: Path, other: Path, **tolerance: float) -> None:
    first, second = (pl.read_parquet(run / "metrics.parquet") for run in (one, other))
    assert first.columns == second.columns and first["step"].to_list() == second["step"].to_list()
    exempt = {"seconds", "waited", "residues_per_second", "mfu"}
    for name in set(first.columns) - exempt:
        true = [value for value in first[name].to_list() if value is not None]
        assert [value for value in second[name].to_list() if value is not None] == pytest.approx(true, **tolerance), name


@pytest.mark.parametrize(
    ("ranks", "number", "more"),
    [
        pytest.param(2, signal.SIGTERM, (), id="2"),
        pytest.param(4, signal.SIGTERM, (), id="4", marks=pytest.mark.slow),
        pytest.param(2, signal.SIGKILL, (), id="2 killed", marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, ("--set", "batch.shard=true"), id="2 with parts", marks=pytest.mark.slow),
    ],
)
def test_torchrun_trains_like_one_process_and_resumes(
    ranks: int, number: signal.Signals, more: tuple[str, ...], families: Path, tmp_path: Path
) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    train_model([families], one, steps=16, seed=0, device="cpu", settings=RUN)
    stopped_under_torchrun(ranks, families, several, number, *more)
    done = torchrun(ranks, "-m", "phylocli", "train", "--resume", "-o", several, "--device", "cpu")
    assert done.returncode == 0, done.stderr.decode()
    same_metrics(one, several, rel=1e-5, abs=1e-6)
    talk = done.stderr.decode()
    assert talk.count("resuming after step") == talk.count("the model is") == 1  # only rank 0 logs
    assert f"{ranks} processes" in talk and "warning" not in talk.lower()
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, several))
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)


def test_run_of_two_processes_resumes_with_one_and_a_message(
    families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_model([families], tmp_path / "run", steps=4, seed=0, device="cpu", settings=RUN)
    losses = pl.read_parquet(tmp_path / "run" / "metrics.parquet")["loss"].to_list()
    (tmp_path / "run" / "checkpoints" / "step-00000004.pt").unlink()
    shutil.rmtree(tmp_path / "run" / "model")
    path = tmp_path / "run" / "checkpoints" / "step-00000002.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "ranks": state["ranks"] * 2}, path)
    capsys.readouterr()
    train_model([], tmp_path / "run", device="cpu", resume=True)
    assert "was started with 2 processes and is resumed with 1" in capsys.readouterr().err
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet")["loss"].to_list() == losses


@pytest.mark.slow  # the gradients of clip and cmc over processes are tested above
def test_torchrun_trains_modalities_like_one_process(tmp_path: Path) -> None:
    table = modalities(tmp_path / "table.parquet")
    settings = {**PAIRED, "validation.every": 2, "validation.fraction": 0.5, "batch.pairs": 6}
    one, several = tmp_path / "one", tmp_path / "several"
    train_model([table], one, recipe="clip", steps=4, seed=0, device="cpu", settings=settings)
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = ["-m", "phylocli", "train", table, "--recipe", "clip", "--steps", 4, "--seed", 0, "--device", "cpu"]
    done = torchrun(2, *command, *given, "-o", several)
    assert done.returncode == 0, done.stderr.decode()
    assert "2 processes" in done.stderr.decode() and done.stderr.decode().count("the model is") == 1
    same_metrics(one, several, rel=1e-5, abs=1e-5)
    a, b = (MultimodalModel.load(run / "model") for run in (one, several))
    assert np.allclose(a.embed("text", ["a kinase"]), b.embed("text", ["a kinase"]), atol=1e-4)
    assert a.calibration["text"].scale == pytest.approx(b.calibration["text"].scale, rel=1e-2)
