"""Settings of a training run: precedence of defaults, recipe and layers; ranges of all numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types as at
import pytest
import tomli_w

from phylocli import recipes
from phylocli.config import layers
from phylocli.config.assignments import nested
from phylocli.config.base import Config, nested_class
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError


def config(recipe: str | Path = "simclr", **settings: Any) -> TrainConfig:
    return TrainConfig.of(None, {"recipe": recipe, **nested(settings)})


def numbers(cls: type[Config] = TrainConfig, prefix: str = "") -> Iterator[tuple[str, type, list[Any]]]:
    """Yield the name, the type and the bounds of every number."""
    for name, field in cls.model_fields.items():
        if below := nested_class(field):
            yield from numbers(below, f"{prefix}{name}.")
        elif field.annotation in (int, float):
            bounds = [part for part in field.metadata if isinstance(part, at.Ge | at.Gt | at.Le | at.Lt)]
            yield f"{prefix}{name}", field.annotation, bounds


def outside() -> Iterator[tuple[str, float]]:
    for name, kind, bounds in numbers():
        step = 1 if kind is int else 1e-9
        for bound in bounds:
            match bound:
                case at.Ge(low) if low > -math.inf:
                    yield name, low - step
                case at.Gt(low) | at.Lt(low):
                    yield name, low
                case at.Le(high):
                    yield name, high + step
        if kind is float:
            yield name, math.nan


def test_every_number_has_a_lower_bound() -> None:
    found = list(numbers())
    assert len(found) > 30
    assert [name for name, _, bounds in found if not any(isinstance(bound, at.Ge | at.Gt) for bound in bounds)] == []


@pytest.mark.parametrize(("name", "value"), list(outside()))
def test_a_number_out_of_its_range_is_a_usage_error_that_names_it(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        config(**{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "precision must be auto, fp32 or bf16"),
        ({"checkpoints": {"best": "nothing"}}, "checkpoints.best must be '', "),
        ({"encoder": {"parameters": {"dropout": float("nan")}}}, "encoder.parameters"),
        ({"alphabet": "rna"}, "alphabet must be protein or dna"),
        ({"batch.negatives": "none"}, "batch.negatives must be clan, family or pair"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"batch.pears": 3}, "did you mean 'pairs'"),
        ({"encoder.average_coefficient": 0.5}, "needs encoder.start"),
        ({"encoder.average_coefficient": 0.5, "encoder.start": "default", "batch.shard": True}, "not sharded"),
        ({"kernel.features": 8}, "require whitening"),
        ({"head.norm": True, "batch.pairs": 1}, "head.norm"),
        ({"checkpoints.model": "best", "checkpoints.best": ""}, "checkpoints.best is empty"),
    ],
)
def test_invalid_values_are_usage_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", recipes.names())
def test_saved_configuration_can_be_read(name: str, tmp_path: Path) -> None:
    settings = config(name).to_toml()
    (tmp_path / "config.toml").write_text(tomli_w.dumps(settings))
    assert TrainConfig.read(tmp_path / "config.toml").to_toml() == settings


def test_recipe_contains_only_settings_that_differ(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[critic]\nname = "bilinear"\n[optimiser]\nlearning_rate = 1\n')
    found, plain = config(tmp_path / "mine.toml"), config()
    assert found.recipe == "mine"
    assert found.critic.model_dump() == {"name": "bilinear"}
    assert found.optimiser == plain.optimiser.updated(learning_rate=1.0)


def test_another_plugin_does_not_inherit_the_parameters_of_the_old_one() -> None:
    assert config().critic.parameters == {"temperature": 0.1}
    changed = config(**{"critic.name": "separable", "critic.hidden": 32})
    assert (changed.critic.name, changed.critic.parameters) == ("separable", {"hidden": 32})


def test_parameters_of_a_pooling_go_with_it_and_stay_with_another_encoder() -> None:
    assert config("default-model").encoder.pooling_parameters == {"features": 1024}
    assert config("default-model", **{"encoder.pooling": "mean"}).encoder.pooling_parameters == {}
    assert config("default-model", **{"encoder.name": "hybrid"}).encoder.pooling_parameters == {"features": 1024}


def test_another_view_keeps_the_parameters_of_the_parts_that_stay() -> None:
    crop = config().view.parameters["crop"]
    assert config(**{"view.name": "phylogenetic+crop+masking"}).view.parameters == {"crop": crop}
    assert config(**{"view.name": "phylogenetic"}).view.parameters == {}
    longer = config(**{"view.crop.max_fraction": 0.5, "view.crop.max_length": 200})
    assert longer.view.parameters["crop"] == {**crop, "max_fraction": 0.5, "max_length": 200}


def test_single_fields_over_a_configuration_keep_the_rest() -> None:
    base = config("moco", **{"batch.pairs": 12})
    changed = base.updated(steps=5, batch={"accumulate": 2})
    assert (changed.recipe, changed.steps, changed.batch.pairs, changed.batch.accumulate) == ("moco", 5, 12, 2)


def test_names_of_earlier_versions_are_read_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.toml").write_text(
        "[encoder]\nstart = 'default'\nstart_share = 0.25\n"
        "[batch]\ntokens = 300\ncache = true\nrecompute = true\nclan_share = 0.5\nhard_share = 0.1\n"
    )
    found = config(tmp_path / "old.toml")
    assert (found.batch.max_tokens, found.batch.grad_cache, found.batch.activation_checkpointing) == (300, True, True)
    assert (found.batch.cross_family_fraction, found.batch.hard_negative_fraction) == (0.5, 0.1)
    assert found.encoder.average_coefficient == 0.25
    assert "tokens is now called max_tokens" in capsys.readouterr().err
    assert config("swav", **{"objective.kin_mass": False}).objective.parameters["homolog_weight"] is False
    assert config(**{"view.phylogenetic.weighting": "per-sequence"}).view.parameters["phylogenetic"] == {
        "scheme": "per-sequence"
    }


def test_unknown_recipes_and_broken_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'simclr'"):
        config("simcl")
    with pytest.raises(BadInputError, match="check the path"):
        config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = b")
    with pytest.raises(BadInputError, match="not TOML"):
        config(tmp_path / "bad.toml")
    (tmp_path / "odd.toml").write_text("wings = 2")
    with pytest.raises(UsageError, match=r"odd\.toml: .*'wings'"):
        config(tmp_path / "odd.toml")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return where the user's and the project's files would be; the working folder is below the project's."""
    monkeypatch.setattr(layers, "user_file", lambda: tmp_path / "home" / "config.toml")
    (tmp_path / "home").mkdir()
    (tmp_path / "project" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "deep")
    return tmp_path / "home" / "config.toml", tmp_path / "project" / "phylocli.toml"


