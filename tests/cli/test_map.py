"""`phylocli map`, as users run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


def test_a_table_becomes_a_page(phylocli: Callable[..., Any], tmp_path: Path) -> None:
    ids = [f"p{i}" for i in range(30)]
    vectors = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    embedding = pl.Series(vectors, dtype=pl.Array(pl.Float32, 6))
    pl.DataFrame({"id": ids, "embedding": embedding}).write_parquet(tmp_path / "emb.parquet")
    pl.DataFrame({"id": ids, "family": ["a", "b", "c"] * 10}).write_csv(tmp_path / "labels.tsv", separator="\t")
    done = phylocli(
        "map", str(tmp_path / "emb.parquet"), "-l", str(tmp_path / "labels.tsv"), "-o", str(tmp_path / "map.html")
    )
    assert done.returncode == 0 and b"30 points" in done.stderr and done.stdout == b""
    page = (tmp_path / "map.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "t-SNE of cosine distances" in page and '"names":["a","b","c"]' in page
    wrong = phylocli("map", str(tmp_path / "emb.parquet"), "--column", "family", "-o", str(tmp_path / "none.html"))
    assert wrong.returncode == 2 and b"give --labels TABLE" in wrong.stderr and not (tmp_path / "none.html").exists()
