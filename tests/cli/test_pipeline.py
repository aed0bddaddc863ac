"""The pipeline, as shell commands and as `phylocli run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import polars as pl
import pytest

from phylocli.formats import read_families
from phylocli.pairs import Split

CONFIG = """
families = ["four.sto"]
seed = 3
[pairs]
n = 300
[train]
recipe = "simclr"
steps = 12
"encoder.preset" = "tiny"
[map]
projection = "pca"
[probe]
replicates = 100
"""


def test_the_shell_pipeline_against_the_service(standin, tmp_path):
    phylocli = f"{sys.executable} -m phylocli"
    command = (
        f"set -o pipefail; {phylocli} fetch PF02790 PF05893 | {phylocli} align | {phylocli} tree | "
        f"{phylocli} pairs --min-dist 0.5 -n 50 --seed 1"
    )
    environment = {**os.environ, **standin.environment, "PHYLOCLI_STORE": str(tmp_path / "store")}
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    table = pl.read_csv(done.stdout, separator="\t", quote_char=None)
    assert table.columns == ["family", "clan", "id_a", "id_b", "distance", "relation", "seq_a", "seq_b"]
    assert table.height == 50
    assert set(table["family"]) == {"PF02790", "PF05893"}
    assert table["distance"].min() >= 0.5
    assert table["seq_a"].str.contains(r"^[A-Z]+$").all()


@pytest.fixture(scope="session")
def finished(tmp_path_factory, examples, fork_server):
    """A run of the whole chain on four families with a few training steps."""
    import phylocli

    folder = tmp_path_factory.mktemp("run")
    families = [f for f in phylocli.read_families(examples / "families.sto") if f.accession in _FOUR]
    phylocli.write_families(families, folder / "four.sto")
    (folder / "run.toml").write_text(CONFIG)
    done = run(folder, fork_server)
    assert done.returncode == 0, done.stderr
    return folder, done


_FOUR = ("PF00042", "PF02790", "PF03773", "PF05893")


def run(folder, server):
    words = ["run", str(folder / "run.toml"), "-o", str(folder / "out")]
    done = server.run(words, input=b"", env=dict(os.environ), cwd=folder, timeout=600)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_run_leaves_every_artefact_with_its_provenance(finished):
    folder, done = finished
    out = folder / "out"
    assert f"The report is at {out.resolve() / 'report' / 'report.html'}" in done.stderr
    assert done.stdout == ""
    for name in ("alignments.sto.gz", "trees.sto.gz", "train.sto.gz", "pairs.parquet"):
        record = json.loads((out / f"{name}.provenance.json").read_text())
        assert record["versions"]["phylocli"], name
    for name in (
        "split.tsv",
        "members.fasta",
        "labels.tsv",
        "run/model/model.safetensors",
        "run/metrics.parquet",
        "report/report.html",
    ):
        assert (out / name).stat().st_size > 0, name
    assert not list(out.rglob("*.part"))


def test_the_map_of_a_run_names_its_families(finished):
    folder, _ = finished
    page = (folder / "out" / "map.html").read_text(encoding="utf-8")
    assert all(f"{family.name} ({family.accession})" in page for family in read_families(folder / "out" / "trees.sto.gz"))


def test_held_out_members_are_not_trained_on(finished):
    folder, _ = finished
    labels = pl.read_csv(folder / "out" / "labels.tsv", separator="\t", quote_char=None)
    held_out = set(labels.filter(pl.col("split") == "test")["id"])
    assert 0.1 < len(held_out) / labels.height < 0.5
    pairs = pl.read_parquet(folder / "out" / "pairs.parquet")
    drawn = set(pairs["id_a"]) | set(pairs["id_b"])
    assert drawn
    assert not drawn & held_out
    used = Split.read(folder / "out" / "run" / "split.parquet").table
    assert not set(used["id"]) & held_out


def test_the_report_compares_with_untrained_and_composition(finished):
    folder, _ = finished
    metrics = pl.read_parquet(folder / "out" / "report" / "metrics.parquet")
    assert metrics.columns == ["embedding", "task", "level", "metric", "value", "low", "high", "n"]
    names = " ".join(metrics["embedding"].unique())
    assert "trained" in names
    assert "untrained" in names
    assert "composition" in names
    with_interval = metrics.filter(pl.col("low").is_not_null() & pl.col("low").is_not_nan())
    assert with_interval.height
    assert (with_interval["low"] <= with_interval["high"]).all()


def test_running_again_does_nothing(finished, fork_server):
    folder, _ = finished
    before = {p: p.stat().st_mtime_ns for p in (folder / "out" / "run").rglob("*") if p.is_file()}
    done = run(folder, fork_server)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("unchanged, skipped") == 8
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "out" / "run").rglob("*") if p.is_file()}


def test_another_parameter_reruns_from_its_stage_on(finished, fork_server, tmp_path):
    import shutil

    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "run.toml").write_text(CONFIG.replace("n = 300", "n = 300\nmin_dist = 0.1"))
    done = run(copy, fork_server)
    assert done.returncode == 0, done.stderr
    for stage in ("align", "tree", "split"):
        assert f"{stage}: unchanged, skipped" in done.stderr
    assert "pairs: running" in done.stderr
    assert "train: running" in done.stderr
