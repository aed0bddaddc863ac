"""Experiments on halves of domains: stopping, the adversary, layers, correlations, and what needs families."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.config.infomax import EXPERIMENTS, InfomaxConfig
from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.infomax import study, training
from phylocli.infomax.encoders import build_encoder
from phylocli.infomax.experiments import boundary, ceilings, channel, equal_information, invertible, load, nce, uniformity
from phylocli.infomax.homologs import Homologs, make_homologs, read_homologs
from phylocli.infomax.inputs import Pairs, make_pairs, read_pairs
from phylocli.mi import Gaussians
from phylocli.mi.methods import Choice
from phylocli.objectives import Batch, build_objective, infonce

CONFIG = InfomaxConfig(steps=40, batch=32, until_nats=(0.05, 99.0))


SAMPLE = CONFIG.updated(training_families=5, members=20, scored_families=4)


@pytest.fixture(scope="module")
def source(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(9, members=24)


@pytest.fixture(scope="module")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return read_pairs(make_pairs(source, None, tmp_path_factory.mktemp("halves"), SAMPLE))


@pytest.fixture(scope="module")
def homologs(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Homologs:
    return read_homologs(make_homologs(source, None, tmp_path_factory.mktemp("homologs"), SAMPLE))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_rows_depend_on_the_seed_alone_and_not_on_the_state_of_the_generator(
    name: str, data: Pairs, homologs: Homologs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "EVALUATIONS", 2)
    monkeypatch.setattr(nce, "NEGATIVES", (1, 4))
    monkeypatch.setattr(channel, "EVALUATIONS", 2)
    monkeypatch.setattr(channel, "EVALUATED", 16)
    config = CONFIG.updated(steps=3, batch=16, critic_steps=3, distances=(1.0,), sites=2)
    experiment = load(name)
    every = experiment.cells(config)
    for cell in every if name in ("critics", "invertible", "channel") else (every[0], every[-1]):
        found = []
        for state in (1, 2):
            torch.manual_seed(state)
            found.append(experiment.run(cell, 5, config, homologs if experiment.DATA == "homologs" else data))
        assert found[0] == found[1], cell
        assert torch.initial_seed() == 2


def test_training_stops_where_the_estimate_reaches_each_value(data: Pairs) -> None:
    rows = equal_information.run({"encoder": "linear", "estimator": "infonce"}, 0, CONFIG, data)
    assert [(row["until_nats"], row["reached"]) for row in rows] == [(0.05, 1.0), (99.0, 0.0)]
    assert 0.05 <= rows[0]["nats"] < 99 and 0 <= rows[0]["step"] <= 80 and rows[0]["accuracy"] > 0
    assert rows[1]["nats"] is None and rows[1]["accuracy"] is None
    quick = CONFIG.updated(until_nats=(0.01, 0.02))
    rows = equal_information.run({"encoder": "linear", "estimator": "infonce"}, 0, quick, data)
    assert [row["reached"] for row in rows] == [1.0, 1.0] and rows[1]["step"] < 80


def test_an_adversary_makes_the_probe_fail_and_loses_no_information(data: Pairs) -> None:
    config = CONFIG.updated(steps=200)
    rows = invertible.run({"encoder": "realnvp-adversarial"}, 0, config, data)
    assert [row["step"] for row in rows] == [0, 50, 100, 150, 200]
    assert rows[-1]["accuracy"] < rows[0]["accuracy"] - 0.1
    assert all(row["inverse_error"] < 1e-5 for row in rows)
    assert rows[0]["log10_condition"] == pytest.approx(0, abs=1e-3) and rows[-1]["log10_condition"] > 0.1
    assert all(row["nats"] is None for row in rows)


def test_encoders_without_an_inverse_have_no_inverse_error(data: Pairs) -> None:
    rows = invertible.run({"encoder": "residual"}, 0, CONFIG.updated(steps=10), data)
    assert [row["step"] for row in rows] == [0, 2, 5, 7, 10]  # five checks, the last one at the end, for any number of steps
    assert rows[0]["log10_condition"] == pytest.approx(0, abs=1e-3)
    assert all(row["inverse_error"] is None and row["nats"] <= row["ceiling_nats"] for row in rows)


def test_every_layer_is_measured_and_the_first_is_the_input(data: Pairs) -> None:
    rows = {name: boundary.run({"estimator": name}, 0, CONFIG, data) for name in ("untrained", "infonce")}
    for found in rows.values():
        assert [row["layer"] for row in found] == list(range(boundary.DEPTH + 2))
    assert rows["untrained"][0]["accuracy"] == rows["infonce"][0]["accuracy"]
    assert rows["untrained"][-1]["usable_nats"] != rows["infonce"][-1]["usable_nats"]


def test_correlations_are_of_ranks() -> None:
    columns = {"alignment": [0.1, 0.2, 0.9], "uniformity": [-1.0, -3.0, -2.9], "accuracy": [0.9, 0.8, 0.1]}
    table = pl.DataFrame({"run": ["a", "b", "c"], **columns})
    found = uniformity.correlations(table)
    assert found["alignment"][0] == pytest.approx(-1) and found["uniformity"][0] == pytest.approx(0.5)


def test_seeds_of_one_setting_do_not_narrow_the_interval_of_a_correlation() -> None:
    rng = np.random.default_rng(0)
    near, quality = rng.normal(size=(2, 20))
    quality += near
    once = pl.DataFrame({"run": [f"r{k}" for k in range(20)], "alignment": near, "uniformity": -near, "accuracy": quality})
    value, low, high = uniformity.correlations(once)["alignment"]
    assert low < value < high
    thrice = pl.concat([once] * 3)
    value3, low3, high3 = uniformity.correlations(thrice)["alignment"]
    assert value3 == pytest.approx(value, abs=0.01) and high3 - low3 == pytest.approx(high - low, rel=0.3)


def test_an_untrained_encoder_is_among_the_runs_and_in_no_correlation(data: Pairs) -> None:
    (cell,) = [c for c in uniformity.cells(CONFIG) if c["objective"] == "untrained"]
    (row,) = uniformity.run(cell, 0, CONFIG, data)
    trained = [uniformity.run(c, 0, CONFIG.updated(steps=5), data)[0] for c in uniformity.cells(CONFIG)[::12]]
    table = pl.DataFrame([row, *trained])
    assert row["uniformity"] < 0 < row["alignment"]
    assert uniformity.correlations_by_objective(table)["all"]["sum"][0] == pytest.approx(
        uniformity.correlations(pl.DataFrame(trained))["sum"][0], nan_ok=True
    )


def test_the_best_scale_maximises_infonce_and_undoes_any_other() -> None:
    generator = torch.Generator().manual_seed(0)
    level = Gaussians(4, 1.5)
    scores = level.log_ratio(*level.draw(200, generator))
    free = Batch.of_pairs(200).negatives()
    best = training.best_scale(scores)
    nats = training.infonce_of_all(best * scores)
    assert nats == pytest.approx(float(infonce.bound(best * scores, free)), abs=1e-5)
    assert 0.7 < best < 1.4
    assert all(float(infonce.bound(factor * best * scores, free)) < nats for factor in (0.5, 0.9, 1.1, 2.0))
    assert training.best_scale(50 * scores) == pytest.approx(best / 50, rel=1e-5)
    assert training.best_scale(-scores) == 0 and training.best_scale(torch.zeros(5, 5)) == 0


@pytest.mark.parametrize("objective", equal_information.OTHERS)
def test_scores_without_a_unit_are_read_after_the_best_scaling(objective: str, data: Pairs) -> None:
    choice = Choice.parse(objective)
    made = build_objective(choice.name, build_critic("bilinear", 32), choice.parameters)
    towers = training.Towers(build_encoder("linear", 0), build_encoder("linear", 1), made)
    for _ in training.train(towers, data, steps=20, batch=32, seed=0):
        pass
    nats = training.held_out_nats(towers, data)
    assert 0 < nats < math.log(len(data.held_out[0]))
    for parameter in towers.first.parameters():
        parameter.data *= 7
    assert training.held_out_nats(towers, data) == pytest.approx(nats, rel=1e-4)


def test_experiments_on_halves_need_families(tmp_path: Path) -> None:
    for families, options in ((None, {"experiments": ["critics"]}), ("-", {})):
        with pytest.raises(UsageError, match="families"):
            study(tmp_path / "out", families, **options)
    assert not (tmp_path / "out").exists()
