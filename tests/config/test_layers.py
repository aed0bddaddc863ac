"""Layers of options: precedence, and errors that name the option and its source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from phylocli.config import layers
from phylocli.config.base import Layer
from phylocli.config.pairs import PairsConfig, SamplingConfig
from phylocli.config.run import RunConfig, of_file
from phylocli.core.errors import BadInputError, UsageError


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return where the user's and the project's files would be; the working folder is below the project's."""
    monkeypatch.setattr(layers, "user_file", lambda: tmp_path / "home" / "config.toml")
    (tmp_path / "home").mkdir()
    (tmp_path / "project" / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "deep" / "er")
    return tmp_path / "home" / "config.toml", tmp_path / "project" / "phylocli.toml"


@pytest.fixture
def sampled(cli: Callable[..., object], examples: Path, tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Run `pairs` on one family and return the parameters of its provenance record."""
    text = (examples / "families.sto").read_text()
    record = next(part for part in text.split("//\n") if "#=GF NH" in part or "PF00042" in part) + "//\n"
    import phylocli

    source, trees = tmp_path / "one.sto", tmp_path / "trees.sto"
    source.write_text(record)
    phylocli.write_families(phylocli.infer_trees(phylocli.read_families(source), engine="nj", refine=False), trees)

    def run(*arguments: str, env: dict[str, str] | None = None) -> dict[str, object]:
        target = tmp_path / "p.tsv"
        done = cli("pairs", trees, "-o", target, *arguments, env=env)
        assert done.exit_code == 0, done.stderr  # type: ignore[attr-defined]
        return json.loads((tmp_path / "p.tsv.provenance.json").read_text())["parameters"]

    return run


def test_each_layer_beats_the_one_before_it(places: tuple[Path, Path], sampled: Callable[..., dict[str, object]]) -> None:
    user, project = places
    assert sampled()["number"] is None
    user.write_text('[pairs]\nn = 7\nunit = "relative"\n')
    assert sampled()["number"] == 7
    project.write_text("[pairs]\nnumber = 6\n[train]\n")
    assert sampled()["number"] == 6
    assert sampled(env={"PHYLOCLI_PAIRS__NUMBER": "5"})["number"] == 5
    last = sampled("-n", "4", env={"PHYLOCLI_PAIRS__NUMBER": "5"})
    assert (last["number"], last["unit"]) == (4, "relative")


def test_a_flag_switches_off_what_a_file_switched_on(
    places: tuple[Path, Path], sampled: Callable[..., dict[str, object]]
) -> None:
    places[1].write_text("[pairs]\nreplace = true\nnumber = 3\n")
    assert sampled()["replace"] is True
    assert sampled("--no-replace")["replace"] is False


def test_only_the_nearest_project_file_counts(places: tuple[Path, Path]) -> None:
    places[1].write_text("[pairs]\nnumber = 7\n")
    Path("../phylocli.toml").write_text("[pairs]\nmin_dist = 1\n")
    (layer,) = layers.collect("pairs")
    assert layer.values == {"min_dist": 1}


def test_a_variable_reaches_a_view_with_a_hyphen() -> None:
    environment = {"PHYLOCLI_TRAIN__VIEW__MULTI_CROP__SMALL_FRACTION": "0.3", "PHYLOCLI_STORE": "x"}
    (layer,) = layers.from_environment(environment, "train")
    assert layer.values == {"view": {"multi-crop": {"small_fraction": 0.3}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[pairs]\nmin_dits = 3\n",
            "phylocli.toml: [pairs] has no option 'min_dits'\nfix: did you mean 'min_dist'?",
        ),
        ("[pairs]\nnumber = 'many'\n", "project/phylocli.toml: [pairs] number must be a whole number, not 'many'"),
        ("[pairs]\nmin_dist = nan\n", "project/phylocli.toml: [pairs] min_dist must be at least 0, not nan"),
        ("[pairs]\nscheme = 'even'\n", "project/phylocli.toml: [pairs] scheme must be uniform, per-sequence, per-family"),
        ("[pairs]\nbins = '1'\n", "project/phylocli.toml: [pairs] bins: '1' is not a range"),
        ("[pears]\nnumber = 3\n", "project/phylocli.toml: there is no table 'pears'\nfix: did you mean 'pairs'?"),
        ("pairs = 3\n", "project/phylocli.toml: 'pairs' must be a table, not 3"),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_key(places: tuple[Path, Path], text: str, message: str) -> None:
    places[1].write_text(text)
    with pytest.raises(UsageError) as caught:
        PairsConfig.layered(layers.collect("pairs"))
    assert message in str(caught.value)


def test_an_error_in_the_environment_names_the_variable() -> None:
    environment = {"PHYLOCLI_PAIRS__MIN_IDENTITY": "1.5"}
    with pytest.raises(UsageError, match=r"\$PHYLOCLI_PAIRS__MIN_IDENTITY must be at most 1, not 1.5"):
        PairsConfig.layered(layers.from_environment(environment, "pairs"))
    with pytest.raises(UsageError, match=r"\$PHYLOCLI_PAIRS__MIN_IDENTTY: \[pairs\] has no option 'min_identty'"):
        PairsConfig.layered(layers.from_environment({"PHYLOCLI_PAIRS__MIN_IDENTTY": "1"}, "pairs"))


def test_of_a_switch_and_its_opposite_the_last_wins(sampled: Callable[..., dict[str, object]]) -> None:
    assert sampled("--replace", "--no-replace")["replace"] is False
    assert sampled("--no-replace", "--replace", "-n", "3")["replace"] is True


def test_a_file_that_is_not_toml_is_named(places: tuple[Path, Path]) -> None:
    places[0].write_text("[pairs\n")
    with pytest.raises(BadInputError, match=r"config.toml is not TOML"):
        layers.collect("pairs")


def test_an_error_on_the_command_line_names_the_flag(cli: Callable[..., object]) -> None:
    done = cli("pairs", "x.sto", "--min-identity", "40")
    assert done.exit_code == 2  # type: ignore[attr-defined]
    assert "--min-identity must be at most 1, not 40" in done.stderr  # type: ignore[attr-defined]


def test_an_earlier_name_is_read_with_a_warning(
    sampled: Callable[..., dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sampled("--weighting", "per-family", "-n", "3")["scheme"] == "per-family"
    config = SamplingConfig.of(None, {"n": 3})
    assert config.number == 3
    assert "n is now called number" in capsys.readouterr().err
    config = SamplingConfig.layered([Layer("mine.toml: [pairs]", {"weighting": "per-family", "n": 3})])
    assert config.scheme == "per-family"
    assert "mine.toml: [pairs] weighting is now called scheme" in capsys.readouterr().err


def test_single_fields_over_a_configuration_are_checked_like_any() -> None:
    config = SamplingConfig(min_dist=0.5, number=3)
    assert SamplingConfig.of(config, {}) is config
    assert SamplingConfig.of(config, {"number": 4}) == SamplingConfig(min_dist=0.5, number=4)
    pairs = PairsConfig(holdout="clans", number=3)  # more than the required fields is allowed
    assert SamplingConfig.of(pairs, {"number": 4}) == PairsConfig(holdout="clans", number=4)
    with pytest.raises(UsageError, match="number must be at least 1"):
        config.updated(number=0)
    with pytest.raises(UsageError, match="has no option 'fraction'"):
        SamplingConfig.of(config, {"fraction": 4})


@pytest.mark.parametrize("text", ["families/" + 300 * "x", 300 * "é", "nul\0byte"])
def test_a_text_that_cannot_be_a_path_is_the_value_as_it_stands(text: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f"families = [{json.dumps(text)}]\n")
    assert RunConfig.layered([of_file(file)]).families == (text,)
