"""Details of points on the map: names, descriptions and species, from labels of all kinds."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import UsageError
from phylocli.formats import Family, write_families
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.probe import draw_map

IDS = [f"S{i}_HUMAN" for i in range(4)] + [f"T{i}_MOUSE" for i in range(4)]
TABLE = EmbeddingTable("t", IDS, 4, vectors=np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def families(path: Path) -> Path:
    secy = Family(IDS[:4], ["MKVLA"] * 4, accession="PF00344", name="SecY", description="SecY translocase")
    other = Family(IDS[4:], ["MKVLG"] * 4, accession="PF00042", name="Globin", description="Globin <b>")
    write_families([secy, other], path)
    return path


def test_the_legend_has_names_of_families_and_the_tip_what_is_known(tmp_path: Path) -> None:
    draw_map(TABLE, tmp_path / "m.html", labels=families(tmp_path / "f.sto"), projection="pca")
    data = data_of(tmp_path / "m.html")
    assert data["names"] == ["Globin (PF00042)", "SecY (PF00344)"]
    assert data["details"] == [
        "family name: SecY\nfamily title: SecY translocase\nspecies: HUMAN",
        "family name: Globin\nfamily title: Globin <b>\nspecies: MOUSE",
    ]
    assert "<b>" not in (tmp_path / "m.html").read_text()


def test_columns_of_a_table_are_shown_and_the_page_of_a_table_without_them_has_none(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"id": IDS, "family": ["a"] * 8, "Species": ["Homo sapiens"] * 4 + [None] * 4, "x": list("abcdefgh")}
    )
    draw_map(TABLE, tmp_path / "m.html", labels=frame, projection="pca")
    assert data_of(tmp_path / "m.html")["details"] == ["Species: Homo sapiens", ""]
    draw_map(TABLE, tmp_path / "m.html", labels=frame.select("id", "family"), projection="pca")
    assert "details" not in data_of(tmp_path / "m.html")


def test_columns_that_cannot_colour_are_passed_over_for_the_first_that_can(tmp_path: Path) -> None:
    vectors = pl.Series(np.repeat(TABLE.numpy()[:4], 2, axis=0), dtype=pl.Array(pl.Float32, 4))  # each value occurs twice
    nothing = pl.lit(None, dtype=pl.String)
    frame = pl.DataFrame({"id": IDS, "length": [5] * 8, "embedding": vectors, "lists": vectors.cast(pl.List(pl.Float64))})
    frame = frame.with_columns(family=nothing, point=pl.struct("length"), group=pl.Series(["a", "b"] * 4))
    draw_map(TABLE, tmp_path / "m.html", labels=frame, projection="pca")
    assert data_of(tmp_path / "m.html")["names"] == ["a", "b"]
    frame.drop("group").write_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match=r"t\.parquet has no column that can colour the points") as caught:
        draw_map(TABLE, tmp_path / "none.html", labels=tmp_path / "t.parquet", projection="pca")
    assert caught.value.why == "ignored: length, embedding, lists, family, point"
    assert not (tmp_path / "none.html").exists()
    with pytest.raises(UsageError, match="the column 'embedding' cannot colour the points"):
        draw_map(TABLE, tmp_path / "none.html", labels=frame, column="embedding", projection="pca")


@pytest.mark.needs("chromium")
def test_the_search_box_finds_species_and_descriptions(tmp_path: Path) -> None:
    draw_map(TABLE, tmp_path / "m.html", labels=families(tmp_path / "f.sto"), projection="pca")
    page = (tmp_path / "m.html").read_text()
    page = re.sub(r"<meta http-equiv=.Content-Security-Policy[^>]*>", "", page)
    typed = "const s = document.getElementById('search'); s.value = 'translocase'; s.dispatchEvent(new Event('input'));"
    (tmp_path / "typed.html").write_text(page.replace("</body>", f"<script>{typed}</script></body>"))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    command.append((tmp_path / "typed.html").as_uri())
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    listed = re.search(r'<ul id="found">(.*?)</ul>', shown.stdout, re.DOTALL)
    assert listed is not None and "4 found" in listed[1] and "S0_HUMAN" in listed[1] and "MOUSE" not in listed[1]
