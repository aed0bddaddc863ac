"""What is in examples/ runs as it stands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


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
