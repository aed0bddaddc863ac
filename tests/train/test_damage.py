"""Flipped bits, truncated files and full disks: errors that name the file, never a wrong result."""

from __future__ import annotations

import contextlib
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.formats.streams import OutputError
from phylocli.models.model import Model
from phylocli.train import checkpoints, train_model
from phylocli.train.data.arrays import DamagedError, verify
from phylocli.train.data.compiled import Compiled, open_compiled
from phylocli.train.report.metrics import read_metrics

FLIPS = 100


def damaged(path: Path, seed: int = 0) -> Iterator[str]:
    """Damage a file in place, one way after another: flipped bits at random places, and cuts; empty at last."""
    good, rng = path.read_bytes(), np.random.default_rng(seed)
    for place in rng.integers(len(good), size=FLIPS).tolist():
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        yield f"bit at {place}"
    for size in [*rng.integers(len(good), size=20).tolist(), 0]:
        path.write_bytes(good[:size])
        yield f"cut at {size}"
    path.write_bytes(good)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def test_a_damaged_checkpoint_is_skipped_by_name_and_never_taken_for_another_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"task": {"weight": torch.randn(40, 3)}, "progress": {"best": 0.5, "names": ["a", "b"]}}
    new = {"task": {"weight": torch.randn(40, 3)}, "progress": {"best": 0.75, "names": ["c"]}}
    checkpoints.save(tmp_path, 1, old, 2, 1)
    path = checkpoints.save(tmp_path, 2, new, 2, 1)
    skipped = 0
    for how in damaged(path):
        found = checkpoints.load_latest(tmp_path)
        assert found is not None
        # A bit that says nothing (a time, padding) changes nothing.
        assert same(found, {"step": 2, **new}) or same(found, {"step": 1, **old}), how
        skipped += found["step"] == 1
        assert (found["step"] == 1) == (f"{path} is damaged" in capsys.readouterr().err), how
    assert skipped > 0.75 * FLIPS
    for file in checkpoints.found(tmp_path):
        file.write_bytes(b"")
    with pytest.raises(BadInputError, match="no checkpoint"):
        checkpoints.load_latest(tmp_path)


def test_checkpoints_of_interruptions_make_way_for_scheduled_ones(tmp_path: Path) -> None:
    for step in (10, 20, 23):
        checkpoints.save(tmp_path, step, {}, keep=2, every=10)
    assert [path.stem for path in checkpoints.found(tmp_path)] == ["step-00000020", "step-00000023"]
    for step in (27, 30):
        checkpoints.save(tmp_path, step, {}, keep=2, every=10)
    assert [path.stem for path in checkpoints.found(tmp_path)] == ["step-00000020", "step-00000030"]
    checkpoints.save(tmp_path, 33, {}, keep=1, every=10)
    assert [path.stem for path in checkpoints.found(tmp_path)] == ["step-00000033"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_model_is_refused_by_name(name: str, tmp_path: Path) -> None:
    model = Model.create("convolutional", preset="tiny", parameters={"depth": 1, "width": 8, "hidden": 8})
    folder = model.save(tmp_path / "model")
    for how in damaged(folder / name):
        try:
            found = Model.load(folder)
        except BadInputError as error:
            assert str(folder) in str(error), how
            assert error.fix is not None, how
        else:  # a bit that says nothing, such as white space
            assert name == "config.json" and found.fingerprint == model.fingerprint, how


@pytest.fixture
def stockholm(simulate: Callable[..., Family], tmp_path: Path) -> Path:
    write_families([simulate(f"PF{i:05d}", 6) for i in range(3)], tmp_path / "families.sto")
    return tmp_path / "families.sto"


def test_damaged_compiled_families_are_noticed_by_name(stockholm: Path, tmp_path: Path) -> None:
    folder = open_compiled([stockholm], cache=tmp_path / "cache").folder
    files = sorted(path for path in folder.iterdir() if path.suffix in (".bin", ".json") and path.stat().st_size)
    assert len(files) > 5
    for path in files:
        for how in damaged(path):
            try:
                verify(folder)
            except DamagedError as error:
                assert str(path) in str(error), how
                assert error.fix is not None
            else:
                assert path.name == "manifest.json", how  # white space
    (folder / "tokens.bin").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"tokens\.bin"):
        Compiled(folder)


def test_damaged_metrics_are_noticed_by_name(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pl.DataFrame({"step": list(range(1, 301)), "loss": np.random.default_rng(0).random(300)})
    path = tmp_path / "metrics.parquet"
    pq.write_table(table.to_arrow(), path, compression="zstd", write_page_checksum=True)
    for how in damaged(path):
        try:
            found = read_metrics(path)
        except BadInputError as error:
            assert str(path) in str(error), how
        else:
            assert found["loss"].to_list() == table["loss"].to_list(), how


TINY: dict[str, Any] = {
    "encoder.preset": "tiny",
    "validation.fraction": 0.0,
    "log.mfu": False,
    "batch.pairs": 4,
    "checkpoints.every": 2,
}


def test_run_resumes_from_an_older_checkpoint_without_damaged_metrics(
    stockholm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    whole = tmp_path / "whole"
    train_model([stockholm], whole, steps=4, device="cpu", settings=TINY)
    for name, content in (("empty", b""), ("cut", (whole / "metrics.parquet").read_bytes()[:100])):
        run = tmp_path / name
        shutil.copytree(whole, run)
        shutil.rmtree(run / "model")
        (run / "checkpoints" / "step-00000004.pt").write_bytes(b"")
        (run / "metrics.parquet").write_bytes(content)
        train_model([], run, device="cpu", resume=True)
        said = capsys.readouterr().err
        assert f"{run / 'checkpoints' / 'step-00000004.pt'} is damaged" in said
        assert f"{run / 'metrics.parquet'} is damaged" in said
        assert read_metrics(run / "metrics.parquet")["step"].to_list() == [3, 4]
        assert Model.load(run / "model").fingerprint == Model.load(whole / "model").fingerprint


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Let every write beyond a size fail, as on a full disk, with another number of the error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_ends_a_run_with_advice_and_the_last_checkpoint(stockholm: Path, tmp_path: Path, one_thread: None) -> None:
    run = tmp_path / "run"
    open_compiled([stockholm])
    with no_file_larger_than(100_000), pytest.raises(OutputError) as caught:
        train_model([stockholm], run, steps=4, device="cpu", settings=TINY)
    assert "step-00000002.pt: the file would become larger than allowed" in caught.value.what
    assert f"phylocli train --resume -o {run}" in str(caught.value.fix)
    assert "there is no checkpoint yet" in str(caught.value.fix)
    assert not list(run.rglob(".*"))
    train_model([], run, device="cpu", resume=True)
    shutil.rmtree(run / "model")
    with no_file_larger_than(100_000), pytest.raises(OutputError, match="model: the file would become larger") as caught:
        train_model([], run, device="cpu", resume=True)
    assert "the last checkpoint is step-00000004.pt" in str(caught.value.fix)
    assert not list(run.rglob(".*"))


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    state = {"task": {"weight": torch.zeros(100_000)}}
    checkpoints.save_best(tmp_path, 1, state)
    with no_file_larger_than(50_000), pytest.raises(PhylocliError, match="larger than allowed"):
        checkpoints.save_best(tmp_path, 2, state)
    assert checkpoints.load_best(tmp_path)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
