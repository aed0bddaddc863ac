"""Ceilings, bias and variance of estimators with the true density ratio of Gaussians, beside theory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.plots import COLOURS, GREY, curve, label, legend, panels
from phylocli.infomax.truth import true_ratio_estimate
from phylocli.mi import Gaussians

TITLE = "Ceilings, bias and variance"
ABOUT = (
    "Estimators with the true density ratio of correlated Gaussians, so that only their own errors remain. Dashed: log N, "
    "the ceiling of InfoNCE; dotted: 2 ln N + 5, the limit of any reliable lower bound (McAllester & Stratos 2020)."
)
BY = ("estimator", "pairs", "true_nats")
VALUES = {"nats": (-math.inf, math.inf), "sd": (0.0, math.inf)}
DATA = "none"
OPTIONS = ()
VERSION = 1
ESTIMATORS = ("infonce", "nwj", "dv", "smile", "leave-one-out")
NAMES = ("InfoNCE", "NWJ", "Donsker–Varadhan", "SMILE", "leave-one-out (upper)")
PAIRS = (16, 64, 256)
LEVELS = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 18.0)
EVALUATIONS = 40
DIMENSION = 20


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return every estimator and number of pairs."""
    return [{"estimator": estimator, "pairs": pairs} for estimator in ESTIMATORS for pairs in PAIRS]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Any) -> list[Row]:
    """Evaluate an estimator at all levels of information."""
    rows: list[Row] = []
    for nats in LEVELS:
        level = Gaussians(DIMENSION, nats)
        generator = torch.Generator().manual_seed(1000 * seed + round(10 * nats))
        estimator, pairs = str(cell["estimator"]), int(cell["pairs"])
        values = [true_ratio_estimate(estimator, level.log_ratio(*level.draw(pairs, generator))) for _ in range(EVALUATIONS)]
        rows.append({**cell, "true_nats": nats, "nats": float(np.mean(values)), "sd": float(np.std(values, ddof=1))})
    return rows


def nwj_sd(nats: float, negatives: int) -> float:
    """Return the least standard deviation of NWJ's second term, √((exp(I) − 1) / M) (Song & Ermon 2020, theorem 2)."""
    return math.sqrt(math.expm1(nats) / negatives)


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw estimates against the truth for each number of pairs, and the standard deviation of NWJ beside its bound."""
    figure, found = panels(2, 2)
    highest = max(LEVELS)
    for panel, pairs in zip(found, PAIRS, strict=False):
        panel.plot([0, highest], [0, highest], color="black", linewidth=0.9)
        panel.axhline(math.log(pairs), color=GREY, linewidth=0.9, linestyle="--")
        panel.axhline(2 * math.log(pairs) + 5, color=GREY, linewidth=0.9, linestyle=":")
        for colour, estimator, name in zip(COLOURS, ESTIMATORS, NAMES, strict=False):
            part = summary.filter((pl.col("estimator") == estimator) & (pl.col("pairs") == pairs))
            curve(panel, part, "true_nats", "nats", colour, name)
        panel.set_ylim(-1, 1.25 * highest)
        label(panel, "true information, nats", "estimate, nats", f"{pairs} pairs")
    legend(found[0])
    grid = np.linspace(0.2, highest, 200)
    for colour, pairs in zip(COLOURS, PAIRS, strict=False):
        part = summary.filter((pl.col("estimator") == "nwj") & (pl.col("pairs") == pairs))
        curve(found[3], part, "true_nats", "sd", colour, f"NWJ, {pairs} pairs", linestyle="")
        found[3].plot(grid, [nwj_sd(nats, pairs * (pairs - 1)) for nats in grid], color=colour, linewidth=1)
    found[3].set(yscale="log", ylim=(0.02, 3e3))
    label(found[3], "true information, nats", "standard deviation, nats", "lines: √((exp(I) − 1)/M), from below")
    legend(found[3], loc="upper left")
    return figure
