"""Recipes: every one resolves to parts that exist, and settings are checked."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import polars as pl
import pytest
import torch

from phylocli import recipes, views
from phylocli.config.assignments import nested, parse_assignment
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_families, write_families
from phylocli.train import train_model
from phylocli.train.data.loading import load_corpus
from phylocli.train.task import Learner
from phylocli.train.validation import collapsed_loss
from phylocli.tree import infer_trees


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_builds(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.idea
    assert "arXiv" in recipe.paper or "doi" in recipe.paper
    view = dict(recipe.settings["view"])
    views.build(view.pop("name"), view)
    assert Learner(recipe.settings, 0).model.size > 0


@pytest.mark.parametrize("name", recipes.names())
def test_what_is_shown_can_be_read_again(name: str, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text(recipes.describe(recipes.load(name)))
    again = recipes.load(tmp_path / "mine.toml")
    assert again == recipes.load(name)


def test_a_file_states_only_what_it_wants_otherwise(tmp_path) -> None:
    (tmp_path / "mine.toml").write_text('[critic]\nname = "bilinear"\n[optimiser]\nlearning_rate = 1\n')
    settings = recipes.load(tmp_path / "mine.toml").settings
    assert settings["critic"] == {"name": "bilinear"}
    assert settings["optimiser"] == {**recipes.defaults()["optimiser"], "learning_rate": 1.0}


def test_another_plugin_does_not_inherit_the_parameters_of_the_old_one() -> None:
    base = recipes.load("simclr").settings
    assert base["critic"]["temperature"] == 0.1
    changed = recipes.merge(base, nested({"critic.name": "separable", "critic.hidden": 32}), "--set")
    assert changed["critic"] == {"name": "separable", "hidden": 32}
    assert base["critic"]["temperature"] == 0.1


def test_parameters_of_a_pooling_go_with_it_and_stay_with_another_encoder() -> None:
    settings = recipes.load("default-model").settings
    assert settings["encoder"]["pooling_parameters"] == {"features": 1024}
    mean = recipes.merge(settings, {"encoder": {"pooling": "mean"}}, "here")
    assert mean["encoder"]["pooling_parameters"] == {}
    hybrid = recipes.merge(settings, {"encoder": {"name": "hybrid"}}, "here")
    assert hybrid["encoder"]["pooling_parameters"] == {"features": 1024}


def test_parameters_of_views_are_the_views_own_business() -> None:
    base = recipes.load("simclr").settings
    changed = recipes.merge(base, nested({"view.crop.max_fraction": 0.5, "view.crop.max_length": 200}), "--set")
    assert changed["view"]["crop"] == {**base["view"]["crop"], "max_fraction": 0.5, "max_length": 200}


def test_another_view_keeps_the_parameters_of_the_parts_that_stay() -> None:
    base = recipes.load("simclr").settings
    longer = recipes.merge(base, {"view": {"name": "phylogenetic+crop+masking"}}, "--set")
    assert longer["view"]["crop"] == base["view"]["crop"]
    assert recipes.merge(base, {"view": {"name": "phylogenetic"}}, "--set")["view"] == {"name": "phylogenetic"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", ("a.b", 1)),
        ("a=0.5", ("a", 0.5)),
        ("a = true", ("a", True)),
        ("a=inf", ("a", float("inf"))),
        ("a=mean", ("a", "mean")),
        ("a='0.5'", ("a", "0.5")),
        ("a=x=y", ("a", "x=y")),
    ],
)
def test_assignments_read_as_toml_else_as_a_word(text: str, expected: tuple) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_what_is_no_assignment_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        parse_assignment(text)


def test_unknown_recipes_and_broken_files_are_told(tmp_path) -> None:
    with pytest.raises(UsageError, match="did you mean 'simclr'"):
        recipes.load("simcl")
    with pytest.raises(BadInputError, match="check the path"):
        recipes.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = b")
    with pytest.raises(BadInputError, match="not TOML"):
        recipes.load(tmp_path / "bad.toml")
    (tmp_path / "odd.toml").write_text("wings = 2")
    with pytest.raises(UsageError, match=r"odd\.toml: there is no setting 'wings'"):
        recipes.load(tmp_path / "odd.toml")


def test_the_listing_is_a_table() -> None:
    rows = [line.split("\t") for line in recipes.listing().splitlines()]
    assert rows[0] == ["recipe", "idea", "paper"]
    assert [row[0] for row in rows[1:]] == recipes.names()
    assert {len(row) for row in rows} == {3}


def test_defaults_are_toml_with_a_word_for_every_table() -> None:
    text = (recipes._FOLDER / "_defaults.toml").read_text()
    assert tomllib.loads(text) == recipes.defaults()


def best_constant(recipe: str, negatives: float) -> float:
    """Return the least loss that equal vectors can have, in closed form where there is one, else infinity."""
    if recipe == "swav":  # cross entropy of balanced codes against one prediction for all
        return math.log(recipes.load("swav").settings["objective"]["prototypes"])
    if recipe == "siglip":  # one question in 1 + negatives has the answer yes, and no question can be told from another
        yes = 1 / (1 + negatives)
        return -math.log(yes) - negatives * math.log(1 - yes)
    if recipe == "infomax":  # 2 log 2 a Jensen–Shannon term, and a prior that no discriminator tells
        weights = recipes.load("infomax").settings["objective"]
        return 2 * math.log(2) * (weights["glob"] + weights["local"] - weights["prior"])
    return math.inf


@pytest.fixture(scope="module")
def trees(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trees") / "trees.sto"
    write_families(infer_trees(read_families(examples / "families.sto")), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_learns_what_no_collapsed_encoder_could(recipe: str, trees: Path, tmp_path: Path) -> None:
    steps, run = 200, tmp_path / "run"
    changes = {"encoder.preset": "tiny", "batch.pairs": 32, "validation.every": steps, "precision": "fp32"}
    train_model([trees], run, recipe=recipe, steps=steps, device="cpu", settings=changes)
    metrics = pl.read_parquet(run / "metrics.parquet")[-20:]
    config = tomllib.loads((run / "config.toml").read_text())
    learner = Learner(config, 0)
    corpus = load_corpus([trees], config, 0, every_view=learner.needs.views == "all")
    masks = [learner.codes(corpus.batch(step)).negatives() for step in range(steps - 20, steps)]
    negatives = float(torch.stack([mask.sum(1).double().mean() for mask in masks]).mean())
    limits = [collapsed_loss(run, corpus, steps - 1), best_constant(recipe, negatives)]
    if "ceiling" in metrics.columns:  # log K, exactly, with its masks
        limits.append(metrics["ceiling"].mean())
    assert metrics["loss"].mean() < min(limits) - 0.05, limits
    assert metrics["val_rank"][-1] > 5
