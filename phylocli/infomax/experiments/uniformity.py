"""Alignment and uniformity of many short runs, and their quality (after Wang & Isola 2020)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.infomax.encoders import OUTPUT, build_encoder
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.inputs import Pairs
from phylocli.infomax.plots import label, legend, panels
from phylocli.infomax.training import QUALITIES, Towers, quality, train
from phylocli.objectives import Batch, build_objective
from phylocli.objectives.align_uniform import alignment, uniformity
from phylocli.objectives.base.mining import MININGS
from phylocli.statistics.bootstrap import Estimate, interval, replicate

TITLE = "Alignment and uniformity"
ABOUT = (
    "Each point is one run, trained directly on alignment plus a weight times uniformity (circles), by InfoNCE on cosines "
    "with some temperature (triangles), by triplets (inverted triangles) or margins (diamonds) of cosines, or not at all "
    "(squares). Colour: accuracy of a linear probe on members of unseen "
    "families. Correlations are of ranks, with 95 % intervals by the bootstrap over settings."
)
BY = ("run",)
VALUES = {"alignment": (0.0, 4.0), "uniformity": (-8.0, 0.0), **QUALITIES}
DATA = "pairs"
OPTIONS = ("steps", "batch")
VERSION = 1
WEIGHTS = tuple(float(f"{w:.3g}") for w in np.geomspace(0.03, 10, 31))
SCALES = (0.5, 2.0)
TEMPERATURES = tuple(float(f"{t:.3g}") for t in np.geomspace(0.03, 2, 11))
MARGINS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Of triplets and margins, in cosine."""
TEMPERED = {"triplet": 0.5, "margin": 0.25}
"""Temperature of the cosine, by which scores are differences of squared distances, or as in the recipe."""
MARKERS = {"align-uniform": "o", "infonce": "^", "triplet": "v", "margin": "D", "untrained": "s"}
PARAMETERS = ("weight", "scale", "margin", "mining")
"""Of the objectives."""
REPLICATES = 500


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return runs of each kind, and one without training."""
    direct: list[Cell] = [
        {"run": f"align-uniform {w:g}, t = {t:g}", "objective": "align-uniform", "weight": w, "scale": t}
        for w in WEIGHTS
        for t in SCALES
    ]
    contrast: list[Cell] = [{"run": f"infonce {t:g}", "objective": "infonce", "temperature": t} for t in TEMPERATURES]
    metric: list[Cell] = [
        {"run": f"{name} {m:g}, {mining}", "objective": name, "margin": m / t, "mining": mining, "temperature": t}
        for name, t in TEMPERED.items()
        for m in MARGINS
        for mining in MININGS
    ]
    return [*direct, *contrast, *metric, {"run": "untrained", "objective": "untrained"}]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Pairs) -> list[Row]:
    """Train, and measure alignment and uniformity (t = 2) of held-out pairs."""
    first, second = (build_encoder("perceptron", 2 * seed + k) for k in range(2))
    skipped = 0
    if cell["objective"] != "untrained":
        parameters = {name: value for name, value in cell.items() if name in PARAMETERS}
        critic = build_critic("cosine", OUTPUT, {"temperature": float(cell.get("temperature", 0.1))})
        towers = Towers(first, second, build_objective(str(cell["objective"]), critic, parameters))
        for _ in train(towers, data, steps=config.steps, batch=config.batch, seed=seed):
            pass
        skipped = towers.skipped
    a, b = data.held_out
    with torch.no_grad():
        x, y = first(a), second(b)
        free = Batch.of_pairs(len(data.held_out[0])).negatives()
        spread = (uniformity(x, free) + uniformity(y, free)) / 2
        near = alignment(x, y)
    return [
        {
            "run": cell["run"],
            "objective": cell["objective"],
            "alignment": float(near),
            "uniformity": float(spread),
            **quality(first, data),
            "skipped": skipped,
        }
    ]


def correlations(table: pl.DataFrame) -> dict[str, tuple[float, float, float]]:
    """Return the rank correlation with accuracy of alignment, of uniformity and of their sum, with 95 % intervals.

    Args:
        table: one row per run. Settings (`run`) are resampled with all their seeds, which are no independent points.
    """
    from scipy.stats import spearmanr

    accuracy = table["accuracy"].to_numpy()
    settings = np.unique(table["run"].to_numpy(), return_inverse=True)[1]
    near, even = table["alignment"].to_numpy(), table["uniformity"].to_numpy()
    found = {}
    for name, values in {"alignment": near, "uniformity": even, "sum": near + even}.items():

        def statistic(rows: npt.NDArray[np.int64], values: npt.NDArray[np.float64] = values) -> float:
            if min(np.ptp(values[rows]), np.ptp(accuracy[rows])) == 0:
                return math.nan
            return float(spearmanr(values[rows], accuracy[rows]).statistic)

        estimate = Estimate(name, statistic(np.arange(len(values))), len(values), statistic=statistic)
        found[name] = (estimate.value, *interval(estimate, replicate(estimate, REPLICATES, 0, settings)))
    return found


def correlations_by_objective(table: pl.DataFrame) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Return the correlations over all trained runs, and over those of each objective."""
    trained = table.filter(pl.col("objective") != "untrained")
    parts = {str(key[0]): part for key, part in trained.group_by("objective", maintain_order=True)}
    return {name: correlations(part) for name, part in {"all": trained, **parts}.items()}


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw the runs in the plane of alignment and uniformity, and accuracy by either."""
    figure, found = panels(3, width=3.8)
    low, high = (float(v) for v in np.quantile(table["accuracy"].to_numpy(), [0, 1]))
    shown = None
    for objective, marker in MARKERS.items():
        part = table.filter(pl.col("objective") == objective)
        shown = found[0].scatter(
            part["alignment"], part["uniformity"], c=part["accuracy"], vmin=low, vmax=high, marker=marker, s=22,
            cmap="viridis", linewidths=0, label=objective,
        )  # fmt: skip
        for panel, measure in zip(found[1:], ("alignment", "uniformity"), strict=True):
            panel.scatter(part[measure], part["accuracy"], marker=marker, s=18, label=objective)
    figure.colorbar(shown, ax=found[0], label="accuracy of a linear probe")
    label(found[0], "alignment (lower: partners nearer)", "uniformity (lower: more even)")
    by_objective = correlations_by_objective(table)
    for panel, measure in zip(found[1:], ("alignment", "uniformity"), strict=True):
        text = ", ".join(f"{name} {each[measure][0]:+.2f}" for name, each in by_objective.items())
        label(panel, measure, "accuracy of a linear probe", f"rank correlation\n{text}")
    legend(found[1])
    return figure
