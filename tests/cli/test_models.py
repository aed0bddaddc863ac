"""`phylocli models`, and `--model NAME` in the commands that take one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from phylocli.models.model import Model

Run = Callable[..., object]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "shelf" / "mini", "# Mini\n\nA tiny model.\n")
    monkeypatch.setenv("PHYLOCLI_MODELS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


def test_models_lists_and_shows(cli: Run, shelf: Path) -> None:
    listed = cli("models")
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert listed.exit_code == 0 and rows[0][:2] == ["name", "encoder"]
    assert any(row[0] == "mini" and row[6] == "A tiny model" for row in rows)
    assert cli("models", "show", "mini").stdout == "# Mini\n\nA tiny model.\n"
    assert cli("models", "show").exit_code == 2
    unknown = cli("models", "show", "mimi")
    assert unknown.exit_code == 2 and "did you mean 'mini'" in unknown.stderr


def test_model_name_is_equivalent_to_its_folder(cli: Run, examples: Path, shelf: Path, tmp_path: Path) -> None:
    for model, table in (("mini", "a.parquet"), (shelf / "mini", "b.parquet")):
        assert cli("embed", examples / "globins.fasta", "-m", model, "-o", tmp_path / table).exit_code == 0
    assert pl.read_parquet(tmp_path / "a.parquet").equals(pl.read_parquet(tmp_path / "b.parquet"))
    families = examples / "families.sto"
    hard = cli("pairs", families, "--hard-negatives", "mini", "-o", tmp_path / "negatives.tsv")
    assert hard.exit_code == 0, hard.stderr
    assert set(pl.read_csv(tmp_path / "negatives.tsv", separator="\t")["by"]) == {"model"}
    probed = cli(
        *("probe", "--model", "mini", "--benchmark", "families", "--data", examples, "--tasks", "geometry", "-o"),
        *(tmp_path / "report", "--baselines", "none", "--projection", "none", "--replicates", 100),
    )
    assert probed.exit_code == 0, probed.stderr


def test_a_folder_is_not_taken_for_a_model_of_the_hub(cli: Run, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shelf.parent)
    done = cli("models", "add", "shelf/mini")
    assert done.exit_code == 2 and "shelf/mini is on this machine" in done.stderr
    assert "--model shelf/mini" in done.stderr
