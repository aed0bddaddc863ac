"""`phylocli sweep` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(3, members=20)


def test_runs_that_fail_are_named_and_the_others_are_done(phylocli: Run, families: Path, tmp_path: Path) -> None:
    small = ["--steps", "1", "--device", "cpu", "--set", "train.encoder.preset=tiny", "--set", "train.batch.pairs=8"]
    done = phylocli("sweep", families, "-o", "sweep", "--bands", "0:9,50:60", *small)
    assert done.returncode == 1, done.stderr.decode()
    assert done.stdout == b""
    said = done.stderr.decode()
    assert "1 of 2 runs failed" in said
    assert "Traceback" not in said
    header, first, second = (line.split("\t") for line in (tmp_path / "sweep" / "results.tsv").read_text().splitlines())
    status = header.index("status")
    assert (first[status], second[status]) == ("done", "failed")
    assert (tmp_path / "sweep" / "runs" / first[0] / "model" / "model.safetensors").is_file()
    assert (tmp_path / "sweep" / "sweep.html").is_file()


def test_unknown_names_are_usage_errors(phylocli: Run, families: Path, tmp_path: Path) -> None:
    done = phylocli("sweep", families, "-o", "sweep", "--vary", "batch.pears=1,2")
    assert done.returncode == 2
    assert "'pears'" in done.stderr.decode()
    assert not (tmp_path / "sweep").exists()
