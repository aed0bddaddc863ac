"""`phylocli infomax`: runs, resumption, tables and figures of every experiment at the size of a demonstration."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.core.errors import UsageError
from phylocli.infomax import study, training
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
    assert len(runs) == 32 * 2
    times = {path: path.stat().st_mtime_ns for path in runs}
    runs[3].unlink()
    for path in before:
        path.unlink()
    study(tmp_path, **options)
    assert {path: path.read_bytes() for path in before} == before
    assert [path for path in runs if path.stat().st_mtime_ns != times[path]] == [runs[3]]
    study(tmp_path, **{**options, "sites": 4, "experiments": ["channel"]})  # other runs, beside these
    assert len(list((tmp_path / "runs" / "channel").iterdir())) == 2 * len(runs)


def test_the_page_and_the_provenance_are_of_all_experiments_in_the_folder(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study(tmp_path, **SMALL, experiments=["channel"])
    study(tmp_path, **{**SMALL, "seeds": [3, 4]}, experiments=["ceilings"])
    page = (tmp_path / "infomax.html").read_text()
    assert page.count("<svg") == 2 and channel.TITLE in page and ceilings.TITLE in page
    facts = json.loads((tmp_path / "provenance.json").read_text())
    assert {name: part["parameters"]["seeds"] for name, part in facts["experiments"].items()} == {
        "channel": [0, 1],
        "ceilings": [3, 4],
    }


def test_the_number_of_values_behind_each_mean_is_written_and_dropped_ones_are_warned_about(
    quick: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(cell: dict[str, object], seed: int, config: InfomaxConfig, data: object) -> list[dict[str, object]]:
        return [{**cell, "true_nats": 1.0, "nats": [2.0, math.nan, math.inf][seed], "sd": [1.0, None, 3.0][seed]}]

    monkeypatch.setattr(ceilings, "run", run)
    monkeypatch.setattr(ceilings, "ESTIMATORS", ("infonce",))
    monkeypatch.setattr(ceilings, "NAMES", ("InfoNCE",))
    table = study(tmp_path, seeds=[0, 1, 2], experiments=["ceilings"])["ceilings"]
    row = table.row(0, named=True)
    assert (row["seeds"], row["nats_n"], row["sd_n"]) == (3, 1, 2)
    assert (row["nats"], row["sd"]) == (2.0, 2.0)
    warned = [record.getMessage() for record in caplog.records if "NaN or infinite" in record.getMessage()]
    assert warned == ["ceilings: nats is NaN or infinite in 2 rows, which no mean includes"]
    assert "n = 2" in (tmp_path / "infomax.html").read_text()


def test_families_that_no_experiment_uses_are_usage_errors(tmp_path: Path) -> None:
    for families, evaluate, experiments in (
        (None, "others.sto", ()),
        (None, "others.sto", ("channel",)),
        ("families.sto", None, ("channel", "ceilings")),
    ):
        with pytest.raises(UsageError, match="families"):
            study(tmp_path / "out", families, evaluate=evaluate, experiments=experiments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("option", "least"), [("members", 3), ("training_families", 2), ("scored_families", 2)])
def test_sizes_too_small_for_the_probe_are_usage_errors_that_name_the_option(
    tmp_path: Path, option: str, least: int
) -> None:
    with pytest.raises(UsageError, match=rf"(?s){option}.*at least {least}"):
        study(tmp_path / "out", **{option: least - 1})
    assert not (tmp_path / "out").exists()
    assert getattr(InfomaxConfig(**{option: least}), option) == least


@pytest.mark.parametrize("module", [ceilings, training])
def test_runs_of_another_version_are_repeated(
    quick: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    monkeypatch.setattr(ceilings, "ESTIMATORS", ("infonce",))
    monkeypatch.setattr(ceilings, "NAMES", ("InfoNCE",))
    for version, files in ((7, 1), (7, 1), (8, 2)):
        monkeypatch.setattr(module, "VERSION", version)
        study(tmp_path, seeds=[0], experiments=["ceilings"])
        assert len(list((tmp_path / "runs" / "ceilings").iterdir())) == files


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
