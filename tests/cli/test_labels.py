"""`phylocli labels`, and the label sources of `probe` and `map`, as a user runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from phylocli.formats import read_families

Run = Callable[..., Any]


@pytest.fixture
def embeddings(examples: Path, tmp_path: Path) -> Path:
    """Random vectors of three families' members, apart by family."""
    rng = np.random.default_rng(0)
    families = [f for f in read_families(examples / "families.sto") if f.accession in ("PF00042", "PF00069", "PF02463")]
    ids = [name for family in families for name in family.ids]
    centre = np.repeat(rng.normal(size=(3, 8)), [len(f) for f in families], axis=0)
    vectors = centre + 0.1 * rng.normal(size=centre.shape)
    pl.DataFrame({"id": ids, "embedding": vectors.tolist()}).write_parquet(tmp_path / "emb.parquet")
    return tmp_path / "emb.parquet"


def test_a_pipe_becomes_a_table(cli: Run, examples: Path) -> None:
    done = cli("labels", "-", input=(examples / "families.sto").read_bytes())
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["id\tfamily\tclan\tfamily_name", "LAR_DROME/418-503\tPF00041\tCL0159\tfn3"]
    assert len(lines) == 823


def test_vectors_of_a_table_are_no_labels(cli: Run, embeddings: Path, tmp_path: Path) -> None:
    alone = cli("labels", embeddings)
    assert alone.exit_code == 65 and "has no column of labels" in alone.stderr
    both = pl.read_parquet(embeddings).with_columns(go=pl.lit([["GO:1", "GO:2"]]).list.first(), length=pl.lit(7))
    both.write_parquet(tmp_path / "both.parquet")
    done = cli("labels", tmp_path / "both.parquet")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0] == "id\tgo\tlength" and done.stdout.splitlines()[1].endswith("\tGO:1;GO:2\t7")


def test_probe_takes_family_records_for_labels_and_their_sequences_for_baselines(
    cli: Run, embeddings: Path, examples: Path, tmp_path: Path
) -> None:
    options = ["--tasks", "retrieval", "--replicates", "100", "--projection", "none", "-o", tmp_path / "report"]
    done = cli("probe", embeddings, "--labels", examples / "families.sto", *options)
    assert done.exit_code == 0, done.stderr
    metrics = pl.read_parquet(tmp_path / "report" / "metrics.parquet")
    assert set(metrics["level"]) >= {"family"}
    assert {"emb", "composition", "dipeptides"} <= set(metrics["embedding"])
    value = metrics.filter((pl.col("embedding") == "emb") & (pl.col("metric") == "sensitivity to first FP"))["value"][0]
    assert value > 0.99


def test_probe_explains_and_uses_a_column_that_is_not_usual(cli: Run, embeddings: Path, examples: Path) -> None:
    options = ["--labels", examples / "families.sto", "--columns", "family_name", "--explain"]
    done = cli("probe", embeddings, *options)
    assert done.exit_code == 0, done.stderr
    assert f"{examples / 'families.sto'}\tfamily_name\tclasses\ttext; 3 classes" in done.stdout


def test_a_map_is_coloured_by_headers_with_a_pattern(cli: Run, examples: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [line[1:].split()[0] for line in (examples / "globins.fasta").read_text().splitlines() if line[0] == ">"]
    pl.DataFrame({"id": ids, "embedding": rng.normal(size=(45, 4)).tolist()}).write_parquet(tmp_path / "g.parquet")
    done = cli(
        "map", tmp_path / "g.parquet", "--labels", examples / "globins.fasta", "--label-pattern", "^(?P<gene>[A-Z]{3})",
        "--projection", "pca", "-o", tmp_path / "map.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "the column 'gene' contains classes" in done.stderr
    assert '"MYG"' in (tmp_path / "map.html").read_text()
