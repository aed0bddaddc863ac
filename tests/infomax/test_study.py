"""`phylocli infomax`: runs, resumption, tables and figures of every experiment at the size of a demonstration."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.core.errors import UsageError
from phylocli.infomax import study
from phylocli.infomax.experiments import ceilings, channel
from phylocli.tree.information import log_ratio, site_information
from phylocli.tree.models import substitution_model

SMALL = {"seeds": [0, 1], "critic_steps": 8, "distances": [0.3, 2.0], "sites": 3}


@pytest.fixture(scope="module")
def quick() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceilings, "EVALUATIONS", 5)
        patch.setattr(ceilings, "PAIRS", (16,))
        patch.setattr(channel, "EVALUATIONS", 3)
        patch.setattr(channel, "EVALUATED", 64)
        yield patch


def test_an_interrupted_study_is_resumed_and_gives_the_same_tables(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {**SMALL, "experiments": ["channel", "ceilings"]}
    found = study(tmp_path, **options)
    assert set(found) == {"channel", "ceilings"}
    page = (tmp_path / "infomax.html").read_text()
    assert page.count("<svg") == 2 and "Information that evolution leaves" in page
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.suffix in (".tsv", ".parquet", ".svg")}
    assert len(before) == 10
    runs = sorted((tmp_path / "runs" / "channel").iterdir())
    assert len(runs) == 20 * 2
    times = {path: path.stat().st_mtime_ns for path in runs}
    runs[3].unlink()
    for path in before:
        path.unlink()
    study(tmp_path, **options)
    assert {path: path.read_bytes() for path in before} == before
    assert [path for path in runs if path.stat().st_mtime_ns != times[path]] == [runs[3]]
    study(tmp_path, **{**options, "sites": 4, "experiments": ["channel"]})  # other runs, beside these
    assert len(list((tmp_path / "runs" / "channel").iterdir())) == 2 * len(runs)


def test_intervals_are_over_seeds(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = study(tmp_path, **SMALL, experiments=["ceilings"])["ceilings"]
    runs = pl.read_parquet(tmp_path / "ceilings-runs.parquet")
    row = table.row(3, named=True)
    same = [pl.col(name) == row[name] for name in ceilings.BY]
    values = runs.filter(*same)["nats"]
    assert row["seeds"] == len(values) == 2
    assert row["nats"] == pytest.approx(values.mean()) and row["nats_low"] < row["nats"] < row["nats_high"]


def test_the_true_likelihood_ratio_brackets_the_exact_information(tmp_path: Path) -> None:
    config = InfomaxConfig(sites=2, alpha=1.0)
    for distance in (0.8, 2.0):
        values = {}
        for estimator in ("infonce", "nwj", "leave-one-out"):
            cell = {"critic": "true", "estimator": estimator, "distance": distance}
            (row,) = channel.run(cell, 0, config, None)
            values[estimator] = row["nats"]
            assert row["true_nats"] == pytest.approx(2 * float(site_information(substitution_model("lg"), distance, 1.0)))
        assert values["infonce"] < row["true_nats"] + 0.1 and values["leave-one-out"] > row["true_nats"] - 0.1
        assert values["nwj"] == pytest.approx(row["true_nats"], abs=0.5)


def test_learned_substitution_scores_approach_the_true_log_ratio() -> None:
    config = InfomaxConfig(sites=5)
    torch.manual_seed(0)
    objective = channel.build_objective("infonce", channel.SubstitutionScores(5))
    channel._train(objective, 0.5, config, np.random.default_rng(0))
    learned = objective.critic.matrix.detach().double().numpy()
    true = log_ratio(substitution_model("lg"), 0.5, 1.0)
    weight = substitution_model("lg").frequencies

    def centred(x: np.ndarray) -> np.ndarray:  # InfoNCE leaves a function of each side free
        return (x - (x @ weight)[:, None] - (weight @ x)[None] + weight @ x @ weight) * np.sqrt(np.outer(weight, weight))

    assert np.corrcoef(centred(learned).ravel(), centred(true).ravel())[0, 1] > 0.9


def test_batches_saturate_beyond_the_distance_of_their_ceiling() -> None:
    for pairs, distance in channel.ceilings(100, (64, 1024), 1.0):
        nats = 100 * float(site_information(substitution_model("lg"), distance, 1.0))
        assert nats == pytest.approx(math.log(pairs), rel=1e-4)


def test_theory_of_ceilings_is_kept_by_the_estimates(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = study(tmp_path, **SMALL, experiments=["ceilings"])["ceilings"]
    infonce = table.filter(pl.col("estimator") == "infonce")
    assert (infonce["nats"] <= math.log(16) + 1e-6).all()
    high = table.filter((pl.col("estimator") == "leave-one-out") & (pl.col("true_nats") >= 4))
    assert (high["nats"] > high["true_nats"]).all()
    assert ceilings.nwj_sd(math.log(2), 1) == pytest.approx(1.0)


def test_wrong_options_are_usage_errors(tmp_path: Path) -> None:
    for options in ({"experiments": ["alchemy"]}, {"distances": [0.0]}, {"alpha": 0.0}, {"batch": 1}, {"seeds": []}):
        with pytest.raises(UsageError):
            study(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert json.loads(InfomaxConfig(alpha=math.inf).model_dump_json())
