"""The notebook, the scripts of the gallery and the Python of the pages run as they stand."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import pytest

import phylocli

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(EXAMPLES / "globins.fasta", tmp_path)
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "embed_and_search.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), names)
    assert names["vectors"].shape == (45, 1024)  # type: ignore[attr-defined]
    assert len(names["hits"]) == 45 * 5  # type: ignore[arg-type]
    assert names["same"] > 0.6  # type: ignore[operator]
    assert (tmp_path / "globins.html").stat().st_size > 10_000


@pytest.mark.parametrize("script", sorted((ROOT / "docs" / "gallery").glob("*.py")), ids=lambda script: script.name)
def test_the_scripts_of_the_gallery_draw_their_figures(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
    matplotlib.use("svg")
    runpy.run_path(str(script))
    matplotlib.pyplot.close("all")
    name = f"gallery-{script.stem}.svg"
    assert (tmp_path / name).read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert f"images/{name}" in (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert len(script.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.parametrize("page", ["README.md", "docs/howto.md"])
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLES / "globins.fasta", tmp_path / "examples")
    small = [f for f in phylocli.read_families(EXAMPLES / "families.sto") if len(f) < 12]
    phylocli.write_families(small, tmp_path / "examples" / "families.sto")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
