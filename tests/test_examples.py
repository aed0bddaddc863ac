"""The notebooks, the scripts of the gallery and the Python of the pages run as they stand."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import polars as pl
import pytest
from click.testing import Result
from standin import Standin

import phylocli

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def executed(notebook: str, shorter: dict[str, str] | None = None) -> dict[str, object]:
    """Run the cells of a notebook in the working folder, with some texts replaced, and return its names."""
    names: dict[str, object] = {}
    for cell in json.loads((EXAMPLES / notebook).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            source = "".join(cell["source"])
            for text, replacement in (shorter or {}).items():
                source = source.replace(text, replacement)
            exec(source, names)
    return names


def test_the_notebook_of_search_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(EXAMPLES / "globins.fasta", tmp_path)
    monkeypatch.chdir(tmp_path)
    names = executed("embed_and_search.ipynb")
    assert names["vectors"].shape == (45, 1024)  # type: ignore[attr-defined]
    assert len(names["hits"]) == 45 * 5  # type: ignore[arg-type]
    assert names["same"] > 0.6  # type: ignore[operator]
    assert (tmp_path / "globins.html").stat().st_size > 10_000


def test_the_notebook_of_a_family_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standin: Standin
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHYLOCLI_STORE", str(tmp_path / "store"))
    names = executed("family_to_map.ipynb")
    assert [family.accession for family in names["trees"]] == ["PF00042", "PF00076"]  # type: ignore[attr-defined]
    assert set(names["rows"]["task"]) == {"retrieval", "patristic"}  # type: ignore[index]
    assert "Globin" in (tmp_path / "members.html").read_text()


def test_the_notebook_of_training_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [f for f in phylocli.read_families(EXAMPLES / "families.sto") if len(f) < 14]
    phylocli.write_families(small, tmp_path / "families.sto")
    monkeypatch.chdir(tmp_path)
    names = executed("train_my_families.ipynb", {"steps = 500": "steps = 2"})
    assert names["steps"] == 2
    assert {"mine", "default"} <= set(names["rows"]["embedding"])  # type: ignore[index]
    assert (tmp_path / "mine.html").stat().st_size > 10_000


def test_the_notebook_of_molecules_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shorter = {"molecules = 5000": "molecules = 600", "steps = 500": "steps = 20"}
    names = executed("molecules.ipynb", shorter)
    assert (names["molecules"], names["steps"]) == (600, 20)
    assert set(names["table"]["part"]) == {"train", "test"}  # type: ignore[index]
    shared = set(names["test"]["scaffold"]) & set(names["train"]["scaffold"])  # type: ignore[index]
    assert not shared, "a ring system is in one part"
    assert any(r != s for r, s in zip(names["randomised"], names["test"]["smiles"], strict=True))  # type: ignore[arg-type,index]
    assert names["found"][1].mean() > 2 * 10 / names["n"]  # type: ignore[index,operator]  # learned, though little in 20 steps
    assert set(names["r2"]) == {"joint space", "composition", "untrained"}  # type: ignore[call-overload]
    bounds = re.fullmatch(r"(\S+) \((\S+)–(\S+)\)", names["r2"]["composition"])  # type: ignore[index]
    assert bounds and float(bounds[2]) < float(bounds[1]) < float(bounds[3])


def test_every_notebook_is_run_by_a_test_and_linked_from_its_page() -> None:
    tests, pages = Path(__file__).read_text(encoding="utf-8"), [*(ROOT / "docs").glob("*.md")]
    for notebook in EXAMPLES.glob("*.ipynb"):
        assert f'executed("{notebook.name}"' in tests
        assert any(f"../examples/{notebook.name}" in page.read_text(encoding="utf-8") for page in pages)


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


@pytest.mark.slow
@pytest.mark.needs("snakemake")
def test_snakemake_workflow_gives_the_files_of_the_commands(tmp_path: Path, cli: Callable[..., Result]) -> None:
    with (tmp_path / "my proteins.fasta").open("w") as file:
        for found in phylocli.simulate_families(number=2, tips=8, length=80, seed=3):
            for name, row in zip(found.family.ids, found.family.rows, strict=True):
                file.write(f">{name}\n{row.replace('-', '')}\n")
    command = ["snakemake", "-s", EXAMPLES / "snakemake" / "Snakefile", "--cores", "2", "--config"]
    command += ["sequences=my proteins.fasta", f"phylocli={sys.executable} -m phylocli", "pairs=--number 20"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results"
    assert len(phylocli.read_embeddings(results / "embeddings.parquet")) == 16
    assert pl.read_parquet(results / "pairs.parquet").height == 20
    cli("align", results / "families.sto", "-o", tmp_path / "aligned.sto")
    cli("tree", tmp_path / "aligned.sto", "-o", tmp_path / "trees.sto")
    assert (results / "trees.sto").read_bytes() == (tmp_path / "trees.sto").read_bytes()
    again = subprocess.run([*map(str, command), "--dry-run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Nothing to be done" in again.stdout + again.stderr
