"""Estimates between tables: known information, no information, labels, groups, ceilings, and ids that do not match."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.config.mi_estimate import MiEstimateConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.mi import Gaussians, Information, Paired, estimate, read_pairs, run_estimate
from phylocli.mi.estimate import bracketed, cautions, label_entropy
from phylocli.mi.learn import Scaler, fit
from phylocli.mi.methods import Choice, build
from phylocli.mi.paired import divide

QUICK = MiEstimateConfig(critics=("separable:hidden=64",), steps=300, learning_rate=1e-3, replicates=40)


def gaussian_pairs(n: int, nats: float, dimension: int = 3, seed: int = 0) -> Paired:
    a, b = Gaussians(dimension, nats).draw(n, torch.Generator().manual_seed(seed))
    return Paired([f"p{i}" for i in range(n)], a.numpy(), b.numpy())


def with_settings(**changes: object) -> MiEstimateConfig:
    return QUICK.updated(**changes)


def test_gaussians_give_their_information_and_shuffled_partners_none() -> None:
    settings = with_settings(estimators=("infonce", "jsd", "barber-agakov"))
    found = list(estimate(gaussian_pairs(1000, 1.0), settings))
    assert [row.critic for row in found] == ["separable:hidden=64"] * 2 + ["gaussian"]
    for row in found:
        assert row.estimate_nats == pytest.approx(1.0, abs=0.25)
        assert row.low < row.estimate_nats < row.high and row.low < 1.0
        assert row.high - row.low < 0.8
        assert row.control_nats is not None and abs(row.control_nats) < 0.08
        assert not row.at_ceiling
        assert (row.n, row.n_train, row.groups) == (300, 550, None)
    assert found[0].ceiling_nats == pytest.approx(math.log(300))
    assert found[1].ceiling_nats is None


def test_lower_and_upper_bounds_bracket_the_information(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    estimators = ("infonce", "smile", "dv", "leave-one-out", "club")
    settings = with_settings(estimators=estimators, critics=("gaussian:hidden=16",), control=False, learning_rate=1e-2)
    with caplog.at_level("INFO"):
        found = run_estimate(gaussian_pairs(3000, 1.0, dimension=1), tmp_path / "rows.tsv", settings)
    assert [row.side for row in found] == ["lower", "neither", "neither", "upper", "upper"]
    low, high = bracketed(found) or (0.0, 0.0)
    assert low == found[0].estimate_nats and 0.8 < low < 1.0 < high + 0.06 and high < 1.3
    assert f"between about {low:.2f} and {high:.2f} nats" in caplog.text
    assert pl.read_csv(tmp_path / "rows.tsv", separator="\t")["side"].to_list()[-1] == "upper"
    assert bracketed(found[:3]) is None


def test_an_upper_bound_below_the_lower_one_is_reported(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The decoder, a Gaussian, cannot represent a sign; the information is that of a coin."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1500, 1)).astype(np.float32)
    b = (np.abs(a) * rng.choice([-1, 1], size=a.shape)).astype(np.float32)
    settings = with_settings(estimators=("infonce", "leave-one-out"), control=False, learning_rate=3e-3)
    found = run_estimate(Paired([f"p{k}" for k in range(1500)], a, b), tmp_path / "rows.tsv", settings)
    assert found[1].estimate_nats < found[0].estimate_nats
    assert "is below the lower one" in caplog.text
    assert "decoder is not accurate enough" in caplog.text and "lower bound is too high by chance" in caplog.text


def test_independent_vectors_share_nothing_within_the_interval() -> None:
    (row,) = estimate(gaussian_pairs(900, 0.0), with_settings(estimators=("infonce",), control=False))
    assert row.low - 0.03 <= 0 <= row.high + 0.03
    assert row.control_nats is None and row.control_low is None


def mixture(n: int, classes: int = 3, seed: int = 0) -> tuple[Paired, float]:
    """Return vectors of classes that are normal around their means, and the information by the mean of its density."""
    rng = np.random.default_rng(seed)
    means = 1.2 * rng.normal(size=(classes, 4))

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        codes = rng.integers(classes, size=count)
        return codes, means[codes] + rng.normal(size=(count, 4))

    codes, x = draw(200_000)
    log_density = -((x[:, None] - means[None]) ** 2).sum(2) / 2
    log_mean = np.logaddexp.reduce(log_density, axis=1) - math.log(classes)
    truth = float(np.mean(log_density[np.arange(len(x)), codes] - log_mean))
    codes, x = draw(n)
    return Paired(
        [f"p{i}" for i in range(n)], x.astype(np.float32), np.eye(classes, dtype=np.float32)[codes], ["a", "b", "c"]
    ), truth


def test_labels_give_the_information_of_the_mixture_below_their_entropy() -> None:
    data, truth = mixture(1000)
    decoded, contrasted = estimate(data, QUICK)
    assert (decoded.estimator, decoded.critic) == ("barber-agakov", "categorical")
    for row in (decoded, contrasted):
        assert row.estimate_nats == pytest.approx(truth, abs=0.15)
        assert row.low < truth < row.high + 0.05
        assert row.ceiling_nats == pytest.approx(math.log(3), abs=0.02)
        assert row.control_nats == pytest.approx(0, abs=0.06)
    linear = next(
        estimate(
            data,
            with_settings(
                estimators=("barber-agakov",), critics=("categorical:hidden=0",), control=False, learning_rate=1e-2
            ),
        )
    )
    assert linear.estimate_nats == pytest.approx(truth, abs=0.15)  # the Bayes rule of equal covariances is linear


def test_uninformative_vectors_have_no_information_about_unbalanced_labels() -> None:
    rng = np.random.default_rng(0)
    codes = rng.choice(5, size=600, p=[0.7, 0.2, 0.05, 0.03, 0.02])
    vectors = rng.normal(size=(600, 3)).astype(np.float32)
    data = Paired([f"p{i}" for i in range(600)], vectors, np.eye(5, dtype=np.float32)[codes], list("abcde"))
    (row,) = estimate(data, with_settings(estimators=("barber-agakov",), control=False))
    assert row.estimate_nats == pytest.approx(0, abs=0.04)


def test_information_about_fully_determined_labels_is_their_entropy(capsys: pytest.CaptureFixture[str]) -> None:
    codes = np.arange(400) % 4
    one_hot = np.eye(4, dtype=np.float32)[codes]
    data = Paired([f"p{i}" for i in range(400)], one_hot * 5, one_hot, list("abcd"))
    row = next(estimate(data, with_settings(estimators=("barber-agakov",), control=False)))
    assert label_entropy(data) == pytest.approx(math.log(4))
    assert row.estimate_nats == pytest.approx(math.log(4), abs=0.05)
    assert row.at_ceiling and "entropy of the labels" in capsys.readouterr().err


def test_infonce_of_a_table_with_itself_reaches_its_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    a = gaussian_pairs(400, 0.0, dimension=8).a
    data = Paired([f"p{i}" for i in range(400)], a, a.copy())
    (row,) = estimate(data, with_settings(estimators=("infonce",), control=False))
    assert row.at_ceiling and row.estimate_nats <= math.log(120)
    assert "infonce on separable:hidden=64 reaches its ceiling of 4.79 nats" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "at_ceiling", "said"),
    [
        ({}, False, ""),
        ({"estimate_nats": 4.5}, True, "McAllester & Stratos 2020"),
        ({"estimate_nats": 2.6, "ceiling_nats": 3.0}, True, "reaches its ceiling of 3.00 nats"),
        ({"estimate_nats": 2.2, "ceiling_nats": 3.0}, False, ""),
        ({"control_nats": 0.003, "control_low": 0.001}, False, ""),
        ({"control_nats": 0.4, "control_low": 0.1}, False, "shuffled partners, which share no information, give 0.40 nats"),
    ],
)
def test_estimates_at_their_limits_give_warnings(
    changes: dict[str, float], at_ceiling: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = gaussian_pairs(100, 0.0)
    row = Information("dv", "separable", 2.0, 1.8, 2.2, None, 0.0, -0.1, 0.1, 100, None, 200, False)
    row = dataclasses.replace(row, **changes)
    assert bool(cautions(row, data)) is at_ceiling
    heard = capsys.readouterr().err
    assert said in heard and bool(heard) is bool(said)


def test_groups_are_never_divided_and_are_resampled_whole() -> None:
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(30, size=300))
    data = gaussian_pairs(300, 1.0)
    data.groups = groups
    parts = divide(data, (0.1, 0.3), np.random.default_rng(1))
    seen = [set(part.groups.tolist()) for part in parts]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert sorted(i for part in parts for i in part.ids) == sorted(data.ids)
    assert len(parts[2]) == pytest.approx(90, abs=25)
    # A group's members are copies of one pair, so that items drawn one by one would seem far too certain.
    few = gaussian_pairs(30, 2.0, seed=3)
    data.a, data.b = few.a[groups % 30], few.b[groups % 30]
    settings = with_settings(estimators=("infonce",), control=False, steps=100)
    grouped = next(estimate(data, settings))
    assert grouped.groups == len(
        set(divide(data, (settings.stop, settings.held_out), np.random.default_rng(0))[2].groups.tolist())
    )
    data.groups = None
    assert next(estimate(data, settings)).groups is None


def test_parts_have_the_requested_fractions_and_depend_on_the_seed() -> None:
    data = gaussian_pairs(1000, 1.0)
    sizes = [len(part) for part in divide(data, (0.1, 0.3), np.random.default_rng(0))]
    assert sizes == [600, 100, 300]
    first, again, other = (divide(data, (0.1, 0.3), np.random.default_rng(s))[2].ids for s in (0, 0, 1))
    assert first == again != other


def test_training_keeps_the_weights_that_did_best_on_pairs_it_did_not_learn_from() -> None:
    data = gaussian_pairs(60, 0.0, dimension=20)  # nothing to learn: whatever is learned is noise
    train, stop, _ = divide(data, (0.3, 0.2), np.random.default_rng(0))
    method = build(Choice.parse("dv"), Choice.parse("separable"), 20, 20, 0)
    scaled = Scaler(train)
    step = fit(method, scaled(train), scaled(stop), batch_size=30, steps=1000, learning_rate=2e-3, seed=0)
    assert step < 200
    assert abs(float(scaled(train)[0].mean())) < 1e-5 and float(scaled(train)[1].std()) == pytest.approx(1, abs=0.05)


def test_same_seed_same_estimate() -> None:
    data = gaussian_pairs(200, 1.0)
    settings = with_settings(estimators=("infonce",), steps=60, replicates=10)
    first, again = next(estimate(data, settings)), next(estimate(data, settings))
    assert isinstance(first, Information) and first == again


def write(path: Path, ids: list[str], vectors: np.ndarray) -> Path:
    pl.DataFrame({"id": ids, "embedding": vectors.tolist()}).write_parquet(path)
    return path


def test_tables_are_joined_by_id_whatever_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 3)).astype(np.float32)
    ids = [f"s{i}" for i in range(80)]
    order = rng.permutation(70)
    a = write(tmp_path / "a.parquet", ids, vectors)
    b = write(tmp_path / "b.parquet", [ids[i] for i in order] + ["other"], np.vstack([2 * vectors[order], vectors[:1]]))
    labels = tmp_path / "labels.tsv"
    labels.write_text("id\tfamily\n" + "".join(f"s{i}\t{'xyz'[i % 3]}\n" for i in range(60)))
    data = read_pairs(a, b)
    assert len(data) == 70 and np.allclose(data.b, 2 * data.a)
    said = capsys.readouterr().err
    assert "10 ids of" in said and "1 ids of" in said and "'other'" in said
    grouped = read_pairs(a, b, labels=labels, group_by="family")
    assert len(grouped) == 60 and grouped.groups is not None
    assert [grouped.groups[grouped.ids.index(f"s{i}")] for i in range(3)] == [0, 1, 2]
    labelled = read_pairs(a, labels=labels, column="family")
    assert labelled.classes == ["x", "y", "z"] and labelled.b.sum(0).tolist() == [20, 20, 20]


def test_tables_that_cannot_be_paired_are_explained(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 2))
    a = write(tmp_path / "a.parquet", [f"s{i}" for i in range(60)], vectors)
    b = write(tmp_path / "b.parquet", [f"t{i}" for i in range(60)], vectors)
    few = write(tmp_path / "few.parquet", [f"s{i}" for i in range(20)], vectors[:20])
    labels = tmp_path / "labels.tsv"
    labels.write_text("id\tfamily\n" + "".join(f"s{i}\tsame\n" for i in range(60)))
    with pytest.raises(BadInputError, match=r"no id in common(.|\n)*'s0'(.|\n)*'t0'"):
        read_pairs(a, b)
    with pytest.raises(BadInputError, match="20 pairs are too few"):
        read_pairs(a, few)
    with pytest.raises(UsageError, match="cannot be used as labels"):
        read_pairs(a, labels=labels, column="family")
    with pytest.raises(UsageError, match=r"no column of .* is named") as error:
        read_pairs(a, labels=labels)
    assert "--column: " in (error.value.fix or "")
    with pytest.raises(BadInputError, match="lacks the column"):
        read_pairs(a, labels=labels, column="clan")
    with pytest.raises(UsageError, match="second table"):
        read_pairs(a)
    with pytest.raises(UsageError, match="--labels"):
        read_pairs(a, b, group_by="family")
    with pytest.raises(UsageError, match="does not group any items"):
        read_pairs(a, a, labels=labels, group_by="family")
    labels.write_text("id\tfamily\n" + "".join(f"s{i}\tone of {i % 2}\n" for i in range(60)))
    same = read_pairs(a, a, labels=labels, group_by="family")
    with pytest.raises(BadInputError, match="three groups"):
        list(estimate(same, QUICK))


def test_invalid_settings_are_usage_errors() -> None:
    data = gaussian_pairs(60, 1.0)
    wide = Paired(data.ids, data.a, np.hstack([data.b, data.b]))
    for pairs, changes in (
        (data, {"estimators": ("siglip",)}),
        (data, {"critics": ("optimal",)}),
        (data, {"held_out": 0.95}),
        (data, {"batch_size": 1}),
        (wide, {"critics": ("cosine",)}),
    ):
        with pytest.raises(UsageError):
            list(estimate(pairs, with_settings(**changes)))
