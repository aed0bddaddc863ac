"""Benchmark of estimators: known information, theoretical properties of the estimators, and the figure."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from phylocli.core.errors import UsageError
from phylocli.mi import Gaussians, Plan, Row, plan_of, run_benchmark
from phylocli.mi.figure import draw
from phylocli.mi.staircase import PRESETS, run, total_batches
from phylocli.mi.summary import summarise, table


def optimal(
    estimators: tuple[str, ...], levels: tuple[float, ...], batch_size: int, evaluations: int, **more: object
) -> Plan:
    """Return a plan that evaluates estimators at the true log density ratio, without any training."""
    plan = Plan(estimators, ("optimal",), ("none",), levels, batch_size=batch_size, evaluations=evaluations)
    return replace(plan, **more)


def by_method(plan: Plan) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in run(plan):
        found.setdefault(row.estimator, []).append(row)
    return found


@pytest.mark.parametrize("transform", ["none", "cubic"])
def test_the_log_ratio_is_that_of_the_densities(transform: str) -> None:
    from scipy.stats import multivariate_normal, norm

    pairs = Gaussians(3, 2.0, transform)
    x, y = pairs.draw(5, torch.Generator().manual_seed(0))
    assert pairs.nats == pytest.approx(-1.5 * math.log(1 - pairs.correlation**2))
    joint = multivariate_normal(cov=[[1, pairs.correlation], [pairs.correlation, 1]])
    plain = np.cbrt(y.double().numpy()) if transform == "cubic" else y.double().numpy()
    found = pairs.log_ratio(x, y)
    for i in range(5):
        for j in range(5):
            u, v = x[i].double().numpy(), plain[j]
            expected = sum(joint.logpdf([a, b]) - norm.logpdf(a) - norm.logpdf(b) for a, b in zip(u, v, strict=True))
            # The Jacobian of a one-to-one transform cancels in the ratio.
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("transform", ["none", "cubic"])
def test_the_entropy_is_that_of_the_density(transform: str) -> None:
    from scipy.integrate import quad
    from scipy.stats import norm

    def term(y: float) -> float:  # -p log p of the transformed variable, at y³ or y, in the variable y
        log_density = norm.logpdf(y) - (math.log(3 * y * y) if transform == "cubic" else 0)
        return -norm.pdf(y) * log_density

    expected = 2 * quad(term, 0, 12, limit=500)[0]
    assert Gaussians(4, 1.0, transform).entropy == pytest.approx(4 * expected, rel=1e-6)


def test_pairs_have_the_correlation_and_independent_ones_none() -> None:
    generator = torch.Generator().manual_seed(1)
    for nats in (0.0, 2.0):
        pairs = Gaussians(2, nats)
        x, y = pairs.draw(50_000, generator)
        assert float((x * y).mean()) == pytest.approx(pairs.correlation, abs=0.01)
        assert float((y * y).mean()) == pytest.approx(1, abs=0.02)


def test_infonce_saturates_at_log_n() -> None:
    low, middle, high = by_method(optimal(("infonce",), (1.0, 4.0, 10.0), 16, 300))["infonce"]
    assert low.estimate_nats == pytest.approx(1.0, abs=0.25)
    assert middle.estimate_nats < math.log(16)
    assert math.log(16) - 0.15 < high.estimate_nats <= math.log(16)
    assert high.sd < low.sd  # certain of too little


def test_the_variance_of_nwj_grows_exponentially_with_the_information() -> None:
    levels = (1.0, 2.0, 3.0, 4.0)
    found = by_method(optimal(("nwj", "infonce", "smile:clip=1"), levels, 8, 1500))
    variance = np.array([row.sd**2 for row in found["nwj"]])
    slope = np.polyfit(levels, np.log(variance), 1)[0]
    assert slope > 0.8  # of log variance by nat: at least about exp(I)
    for row, value in zip(found["nwj"], variance, strict=True):
        # Song & Ermon 2020, theorem 1: the variance of the average of n ratios is (exp(I) - 1) / n at least; 56 negatives.
        assert value >= math.expm1(row.true_nats) / 56
        assert row.estimate_nats == pytest.approx(row.true_nats, abs=5 * row.sd / math.sqrt(1500))  # unbiased
    assert found["infonce"][-1].sd ** 2 < 0.1
    assert found["smile:clip=1"][-1].sd ** 2 < variance[-1] / 3


def test_donsker_varadhan_is_too_high_and_more_so_in_small_batches() -> None:
    bias = {}
    for size in (8, 64):
        row = by_method(optimal(("dv",), (4.0,), size, 600))["dv"][0]
        bias[size] = row.estimate_nats - 4.0
        assert bias[size] > 0 or size == 64
    assert bias[8] > 0.4 > 0.2 > bias[64] > -0.1


def test_smile_trades_variance_for_bias() -> None:
    found = by_method(optimal(("dv", "smile:clip=1", "smile:clip=20"), (4.0,), 16, 600))
    wide, plain, narrow = (found[name][0] for name in ("smile:clip=20", "dv", "smile:clip=1"))
    assert wide.estimate_nats == pytest.approx(plain.estimate_nats)
    assert narrow.sd < plain.sd
    assert narrow.estimate_nats > 4.4


def test_the_interpolated_bound_lies_between_nwj_and_infonce() -> None:
    names = ("nwj", "interpolated:alpha=0.1", "infonce")
    found = by_method(optimal(names, (4.0,), 8, 800))
    nwj, between, infonce = (found[name][0] for name in names)
    assert nwj.sd > between.sd > infonce.sd
    assert abs(nwj.estimate_nats - 4) < 4 - between.estimate_nats < 4 - infonce.estimate_nats


@pytest.mark.parametrize("transform", ["none", "cubic"])
def test_every_way_to_read_the_true_ratio_agrees(transform: str) -> None:
    divergences = ("kl", "reverse-kl", "pearson", "neyman", "hellinger", "jeffrey", "jensen-shannon")
    names = ("nwj", "jsd", "nce", "mine-f", *(f"fgan:divergence={name}" for name in divergences))
    found = by_method(optimal(names, (2.0,), 32, 20, transforms=(transform,)))
    reference = found["nwj"][0].estimate_nats
    for rows in found.values():
        assert rows[0].estimate_nats == pytest.approx(reference, rel=1e-6)


SMALL = Plan(
    ("infonce", "jsd", "barber-agakov"),
    ("separable:hidden=32", "concatenated:hidden=16"),
    ("none",),
    (0.5, 1.5),
    dimension=2,
    batch_size=48,
    steps=150,
    evaluations=60,
    learning_rate=3e-3,
)


def test_trained_critics_come_near_the_truth_and_barber_agakov_finds_it() -> None:
    rows = list(run(SMALL))
    assert [(r.estimator, r.critic) for r in rows[::2]] == [
        ("infonce", "separable:hidden=32"),
        ("infonce", "concatenated:hidden=16"),
        ("jsd", "separable:hidden=32"),
        ("jsd", "concatenated:hidden=16"),
        ("barber-agakov", "gaussian"),
    ]
    for row in rows:
        error = 3 * row.sd / math.sqrt(60)
        if row.estimator != "jsd":
            assert row.estimate_nats < row.true_nats + error  # they are lower bounds
        assert row.estimate_nats > 0.55 * row.true_nats
        assert len(row.trace) == SMALL.steps
        if row.estimator == "infonce":
            assert row.trace[-20:].mean() == pytest.approx(row.estimate_nats, abs=0.3)
    assert rows[-1].estimate_nats == pytest.approx(1.5, abs=0.15)


def test_same_seed_same_rows_and_repeats_are_pooled() -> None:
    plan = replace(SMALL, estimators=("infonce",), critics=("separable:hidden=8",), steps=10, evaluations=5)
    first, again, other = (list(run(p)) for p in (plan, plan, replace(plan, seed=1)))
    assert [r.estimate_nats for r in first] == [r.estimate_nats for r in again]
    assert [r.estimate_nats for r in first] != [r.estimate_nats for r in other]
    assert np.array_equal(first[0].trace, again[0].trace)
    advanced: list[int] = []
    both = list(run(replace(plan, repeats=2), advanced.append))
    assert sum(advanced) == total_batches(replace(plan, repeats=2)) == 2 * 2 * 15
    assert both[0].estimate_nats != first[0].estimate_nats


def test_the_summary_is_bias_variance_and_their_sum() -> None:
    rows = [Row("nwj", "optimal", 64, 20, 2.0, 1.5, 0.3, "none"), Row("nwj", "optimal", 64, 20, 4.0, 4.0, 1e4, "none")]
    frame = summarise(rows)
    assert frame["bias"].to_list() == [-0.5, 0.0]
    assert frame["mean_squared_error"].to_list() == pytest.approx([0.25 + 0.09, 1e8])
    assert table(rows)[2] == "| none | nwj | optimal | -0.50, 0.09, 0.34 | +0.00, 1e+08, 1e+08 |"


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf", ".html"])
def test_the_same_rows_give_the_same_picture(suffix: str, tmp_path: Path) -> None:
    trace = np.linspace(0, 2, 40)
    rows = [
        Row("nwj", "separable", 64, 20, level, level - 0.5, 0.2, transform, trace if level == 2 else np.full(40, -np.inf))
        for transform in ("none", "cubic")
        for level in (2.0, 4.0)
    ]
    rows += [Row("nwj", "<optimal>", 64, 20, 2.0, 2.0, 0.2, "none"), Row("dv", "<optimal>", 64, 20, 2.0, -9.0, 0.2, "cubic")]
    for name in ("one", "two"):
        draw(rows, tmp_path / f"{name}{suffix}")
    written = (tmp_path / f"one{suffix}").read_bytes()
    assert written == (tmp_path / f"two{suffix}").read_bytes()
    if suffix in (".svg", ".html"):
        assert b"&lt;optimal&gt;" in written and b"<optimal>" not in written
    if suffix == ".html":
        assert b"<svg" in written and b"mean squared error" in written and b"-0.50" in written


def test_presets_have_the_documented_values_and_wrong_names_are_usage_errors(tmp_path: Path) -> None:
    assert PRESETS["full"].steps == 4000 and PRESETS["full"].levels == (2.0, 4.0, 6.0, 8.0, 10.0)
    assert total_batches(PRESETS["quick"]) < total_batches(PRESETS["full"]) / 20
    assert plan_of(steps=3).steps == 3
    for changes in (
        {"estimators": ("siglip",)},
        {"estimators": ("infonse",)},
        {"critics": ("seperable",)},
        {"transforms": ("square",)},
        {"batch_size": 1},
        {"estimators": ("fgan:divergence=total-variation",), "critics": ("optimal",)},
        {"estimators": ("fgan:divergence=total-variation",)},
    ):
        with pytest.raises(UsageError):
            list(run(replace(SMALL, **changes)))
    with pytest.raises(UsageError, match="preset"):
        plan_of(preset="slow")
    with pytest.raises(UsageError, match="a picture cannot be written"):
        run_benchmark(SMALL, tmp_path / "rows.tsv", figures=["figure.gif"])
    assert not list(tmp_path.iterdir())
