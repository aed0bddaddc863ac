"""The map of `phylocli serve`: placed in the background, once, and kept."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.config.serve import ServeConfig
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.probe.map.coordinates import place_points
from phylocli.serve import layout
from phylocli.serve.layout import MapInBackground
from phylocli.serve.proteins import read_proteins


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHYLOCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def prepared(rows: int, **options: object) -> MapInBackground:
    vectors = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    table = EmbeddingTable("t", [f"p{i}" for i in range(rows)], 4, vectors=vectors, unit=True)
    labels = pl.DataFrame({"id": table.ids, "family": [f"f{i % 3}" for i in range(rows)]})
    proteins = read_proteins(table, labels, None, None, ColumnOptions())
    return MapInBackground(table, proteins, ServeConfig.of(None, options))


def finished(rows: int, **options: object) -> MapInBackground:
    found = prepared(rows, **options)
    found.start()
    end = time.monotonic() + 120
    while found.status()["state"] == "working":
        assert time.monotonic() < end
        time.sleep(0.02)
    found.close()
    return found


def test_a_map_is_placed_once_and_then_read_from_the_cache(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(20, projection="pca")
    assert first.status() == {"state": "ready", "message": "", "version": 1}
    monkeypatch.setattr(layout, "place_points", lambda *given: pytest.fail("placed again"))
    assert finished(20, projection="pca").page == first.page
    kept = list(own_cache.rglob("*.safetensors"))
    assert len(kept) == 1
    monkeypatch.undo()
    monkeypatch.setenv("PHYLOCLI_CACHE", str(own_cache))
    kept[0].write_bytes(b"damaged")
    assert finished(20, projection="pca").page == first.page
    finished(20, projection="pca", seed=1)
    assert len(list(own_cache.rglob("*.safetensors"))) == 2


def test_many_points_are_placed_by_a_process_to_the_same_places() -> None:
    found = prepared(210, projection="tsne")
    vectors = found._table.take(found._rows)
    points, caption = found._placed_by_a_process(vectors, "tsne", 0)
    expected, words = place_points(vectors, "tsne", 0)
    assert caption == words
    assert points is not None and expected is not None
    assert np.allclose(points, expected, atol=0.05)
    assert found.page is not None and "The first two principal components" in found.page  # meanwhile
    assert found.status()["version"] == 1 and "principal components" in str(found.status()["message"])


def test_closing_ends_the_process_that_places_points(monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared(3000, projection="tsne")
    found.start()
    end = time.monotonic() + 120
    while found._pool is None or not found._pool._processes:
        assert time.monotonic() < end
        time.sleep(0.02)
    (process,) = found._pool._processes.values()
    assert "Placing 3,000 proteins by t-SNE" in str(found.status()["message"])
    found.close()
    assert not process.is_alive()
    assert not any(thread.name == "map" for thread in threading.enumerate())
    assert found.status()["state"] == "failed"


def test_a_table_that_cannot_be_placed_says_why() -> None:
    assert "at least three" in str(finished(2).status()["message"])
    same = prepared(5)
    same._table.vectors = np.ones((5, 4), dtype=np.float32)
    same.start()
    same._thread.join(timeout=120)
    assert same.status() == {
        "state": "failed",
        "message": "No map: all embeddings have the same direction, so all cosines are 1.",
        "version": 0,
    }
