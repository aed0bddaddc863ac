"""`phylocli train` and `phylocli recipes` as a user runs them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from phylocli.models.model import Model

Run = Callable[..., Any]
QUICK = ["--steps", "4", "--device", "cpu", "--set", "encoder.preset=tiny", "--set", "batch.pairs=8"]


@pytest.fixture
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(3, members=24)


def test_families_with_trees_give_a_model(phylocli: Run, families: Path, tmp_path: Path) -> None:
    done = phylocli("train", families, "-o", "run", *QUICK, "--seed", "3")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    assert "3 families" in done.stderr.decode()
    assert Model.load(tmp_path / "run" / "model").size > 0
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["seed"] == 3
    provenance = (tmp_path / "run" / "provenance.json").read_text()
    assert '"sha256"' in provenance
    assert str(families) in provenance


def test_pairs_are_read_from_a_pipe(phylocli: Run, families: Path, tmp_path: Path) -> None:
    pairs = phylocli("pairs", families, "-n", "300", "-q")
    assert pairs.returncode == 0, pairs.stderr.decode()
    done = phylocli("train", "-", "-o", "run", *QUICK, "-q", input=pairs.stdout)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet").height == 4


def test_run_resumes_where_it_stopped_and_is_not_overwritten(phylocli: Run, families: Path) -> None:
    assert phylocli("train", families, "-o", "run", *QUICK).returncode == 0
    again = phylocli("train", families, "-o", "run", *QUICK)
    assert again.returncode == 2
    assert "--resume" in again.stderr.decode()
    resumed = phylocli("train", "--resume", "-o", "run")
    assert resumed.returncode == 0
    assert "is complete (4 steps)" in resumed.stderr.decode()


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", 65, "is empty"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 100, 65, "PNG"),
        (b">a\nACDEF\n", 65, "fewer than two members"),
        (b"# STOCKHOLM 1.0\na ACDEF\n", 65, "//"),
    ],
    ids=["empty", "picture", "one-sequence", "cut-short"],
)
def test_bad_input_ends_with_65_and_leaves_nothing(
    phylocli: Run, tmp_path: Path, content: bytes, code: int, message: str
) -> None:
    (tmp_path / "input").write_bytes(content)
    done = phylocli("train", "input", "-o", "run", *QUICK)
    assert done.returncode == code, done.stderr.decode()
    assert message in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert not (tmp_path / "run").exists()


def test_a_setting_that_does_not_exist_is_a_usage_error(phylocli: Run, families: Path) -> None:
    done = phylocli("train", families, "-o", "run", "--set", "critic.temprature=0.1")
    assert done.returncode == 2
    assert "temprature" in done.stderr.decode()


def test_recipes_are_listed_and_shown(phylocli: Run) -> None:
    listed = phylocli("recipes")
    assert listed.stdout.decode().splitlines()[0] == "recipe\tidea\tpaper"
    assert "simclr\t" in listed.stdout.decode()
    shown = phylocli("recipes", "show", "simclr")
    assert tomllib.loads(shown.stdout.decode())["critic"]["name"] == "cosine"
    assert phylocli("recipes", "show").returncode == 2


def test_files_and_environment_set_options_missing_on_the_command_line(
    phylocli: Run, families: Path, tmp_path: Path
) -> None:
    (tmp_path / "config" / "phylocli").mkdir(parents=True)
    (tmp_path / "config" / "phylocli" / "config.toml").write_text("[train]\nsteps = 3\n[train.encoder]\npreset = 'tiny'\n")
    (tmp_path / "phylocli.toml").write_text("[train.batch]\npairs = 10\naccumulate = 2\n")
    places = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PHYLOCLI_TRAIN__BATCH__ACCUMULATE": "1"}
    done = phylocli("train", families, "-o", "run", "--device", "cpu", "--set", "batch.pairs=8", env=places)
    assert done.returncode == 0, done.stderr.decode()
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (config["steps"], config["encoder"]["preset"]) == (3, "tiny")
    assert (config["batch"]["pairs"], config["batch"]["accumulate"]) == (8, 1)
    again = phylocli(
        "train", "--config", "run/config.toml", "-o", "again", "--device", "cpu", env={"PHYLOCLI_TRAIN__STEPS": "9"}
    )
    assert again.returncode == 0, again.stderr.decode()
    losses = [pl.read_parquet(tmp_path / run / "metrics.parquet")["loss"].to_list() for run in ("run", "again")]
    assert losses[0] == losses[1]
    shown = phylocli("doctor", env=places).stdout.decode()
    assert f"{tmp_path}/phylocli.toml: options of train" in shown
    assert "$PHYLOCLI_TRAIN__BATCH__ACCUMULATE" in shown
