"""Training with a compiled encoder agrees with training without compilation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from phylocli.core.errors import UsageError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.train import train_model

SETTINGS = {"encoder.preset": "tiny", "batch.pairs": 8, "validation.pairs": 8, "precision": "fp32", "log.mfu": False}


@pytest.fixture
def families(simulate: Callable[..., Family], tmp_path: Path) -> Path:
    write_families([simulate(f"PF{i:05d}", 20, seed=i) for i in range(3)], tmp_path / "families.sto")
    return tmp_path / "families.sto"


@pytest.mark.slow
@pytest.mark.needs("compiler")
def test_losses_and_weights_are_those_of_the_encoder_that_is_not_compiled(families: Path, tmp_path: Path) -> None:
    found = {}
    for compiled in (False, True):
        run = tmp_path / str(compiled)
        model = train_model([families], run, settings={**SETTINGS, "compile": compiled}, steps=4, device="cpu", cache=False)
        losses = pl.read_parquet(run / "metrics.parquet")["loss"].to_list()
        found[compiled] = losses, {k: v.detach().numpy() for k, v in Model.load(model).state_dict().items()}
    assert found[True][0] == pytest.approx(found[False][0], abs=1e-4)
    for name, value in found[False][1].items():
        assert found[True][1][name] == pytest.approx(value, abs=1e-3), name


def test_a_compiler_that_is_not_there_is_an_error_with_a_way_out(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()  # what was compiled before in this process would be used again
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    with pytest.raises(UsageError, match="cannot compile") as error:
        train_model([families], tmp_path / "run", settings={**SETTINGS, "compile": True}, steps=1, device="cpu", cache=False)
    assert "compile=false" in str(error.value.fix)
