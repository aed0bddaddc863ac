"""`phylocli mi` as users run it: rows on standard output, messages on standard error, exit codes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import Result

from phylocli.mi import Gaussians

COLUMNS = ["estimator", "critic", "batch_size", "dimension", "true_nats", "estimate_nats", "sd", "transform"]
FAST = ("--critics", "separable:hidden=16", "--critics", "optimal", "--steps", 5, "--evaluations", 20)


def test_benchmark_writes_rows_a_figure_and_a_summary(phylocli: Callable[..., object], tmp_path: Path) -> None:
    done = phylocli(
        "mi", "benchmark", "--estimators", "infonce", "--estimators", "barber-agakov", "--levels", "1,10", *FAST,
        "--format", "json", "--figure", "stairs.html", "--figure", "stairs.svg", "--summary", "summary.tsv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [list(row) for row in rows] == [COLUMNS] * 8
    assert {(r["batch_size"], r["dimension"], r["transform"]) for r in rows} == {(64, 20, "none")}
    best = next(r for r in rows if (r["critic"], r["true_nats"]) == ("optimal", 10.0))
    assert best["estimator"] == "infonce" and math.log(64) - 0.3 < best["estimate_nats"] <= math.log(64)
    assert b"| none | infonce | optimal |" in done.stderr
    summary = pl.read_csv(tmp_path / "summary.tsv", separator="\t")
    assert summary.height == 8
    squared = summary["bias"] ** 2 + summary["variance"]
    assert np.allclose(summary["mean_squared_error"], squared)
    assert "<svg" in (tmp_path / "stairs.html").read_text() and (tmp_path / "stairs.svg").is_file()


def test_benchmark_gives_the_same_bytes_in_every_table_format(cli: Callable[..., Result], tmp_path: Path) -> None:
    options = ("mi", "benchmark", "--estimators", "jsd", "--levels", "1", *FAST, "--seed", 3)
    first, again = (cli(*options).stdout for _ in range(2))
    assert first == again and first.splitlines()[0].split("\t") == COLUMNS
    assert cli(*options, "-o", tmp_path / "rows.parquet").exit_code == 0
    frame = pl.read_parquet(tmp_path / "rows.parquet")
    assert frame.columns == COLUMNS
    assert frame["estimate_nats"].to_list() == [float(line.split("\t")[5]) for line in first.splitlines()[1:]]
    assert (tmp_path / "rows.parquet.provenance.json").is_file()


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Two tables of 300 paired vectors that share 1 nat, and labels that one of them knows."""
    a, b = (side.numpy() for side in Gaussians(2, 1.0).draw(300, torch.Generator().manual_seed(0)))
    ids = [f"s{i}" for i in range(300)]
    pl.DataFrame({"id": ids, "embedding": a.tolist()}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"id": ids[::-1], "embedding": b[::-1].tolist()}).write_parquet(tmp_path / "b.parquet")
    pl.DataFrame({"id": [f"t{i}" for i in range(300)], "embedding": b.tolist()}).write_parquet(tmp_path / "other.parquet")
    rows = [f"{name}\t{'up' if x[0] > 0 else 'down'}\tg{k % 40}\n" for k, (name, x) in enumerate(zip(ids, a, strict=True))]
    (tmp_path / "labels.tsv").write_text("id\tside\tgroup\n" + "".join(rows))
    return tmp_path


def test_estimate_between_tables(phylocli: Callable[..., object], tables: Path) -> None:
    done = phylocli(
        "mi", "estimate", "a.parquet", "b.parquet", "--estimators", "infonce", "--steps", 400, "--replicates", 40,
        "--labels", "labels.tsv", "--group-by", "group", "--format", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["estimator"] == "infonce" and row["critic"] == "separable"
    assert 0.4 < row["estimate_nats"] < 1.3 and row["low"] < row["estimate_nats"] < row["high"]
    assert abs(row["control_nats"]) < 0.25 and 8 <= row["groups"] <= 16
    assert row["ceiling_nats"] == pytest.approx(math.log(row["n"]))
    assert b"infonce on separable: " in done.stderr and b"shuffled" in done.stderr


def test_estimate_of_a_label(cli: Callable[..., Result], tables: Path) -> None:
    done = cli(
        "mi", "estimate", tables / "a.parquet", "--labels", tables / "labels.tsv", "--column", "side",
        "--estimators", "barber-agakov", "--replicates", 20, "--no-control",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    head, values = (line.split("\t") for line in done.stdout.splitlines())
    row = dict(zip(head, values, strict=True))
    assert row["critic"] == "categorical" and row["control_nats"] == "" and row["groups"] == ""
    assert float(row["estimate_nats"]) > 0.5 and float(row["ceiling_nats"]) == pytest.approx(math.log(2), abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["benchmark", "--estimators", "infonse"], 2, "did you mean 'infonce'"),
        (["benchmark", "--levels", "two"], 2, "is not a list of numbers"),
        (["benchmark", "--figure", "stairs.gif"], 2, "a picture cannot be written as .gif"),
        (["benchmark", "--format", "xml"], 2, "unknown format 'xml'"),
        (["estimate", "a.parquet"], 2, "a second table"),
        (["estimate", "a.parquet", "missing.parquet"], 65, "no such file"),
        (["estimate", "a.parquet", "other.parquet"], 65, "have no id in common"),
        (["estimate", "a.parquet", "b.parquet", "--critics", "optimal"], 2, "known distribution"),
    ],
)
def test_invalid_uses_are_explained(
    cli: Callable[..., Result], tables: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tables)
    done = cli("mi", *arguments)
    assert done.exit_code == code and message in done.stderr
    assert done.stdout == ""
