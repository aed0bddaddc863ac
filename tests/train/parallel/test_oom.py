"""Out of memory: a step is repeated in smaller parts with the same result, or the run ends with an explanation."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from phylocli.encoders.convolutional import Encoder
from phylocli.train import checkpoints, train_model
from phylocli.train.parallel.oom import OutOfMemoryError, is_out_of_memory

SETTINGS: dict[str, Any] = {
    "encoder.preset": "tiny",
    "batch.pairs": 12,
    "batch.max_tokens": 4000,
    "validation.fraction": 0.0,
    "checkpoints.every": 2,
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=20)


Fails = Callable[[int, int], bool]


@pytest.fixture
def encoder_that() -> Iterator[Callable[..., list[int]]]:
    """Let the encoder run out of memory: where `fails(tokens, number of the call)`. Gives the tokens of all calls."""
    hooks = []

    def install(fails: Fails, error: Exception) -> list[int]:
        asked: list[int] = []

        def check(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if isinstance(module, Encoder) and inputs[0].numel() > 12:  # smaller ones: operations are being counted
                asked.append(inputs[0].numel())
                if fails(asked[-1], len(asked)):
                    raise error

        hooks.append(register_module_forward_pre_hook(check))
        return asked

    yield install
    for hook in hooks:
        hook.remove()


GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.\nGPU 0 has …")
CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: 9 bytes")


def train(families: Path, run: Path, steps: int = 4, **changes: Any) -> list[float]:
    train_model([families], run, recipe="simclr", steps=steps, seed=0, device="cpu", settings={**SETTINGS, **changes})
    return pl.read_parquet(run / "metrics.parquet")["loss"].to_list()


@pytest.mark.parametrize("error", [GPU, CPU], ids=["gpu", "cpu"])
def test_parts_are_halved_until_a_step_fits_and_stay_so_when_the_run_goes_on(
    error: Exception,
    families: Path,
    tmp_path: Path,
    encoder_that: Callable[..., list[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = {"batch.grad_cache": True, "batch.max_tokens": 250}
    true = train(families, tmp_path / "true", **small)
    asked = encoder_that(lambda tokens, call: tokens > 400, error)
    found = train(families, tmp_path / "run")
    said = capsys.readouterr().err
    assert found == pytest.approx(true, rel=1e-6)
    assert said.count("enabling gradient caching") == 1
    assert [said.count(f"reducing batch.max_tokens to {tokens}\n") for tokens in ("2,000", "1,000", "500", "250")] == [1] * 4
    state = checkpoints.load_latest(tmp_path / "run" / "checkpoints")
    assert state is not None and state["execution"] == {"max_tokens": 250, "grad_cache": True}
    (tmp_path / "run" / "checkpoints" / "step-00000004.pt").unlink()
    shutil.rmtree(tmp_path / "run" / "model")
    asked.clear()
    train_model([], tmp_path / "run", device="cpu", resume=True)
    assert max(asked) <= 250
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet")["loss"].to_list() == found


def test_changes_of_a_failed_attempt_are_undone(
    families: Path, tmp_path: Path, encoder_that: Callable[..., list[int]]
) -> None:
    """MINE's moving average and dropout's random numbers: the step fails on the way back, after the objective was there."""
    mine = {"objective.name": "mine", "batch.grad_cache": True, "batch.max_tokens": 4000, "encoder.parameters.dropout": 0.2}
    calls = encoder_that(lambda tokens, call: False, GPU)
    true = train(families, tmp_path / "true", **{**mine, "batch.grad_cache": False})
    assert len(calls) == 4  # one a step
    # With dropout only the same groups give the same numbers: gradients are cached, and nothing is halved.
    encoder_that(lambda tokens, call: call == 3, GPU)
    found = train(families, tmp_path / "run", **{**mine, "batch.grad_cache": False})
    assert found == pytest.approx(true, rel=1e-6)
    failing = encoder_that(lambda tokens, call: call in (2, 4), GPU)  # of a cached step the second call is the way back
    with_cache = train(families, tmp_path / "cached", 2, **{**mine, "encoder.parameters.dropout": 0.0})
    plain = train(families, tmp_path / "plain", 2, **{**mine, "encoder.parameters.dropout": 0.0})
    assert with_cache == pytest.approx(plain, rel=1e-5)
    assert len(failing) > 4


def test_a_step_that_cannot_fit_ends_the_run_with_a_reason(
    families: Path, tmp_path: Path, encoder_that: Callable[..., list[int]]
) -> None:
    encoder_that(lambda tokens, call: call > 2, GPU)
    with pytest.raises(OutOfMemoryError, match="one sequence at a time") as raised:
        train(families, tmp_path / "run")
    assert "batch.pairs" in str(raised.value) and "CUDA out of memory" in str(raised.value)


def test_other_errors_are_not_taken_for_it(families: Path, tmp_path: Path, encoder_that: Callable[..., list[int]]) -> None:
    assert is_out_of_memory(GPU) and is_out_of_memory(CPU) and not is_out_of_memory(ValueError("not enough memory"))
    encoder_that(lambda tokens, call: call == 2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        train(families, tmp_path / "run")
