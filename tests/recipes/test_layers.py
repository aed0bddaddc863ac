"""Settings by layers: each level beats the next, and what is wrong is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from phylocli.config import layers as all_layers
from phylocli.core.errors import BadInputError, UsageError
from phylocli.recipes import layers
from phylocli.recipes.layers import Layer
from phylocli.train.run_folder import resolve


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return where the user's and the project's files would be; the working folder is below the project's."""
    monkeypatch.setattr(all_layers, "user_file", lambda: tmp_path / "home" / "config.toml")
    (tmp_path / "home").mkdir()
    (tmp_path / "project" / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "deep" / "er")
    return tmp_path / "home" / "config.toml", tmp_path / "project" / "phylocli.toml"


def resolved(*, settings: dict | None = None, steps: int | None = None, **environment: str) -> dict:
    return resolve(["f.sto"], None, steps, None, settings or {}, layers.collect(environment=environment))


def test_each_level_beats_the_next(places: tuple[Path, Path]) -> None:
    user, project = places
    assert resolved()["batch"]["pairs"] == 0
    user.write_text("[train]\nsteps = 7\n[train.batch]\npairs = 11\nfamily_power = 0.5\n")
    assert resolved()["batch"]["pairs"] == 11
    project.write_text("[train.batch]\npairs = 12\n")
    assert resolved()["batch"]["pairs"] == 12
    assert resolved(PHYLOCLI_TRAIN__BATCH__PAIRS="13")["batch"]["pairs"] == 13
    last = resolved(PHYLOCLI_TRAIN__BATCH__PAIRS="13", settings={"batch.pairs": 14})
    assert last["batch"] == {**last["batch"], "pairs": 14, "family_power": 0.5}
    assert last["steps"] == 7
    assert resolved(steps=3)["steps"] == 3


def test_recipe_and_seed_come_from_layers_too(places: tuple[Path, Path]) -> None:
    user, project = places
    user.write_text('[train]\nrecipe = "siglip"\nseed = 3\n')
    assert resolved()["recipe"] == "siglip"
    assert resolved()["seed"] == 3
    project.write_text('[train]\nrecipe = "mine.toml"\n')
    (project.parent / "mine.toml").write_text("steps = 5\n")  # beside the file that names it, not in the working folder
    assert resolved()["steps"] == 5
    assert resolved(PHYLOCLI_TRAIN__RECIPE="simcse", PHYLOCLI_TRAIN__SEED="4")["recipe"] == "simcse"
    assert resolve(["f.sto"], "moco", None, 9, {}, layers.collect())["recipe"] == "moco"
    assert resolve(["f.sto"], "moco", None, 9, {}, layers.collect())["seed"] == 9


def test_the_nearest_project_file_counts_alone(places: tuple[Path, Path]) -> None:
    _, project = places
    project.write_text("[train]\nsteps = 7\n")
    Path("../phylocli.toml").write_text("[train.batch]\npairs = 12\n")
    assert resolved()["batch"]["pairs"] == 12
    assert resolved()["steps"] == 600


def test_a_variable_reaches_a_view_with_a_hyphen() -> None:
    environment = {"PHYLOCLI_TRAIN__VIEW__MULTI_CROP__SMALL_FRACTION": "0.3", "PHYLOCLI_STORE": "x"}
    (layer,) = layers.collect(environment=environment)
    assert layer == Layer(layer.where, {"view": {"multi-crop": {"small_fraction": 0.3}}})


def test_the_config_of_a_run_is_complete(places: tuple[Path, Path], tmp_path: Path) -> None:
    import tomli_w

    first = resolved(settings={"batch.pairs": 14})
    (tmp_path / "config.toml").write_text(tomli_w.dumps(first))
    places[0].write_text("[train]\nsteps = 7\n")
    assert resolve([], tmp_path / "config.toml", None, None, {}, layers.collect()) == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train.batch]\npears = 3\n", "project/phylocli.toml: there is no setting 'batch.pears'"),
        ("[train]\nsteps = 'many'\n", "project/phylocli.toml: steps must be a whole number"),
        ("[train]\nseed = 'one'\n", "project/phylocli.toml: seed must be a whole number"),
        ("[batch]\npairs = 3\n", "project/phylocli.toml: there is no table 'batch'"),
        ("train = 3\n", "project/phylocli.toml: 'train' must be a table, not 3"),
    ],
)
def test_what_is_wrong_names_the_file(places: tuple[Path, Path], text: str, message: str) -> None:
    places[1].write_text(text)
    with pytest.raises(UsageError, match=message):
        resolved()


def test_a_broken_file_and_an_unknown_variable_are_named(places: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=r"\$PHYLOCLI_TRAIN__BATCH__PEARS: there is no setting"):
        resolved(PHYLOCLI_TRAIN__BATCH__PEARS="3")
    places[0].write_text("[train\n")
    with pytest.raises(BadInputError, match=r"config.toml is not TOML"):
        resolved()
