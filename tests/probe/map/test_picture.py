"""The map as a static figure: content, formats, and reproducibility."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import UsageError
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.probe import draw_map
from phylocli.probe.map.page import CLASS_COLOURS

VECTORS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
TABLE = EmbeddingTable("t", [f"p{i}" for i in range(30)], 4, vectors=VECTORS)
FAMILIES = ["alpha"] * 15 + ["be$ta$"] * 10 + [None] * 5
LABELS = pl.DataFrame({"id": TABLE.ids, "family": FAMILIES, "mass": np.arange(30) + 0.5})


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_each_format_starts_as_such_and_has_the_same_bytes_each_time(tmp_path: Path, suffix: str, start: bytes) -> None:
    for name in "ab":
        draw_map(TABLE, tmp_path / f"{name}.{suffix}", labels=LABELS, projection="pca")
    first = (tmp_path / f"a.{suffix}").read_bytes()
    assert first.startswith(start) and first == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_picture_has_a_point_for_each_embedding_in_its_class_colour_and_a_legend(tmp_path: Path) -> None:
    draw_map(TABLE, tmp_path / "m.svg", labels=LABELS, projection="pca", column="family", title="A title")
    text = (tmp_path / "m.svg").read_text()
    assert all(word in text for word in ("A title", "alpha", "be$ta$", "30 embeddings", "grey: 5 of other classes"))
    drawn = {colour: text.count(f'style="fill: {colour}; fill-opacity: 0.85"') for colour in CLASS_COLOURS[:2]}
    assert drawn == {CLASS_COLOURS[0]: 15 + 1, CLASS_COLOURS[1]: 10 + 1}  # the legend has one of each


def test_quantities_have_a_colour_bar(tmp_path: Path) -> None:
    draw_map(TABLE, tmp_path / "m.svg", labels=LABELS, projection="pca", column="mass")
    assert ">mass<" in (tmp_path / "m.svg").read_text()


def test_another_suffix_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.gif") as caught:
        draw_map(tmp_path / "not there.parquet", tmp_path / "m.gif")
    assert ".html" in str(caught.value) and ".pdf" in str(caught.value)
