"""The table at the end of a run, and its files for MultiQC, which reads them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from phylocli.formats import read_families
from phylocli.formats.tables import metrics_schema
from phylocli.workflow.stages import Rows
from phylocli.workflow.summary import Summary, summarise, tally, write_multiqc


@pytest.fixture
def summary(tmp_path: Path, simulated_file: Callable[..., Path]) -> Summary:
    """The numbers of a made-up run on three families of five."""
    parts = ["train"] * 9 + ["test"] * 6
    rows = "".join(f'F\t\t"m{n}\t{part}\n' for n, part in enumerate(parts))  # ids are not quoted
    (tmp_path / "split.tsv").write_text(f"family\tclan\tid\tpart\n{rows}")
    pl.DataFrame({"id_a": ["a"] * 7}).write_parquet(tmp_path / "pairs.parquet")
    pl.DataFrame({"id": ["a"] * 15}).write_parquet(tmp_path / "trained.parquet")
    figures = [
        ("trained", "retrieval", "family", "ROC5", 0.75, 0.7, 0.8, 15),
        ("trained", "retrieval", "clan", "ROC5", float("nan"), None, None, 0),
        ("trained", "geometry", "family", "uniformity", -3.0, None, None, 15),
        ("composition", "retrieval", "family", "ROC5", 0.5, 0.4, 0.6, 15),
    ]
    pl.DataFrame(figures, schema=metrics_schema().names, orient="row").write_parquet(tmp_path / "metrics.parquet")
    families = list(read_families(simulated_file(3, 5, length=60)))
    made: dict[str, Rows] = {"align": {}, "tree": {}}
    assert list(tally([replace(family, tree=None) for family in families], made["align"]))
    made["align"]["PF00002"]["members"] = 7  # of which two are not in the tree
    assert list(tally(families, made["tree"])) == families
    return summarise(
        "demo",
        {"align": 1.5, "tree": 200.0, "split": 0.1, "pairs": 1.0, "embed": 2.0, "probe": 3.0},
        {"align"},
        made=made,
        split=tmp_path / "split.tsv",
        pairs=tmp_path / "pairs.parquet",
        embeddings=tmp_path / "trained.parquet",
        metrics=tmp_path / "metrics.parquet",
    )


def test_table_at_the_end_of_a_run_says_what_each_stage_has_made(summary: Summary) -> None:
    assert summary.lines() == [
        "stage       time  result",
        "align  unchanged  3 families, 17 members",
        "tree       3 min  3 families, 15 members",
        "split        0 s  9 train, 0 validation, 6 test",
        "pairs        1 s  7 pairs",
        "embed        2 s  15 embeddings",
        "probe        3 s  retrieval (family): ROC5 0.750",
        "total      3 min",
    ]


def test_files_for_multiqc_have_the_numbers_of_the_run_and_of_its_families(summary: Summary, tmp_path: Path) -> None:
    write_multiqc(summary, tmp_path / "multiqc")
    found = {path.name: json.loads(path.read_text()) for path in (tmp_path / "multiqc").iterdir()}
    assert sorted(found) == [f"phylocli_{name}_mqc.json" for name in ("families", "run", "stages")]
    assert found["phylocli_run_mqc.json"]["data"] == {
        "demo": {
            **{"families": 3, "members": 15, "train_members": 9, "validation_members": 0, "test_members": 6, "pairs": 7},
            "retrieval, family: ROC5": 0.75,
        }
    }
    families = found["phylocli_families_mqc.json"]["data"]
    assert list(families) == ["demo PF00000", "demo PF00001", "demo PF00002"]
    assert all(row["members"] == 5 and row["columns"] == 60 and row["tree_length"] > 0 for row in families.values())
    assert found["phylocli_stages_mqc.json"]["data"]["demo"]["tree"] == 200.0


@pytest.mark.slow
@pytest.mark.needs("multiqc")
def test_multiqc_reports_the_statistics_of_a_run(summary: Summary, tmp_path: Path) -> None:
    write_multiqc(summary, tmp_path / "demo" / "multiqc")
    command = ["multiqc", tmp_path / "demo", "-o", tmp_path / "report", "--no-ansi", "--strict"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "report" / "multiqc_data" / "multiqc_data.json").read_text())
    text = json.dumps(data)
    assert all(f"phylocli_{name}" in text for name in ("run", "families", "stages")) and "demo PF00002" in text
    page = (tmp_path / "report" / "multiqc_report.html").read_text()
    assert all(title in page for title in ("phylocli: runs", "phylocli: families", "phylocli: time of the stages"))
