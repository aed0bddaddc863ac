"""Settings of a run: every number has a range, every plugin its parameters, and errors come before a run starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phylocli import recipes
from phylocli.core import plugins
from phylocli.core.errors import EXIT_USAGE, PhylocliError, UsageError
from phylocli.core.plugins import CRITICS, ENCODERS, Kind
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.train import settings, train_model
from phylocli.train.run_folder import resolve

FREE = ("critic", "objective", "view.", "encoder.parameters", "encoder.pooling_parameters")


def flat(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def resolved(**changes: Any) -> dict[str, Any]:
    return resolve(["families.sto"], None, None, None, changes)


def test_every_number_has_a_range() -> None:
    numbers = {
        name
        for name, value in flat(recipes.defaults())
        if isinstance(value, int | float) and not isinstance(value, bool) and not name.startswith(FREE)
    }
    assert numbers | {"seed"} == set(settings.RANGES)


def outside() -> Iterator[tuple[str, Any]]:
    kinds = dict(flat(recipes.defaults()))
    for name, allowed in settings.RANGES.items():
        whole = isinstance(kinds.get(name, 0), int)
        step = 1 if whole else 1e-9
        if allowed.low > -math.inf:
            yield name, allowed.low if allowed.above else allowed.low - step
        if allowed.high < math.inf:
            yield name, allowed.high if allowed.below else allowed.high + step
        if not whole:
            yield name, math.nan
            if math.inf not in allowed:
                yield name, math.inf


@pytest.mark.parametrize(("name", "value"), list(outside()))
def test_a_number_out_of_its_range_is_a_usage_error_with_the_range(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name.replace(".", r"\.")) as caught:
        if name == "seed":
            resolve(["families.sto"], None, None, value, {})
        else:
            resolved(**{name: value})
    assert caught.value.fix is not None and str(settings.RANGES[name]) in caught.value.fix


@pytest.mark.parametrize("name", sorted(set(settings.RANGES) - {"seed"}))
def test_the_ends_of_a_range_are_accepted(name: str) -> None:
    allowed = settings.RANGES[name]
    kind = type(dict(flat(recipes.defaults()))[name])
    together = {"encoder.start_share": {"encoder.start": "default"}, "kernel.features": {"whitening.power": 0.5}}
    for end, excluded in ((allowed.low, allowed.above), (allowed.high, allowed.below)):
        if math.isfinite(end) and not excluded:
            resolved(**{name: kind(end), **together.get(name, {})})


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
        ({"precision": "fp16"}, "precision is 'fp16'"),
        ({"alphabet": "rna"}, "alphabet"),
        ({"batch.negatives": "none"}, "batch.negatives is 'none'"),
        ({"encoder.start_share": 0.5}, "start_share"),
        ({"kernel.features": 8}, "require whitening"),
        ({"head.norm": True, "batch.pairs": 1}, "head.norm"),
        ({"checkpoints.model": "best", "checkpoints.best": ""}, "checkpoints.best is empty"),
    ],
)
def test_what_no_plugin_takes_is_a_usage_error_before_a_run_starts(changes: dict[str, Any], message: str) -> None:
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
        plugins.make(kind.noun, name, made, *given, parameters=parameters)


@pytest.fixture
def families(simulate: Callable[..., Family], tmp_path: Path) -> Path:
    write_families([simulate(f"PF{i:05d}", 12) for i in range(3)], tmp_path / "families.sto")
    return tmp_path / "families.sto"


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
        with pytest.raises(PhylocliError, match="no run to resume") as caught:
            train_model([], folder, resume=True)
        assert caught.value.exit_code == EXIT_USAGE
    assert not (tmp_path / "none").exists()
