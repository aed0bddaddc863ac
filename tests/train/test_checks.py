"""Invalid inputs and settings are errors before the run starts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phylocli.config.assignments import nested
from phylocli.config.layers import Layer
from phylocli.config.train import TrainConfig
from phylocli.core.errors import EXIT_USAGE, PhylocliError, UsageError
from phylocli.core.plugins import CRITICS, ENCODERS, Kind
from phylocli.train import train_model
from phylocli.train.checks import check_config


def resolved(**changes: Any) -> None:
    check_config(TrainConfig.of(None, {"inputs": ("families.sto",), **nested(changes)}))


DIFFUSION = {"recipe": "latent-diffusion", "latents": "run/model"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("log.wandb", "project"),
        ("log.mfu", False),
        ("batch.pairs", 8),
        ("precision", "bf16"),
        ("compile", True),
        ("teachers", ("default",)),
        ("residues.labels", "labels.parquet"),
        ("view.crop.min_fraction", 0.5),
        ("checkpoints.best", "val_loss"),
        ("on_divergence", "rollback"),
    ],
)
def test_settings_that_a_latent_diffusion_does_not_use_are_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"does not use {re.escape(setting)}"):
        resolved(**DIFFUSION, **{setting: value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"multiview.max_length": 64}, "multiview.max_length is for --modalities only"),
        ({"graphs.hidden": 64}, "graphs.hidden is for the recipes dgi and infograph only"),
        ({"recipe": "infograph", "graphs.corruption": "graphs"}, "does not use graphs.corruption"),
        ({"recipe": "dgi", "features": "emb.parquet", "graphs.batch": 8}, "does not use graphs.batch"),
    ],
)
def test_settings_of_graphs_and_modalities_are_refused_where_nothing_uses_them(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        resolved(**changes)


def test_settings_of_a_latent_diffusion_and_those_for_every_command_are_accepted() -> None:
    given = {"seed": 1, "steps": 5, "device": "cpu", "diffusion.width": 32, "optimiser.name": "muon", "optimiser.clip": 0.5}
    given |= {"validation.fraction": 0.0, "validation.every": 5, "checkpoints.every": 5, "checkpoints.keep": 1}
    resolved(**DIFFUSION, **given, **{"batch.pairs": 0})  # the last is its default
    layers = [Layer("environment", {"batch": {"pairs": 8}}, ambient=True), Layer("", {**DIFFUSION, "inputs": ("a.sto",)})]
    check_config(TrainConfig.layered(layers))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic.temp": 0.1}, "no parameter 'temp'"),
        ({"critic.temperature": math.nan}, "temperature of the critic 'cosine' must be a number"),
        ({"critic.learned": 1}, "must be true or false"),
        ({"objective.name": "infonce", "objective.negatives": 1.5}, "must be a whole number"),
        ({"encoder.parameters.deepth": 2}, "no parameter 'deepth'"),
        ({"encoder.parameters.depth": True}, "must be a whole number"),
        ({"encoder.preset": "huge"}, "no preset 'huge'"),
        ({"encoder.pooling": "median"}, "unknown pooling 'median'"),
        ({"encoder.pooling_parameters.heads": 2}, "no parameter 'heads'"),
        ({"view.crop.min_fraction": "half"}, "must be a number"),
        ({"view.crop.min_fraction": 2.0}, "min_fraction"),
    ],
)
def test_parameters_unknown_to_plugins_are_usage_errors_before_a_run(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "attribute", "name", "parameters"),
    [
        (ENCODERS, "Encoder", "convolutional", {"dropout": 2.0}),
        (ENCODERS, "Encoder", "transformer", {"heads": 0}),
        (ENCODERS, "Encoder", "recurrent", {"dropout": -1.0}),
        (CRITICS, "Critic", "separable", {"hidden": -3}),
    ],
)
def test_values_that_only_the_library_below_refuses_are_usage_errors(
    kind: Kind[Any], attribute: str, name: str, parameters: dict[str, Any]
) -> None:
    made = getattr(kind.load(name), attribute)
    given = (8,) if kind is CRITICS else ()
    with pytest.raises(UsageError):
        kind.make(name, made, *given, parameters=parameters)


@pytest.fixture
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(3, members=12)


TINY = {"encoder.preset": "tiny", "validation.fraction": 0.0, "log.mfu": False, "batch.pairs": 1}


@pytest.mark.parametrize("recipe", ["simclr", "siglip", "align-uniform"])
def test_a_batch_without_negatives_is_refused_where_the_loss_needs_them(recipe: str, families: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no negatives"):
        train_model([families], tmp_path / "run", recipe=recipe, steps=2, device="cpu", settings=TINY)
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_pair_trains_where_negatives_come_from_elsewhere(families: Path, tmp_path: Path) -> None:
    train_model([families], tmp_path / "moco", recipe="moco", steps=2, device="cpu", settings=TINY)
    decoded = {**TINY, "objective.name": "barber-agakov", "critic.name": "gaussian"}
    train_model([families], tmp_path / "decoded", steps=1, device="cpu", settings=decoded)


def test_a_folder_without_a_run_is_not_resumed(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(PhylocliError, match="not a run to resume") as caught:
            train_model([], folder, resume=True)
        assert caught.value.exit_code == EXIT_USAGE
    assert not (tmp_path / "none").exists()