def layered(**environment: str) -> TrainConfig:
    return TrainConfig.layered(layers.collect("train", environment=environment))


def test_each_level_beats_the_next(places: tuple[Path, Path]) -> None:
    user, project = places
    assert layered().batch.pairs == 0
    user.write_text("[train]\nsteps = 7\n[train.batch]\npairs = 11\nfamily_power = 0.5\n")
    assert layered().batch.pairs == 11
    project.write_text("[train.batch]\npairs = 12\n")
    assert layered().batch.pairs == 12
    last = layered(PHYLOCLI_TRAIN__BATCH__PAIRS="13")
    assert (last.steps, last.batch.pairs, last.batch.family_power) == (7, 13, 0.5)
    assert last.updated(batch={"pairs": 14}).batch.pairs == 14


def test_recipe_and_seed_come_from_layers_too(places: tuple[Path, Path]) -> None:
    user, project = places
    user.write_text('[train]\nrecipe = "siglip"\nseed = 3\n')
    assert (layered().recipe, layered().seed, layered().objective.name) == ("siglip", 3, "siglip")
    project.write_text('[train]\nrecipe = "mine.toml"\n')
    (project.parent / "mine.toml").write_text("steps = 5\n")  # beside the file that names it, not in the working folder
    assert layered().steps == 5
    found = layered(PHYLOCLI_TRAIN__RECIPE="simcse", PHYLOCLI_TRAIN__SEED="4")
    assert (found.recipe, found.seed) == ("simcse", 4)


def test_the_config_of_a_run_is_complete(places: tuple[Path, Path], tmp_path: Path) -> None:
    first = config(inputs=("f.sto",), seed=5, **{"batch.pairs": 14}).to_toml()
    (tmp_path / "config.toml").write_text(tomli_w.dumps(first))
    places[0].write_text("[train]\nsteps = 7\n")
    run = {"PHYLOCLI_TRAIN__RECIPE": str(tmp_path / "config.toml")}
    assert layered(**run, PHYLOCLI_TRAIN__STEPS="9").to_toml() == first


def test_a_run_that_is_resumed_has_its_own_settings_with_the_options_over_them(tmp_path: Path) -> None:
    first = config("moco", inputs=("f.sto",), seed=5, **{"batch.pairs": 14})
    (tmp_path / "config.toml").write_text(tomli_w.dumps(first.to_toml()))
    found = config("siglip", **{"batch.workers": 2}).based_on(tmp_path / "config.toml")
    assert found.to_toml() == first.updated(batch={"workers": 2}).to_toml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train.batch]\npears = 3\n", r"project/phylocli.toml: \[train.batch\] has no option 'pears'"),
        ("[train]\nsteps = 'many'\n", r"project/phylocli.toml: \[train\] steps must be a whole number"),
        ("[train]\nrecipe = 3\n", "recipe must be a name or a file"),
    ],
)
def test_errors_name_the_file(places: tuple[Path, Path], text: str, message: str) -> None:
    places[1].write_text(text)
    with pytest.raises(UsageError, match=message):
        layered()
