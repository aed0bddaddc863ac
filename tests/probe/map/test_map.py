"""The interactive map: what its page holds, that names from outside are inert, and that it is the same for the same seed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from browser import Browser

from phylocli.core.errors import BadInputError, MissingDependencyError, UsageError
from phylocli.probe import Embedding, draw_map
from phylocli.probe.map import coordinates

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd|'/c calc'!A1",
    "{{ 7*7 }}",
    "a\u2028b",
]


def table(n: int = 60, seed: int = 0) -> Embedding:
    vectors = np.random.default_rng(seed).normal(size=(n, 8)) + np.repeat(np.eye(3, 8) * 9, n // 3, axis=0)
    return Embedding("mine", HOSTILE + [f"p{i}" for i in range(5, n)], vectors.astype(np.float32), "mine.parquet")


def labels(path: Path, n: int = 60) -> Path:
    names = ["<b>first</b>", "second", HOSTILE[0]]
    frame = pl.DataFrame({"id": table(n).ids, "family": [names[i * 3 // n] for i in range(n)], "heat": np.arange(n) / 7})
    frame[:-1].write_parquet(path)  # the last embedding has no row
    return path


class Page(HTMLParser):
    """Parses a page: elements, scripts by type, styles, and the content security policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.blocks: dict[str, str] = {}
        self.policy, self._open = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes |= set(found)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        self._open = tag + (found.get("type") or "") if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.blocks[self._open] = self.blocks.get(self._open, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


def sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_page_contains_every_point_and_no_foreign_script(tmp_path: Path) -> None:
    source = labels(tmp_path / "labels.parquet")
    drawn = draw_map(table(), tmp_path / "map.html", labels=source, projection="pca", title=HOSTILE[1])
    page = Page((tmp_path / "map.html").read_text())
    assert page.tags.count("script") == 2 and "img" not in page.tags and "link" not in page.tags
    assert not {a for a in page.attributes if a.startswith("on") or a in ("src", "href", "style")}
    assert f"script-src 'sha256-{sha256(page.blocks['script'])}';" in page.policy
    assert f"style-src 'sha256-{sha256(page.blocks['style'])}';" in page.policy
    assert "default-src 'none'" in page.policy and "unsafe" not in page.policy
    assert not re.search(r"innerHTML|document\.write|\beval\b|https?:", page.blocks["script"])

    data = json.loads(page.blocks["scriptapplication/json"])
    assert data["ids"] == table().ids and data["column"] == "family"
    points = np.frombuffer(base64.b64decode(data["points"]), "<u2").reshape(-1, 2)
    assert points / 65_535 == pytest.approx(drawn.points, abs=1e-5)
    codes = np.frombuffer(base64.b64decode(data["codes"]), "<i4")
    assert [data["names"][c] for c in codes[:-1]] == pl.read_parquet(source)["family"].to_list()
    assert codes[-1] == -1 and data["names"][-1] != "" and len(data["names"]) == 3


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_map(table(), tmp_path / name, projection="tsne", limit=40, seed=seed)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1] != written[2]
    assert b"40 of 60 embeddings" in written[0]


def test_numbers_are_a_scale_and_few_whole_ones_are_classes(tmp_path: Path) -> None:
    source = labels(tmp_path / "labels.parquet")
    page = draw_map(table(), tmp_path / "map.html", labels=source, column="heat", projection="pca")
    assert page.codes is None and np.isnan(page.values[-1]) and page.values[1] == pytest.approx(1 / 7)
    data = json.loads(Page((tmp_path / "map.html").read_text()).blocks["scriptapplication/json"])
    ranks = np.frombuffer(base64.b64decode(data["ranks"]), "<f4")
    assert ranks[0] == 0 and ranks[58] == 1 and ranks[-1] == -1
    whole = pl.DataFrame({"id": table().ids, "kind": [i % 4 for i in range(60)]})
    whole.write_parquet(tmp_path / "kinds.parquet")
    assert draw_map(table(), tmp_path / "map.html", labels=tmp_path / "kinds.parquet", projection="pca").names == list(
        "0123"
    )


def test_unplottable_tables_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = labels(tmp_path / "labels.parquet")
    with pytest.raises(UsageError, match="projection must be auto"):
        draw_map(table(), tmp_path / "map.html", projection="nonsense")
    with pytest.raises(UsageError, match="no column 'nonsense'"):
        draw_map(table(), tmp_path / "map.html", labels=source, column="nonsense")
    with pytest.raises(UsageError, match="no labels are given"):
        draw_map(table(), tmp_path / "map.html", column="family")
    strangers = Embedding("x", ["q1", "q2", "q3"], np.eye(3, dtype=np.float32))
    with pytest.raises(BadInputError, match="no id of the embeddings"):
        draw_map(strangers, tmp_path / "map.html", labels=source, projection="pca")
    with pytest.raises(BadInputError, match="a map needs at least three"):
        draw_map(Embedding("x", ["q1"], np.ones((1, 3), dtype=np.float32)), tmp_path / "map.html")
    monkeypatch.setattr(coordinates, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="umap-learn is not installed"):
        coordinates.resolve_method("umap", 1000)
    assert coordinates.resolve_method("auto", 1000) == "tsne"
    assert not (tmp_path / "map.html").exists()


def test_points_between_landmarks_are_near_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinates, "LANDMARKS", 60)
    unit = table(240).unit_rows()
    found = coordinates.coordinates(unit, "tsne", 0)
    centre = [found[k * 80 : k * 80 + 80].mean(axis=0) for k in range(3)]
    nearest = np.argmin([np.linalg.norm(found - c, axis=1) for c in centre], axis=0)
    assert (nearest == np.repeat(np.arange(3), 80)).mean() > 0.97
    assert found.min() == 0 and found.max() == 1


def test_umap_keeps_clusters_apart_and_is_the_same_for_the_same_seed() -> None:
    unit = table(240).unit_rows()
    found = coordinates.coordinates(unit, "umap", 0)
    centre = [found[k * 80 : k * 80 + 80].mean(axis=0) for k in range(3)]
    nearest = np.argmin([np.linalg.norm(found - c, axis=1) for c in centre], axis=0)
    assert (nearest == np.repeat(np.arange(3), 80)).mean() > 0.97
    assert (found == coordinates.coordinates(unit, "umap", 0)).all()


@pytest.mark.needs("chromium")
def test_chromium_renders_the_page_and_runs_only_its_script(tmp_path: Path) -> None:
    draw_map(table(), tmp_path / "map.html", labels=labels(tmp_path / "labels.parquet"), projection="pca")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    page = subprocess.run(
        [*command, (tmp_path / "map.html").as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    assert 'data-ready="60"' in page.stdout  # the script ran to its end
    assert "<title>mine</title>" in page.stdout and "&lt;b&gt;first&lt;/b&gt;" in page.stdout
    assert "<img" not in page.stdout


@pytest.mark.needs("chromium")
def test_a_map_that_was_not_moved_shows_all_points_in_a_window_of_another_size(tmp_path: Path) -> None:
    draw_map(table(), tmp_path / "map.html", projection="pca")
    drawn = "document.getElementById('map').toDataURL()"
    with Browser(tmp_path / "profile", width=1000, height=700) as page:
        page.open((tmp_path / "map.html").as_uri())
        wide = page.run(drawn)
        page.resize(400, 700)
        page.wait(f"innerWidth === 400 && {drawn} !== {json.dumps(wide)}")
        resized = page.run(drawn)
        page.open((tmp_path / "map.html").as_uri())
        assert page.run(drawn) == resized
