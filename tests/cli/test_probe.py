"""`phylocli probe` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.formats import read_families

Run = Callable[..., object]


@pytest.fixture(scope="module")
def inputs(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two embeddings of 120 real sequences, one that encodes the family and a random one; labels and FASTA."""
    folder = tmp_path_factory.mktemp("inputs")
    members = [(s, f.label) for f in list(read_families(examples / "families.sto"))[:4] for s in f.sequences()[:30]]
    ids = [s.id for s, _ in members]
    (folder / "labels.tsv").write_text("id\tfamily\n" + "".join(f"{s.id}\t{label}\n" for s, label in members))
    (folder / "seqs.fasta").write_text("".join(f">{s.id}\n{s.residues}\n" for s, _ in members))
    rng = np.random.default_rng(0)
    code = np.unique([label for _, label in members], return_inverse=True)[1]
    noise = rng.normal(size=(len(ids), 16)).astype(np.float32)
    np.savez(folder / "noise.npz", ids=np.array(ids), embeddings=noise)
    np.savez(folder / "wise.npz", ids=np.array(ids), embeddings=noise + 4 * np.eye(16, dtype=np.float32)[code])
    return folder


def test_report_contains_correct_values(phylocli: Run, inputs: Path, tmp_path: Path) -> None:
    done = phylocli(
        "probe", f"knows={inputs / 'wise.npz'}", inputs / "noise.npz", "--labels", inputs / "labels.tsv",
        "--sequences", inputs / "seqs.fasta", "--replicates", 200, "--projection", "pca", "-o", "report",
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == b"", done.stderr
    assert b"report/report.html" in done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [e["name"] for e in report["embeddings"]] == ["knows", "noise", "composition", "dipeptides"]
    frame = pl.read_parquet(tmp_path / "report" / "metrics.parquet")
    top = frame.filter((pl.col("metric") == "top-1 accuracy") & (pl.col("level") == "family"))
    value = dict(zip(top["embedding"], top["value"], strict=True))
    assert value["knows"] > 0.95 > value["composition"] > 0.5 > value["noise"]
    better = [d for d in report["differences"] if d["other"] == "noise" and d["metric"] == "top-1 accuracy"]
    assert better[0]["p_holm"] < 1e-6 and better[0]["low"] > 0.5
    page = (tmp_path / "report" / "report.html").read_text()
    assert "phylocli probe" in page and "knows=" in page  # the command
    assert all(i["sha256"] in page for i in report["provenance"]["inputs"]) and len(report["provenance"]["inputs"]) == 4


def test_named_tasks_alone_are_run_and_a_lonely_number_is_warned_of(phylocli: Run, inputs: Path, tmp_path: Path) -> None:
    done = phylocli(
        "probe", inputs / "wise.npz", "-l", inputs / "labels.tsv", "--tasks", "retrieval", "--projection", "none",
        "--replicates", 100, "-o", "r",
    )  # fmt: skip
    assert done.returncode == 0 and b"no baseline to compare the results with" in done.stderr
    assert set(pl.read_parquet(tmp_path / "r" / "metrics.parquet")["task"]) == {"retrieval"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--tasks", "retreival"], 2, b"did you mean 'retrieval'"),
        (["--trees", "missing.sto"], 65, b"no such file"),
    ],
)
def test_invalid_options_are_explained(
    phylocli: Run, inputs: Path, tmp_path: Path, arguments: list[str], code: int, message: bytes
) -> None:
    done = phylocli("probe", inputs / "noise.npz", "-l", inputs / "labels.tsv", "-o", "r", *arguments)
    assert done.returncode == code and message in done.stderr
    assert not (tmp_path / "r").exists()


def test_file_that_is_not_a_table_ends_with_65(phylocli: Run, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.parquet").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    done = phylocli("probe", "picture.parquet", "-l", inputs / "labels.tsv", "-o", "r")
    assert done.returncode == 65 and b"picture.parquet" in done.stderr
