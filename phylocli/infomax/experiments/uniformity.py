"""Alignment and uniformity of many short runs, and their quality (after Wang & Isola 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.infomax.encoders import OUTPUT, build_encoder
from phylocli.infomax.experiments import Cell, Row
from phylocli.infomax.halves import Halves
from phylocli.infomax.plots import label, legend, panels
from phylocli.infomax.training import QUALITIES, Towers, quality, train
from phylocli.objectives import Batch, build_objective
from phylocli.objectives.align_uniform import alignment, uniformity

TITLE = "Alignment and uniformity"
ABOUT = (
    "Each point is one run, trained directly on alignment plus a weight times uniformity (circles) or by InfoNCE on cosines "
    "with some temperature (triangles). Colour: accuracy of a linear probe on members of unseen families."
)
BY = ("run",)
VALUES = {"alignment": (0.0, 4.0), "uniformity": (-8.0, 0.0), **QUALITIES}
OPTIONS = ("steps", "batch")
WEIGHTS = tuple(float(f"{w:.3g}") for w in np.geomspace(0.03, 10, 6))
SCALES = (0.5, 2.0)
TEMPERATURES = tuple(float(f"{t:.3g}") for t in np.geomspace(0.03, 2, 6))


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return runs of both kinds."""
    direct: list[Cell] = [
        {"run": f"align-uniform {w:g}, t = {t:g}", "objective": "align-uniform", "weight": w, "scale": t}
        for w in WEIGHTS
        for t in SCALES
    ]
    contrast: list[Cell] = [{"run": f"infonce {t:g}", "objective": "infonce", "temperature": t} for t in TEMPERATURES]
    return direct + contrast


def run(cell: Cell, seed: int, config: InfomaxConfig, halves: Halves) -> list[Row]:
    """Train, and measure alignment and uniformity (t = 2) of held-out halves."""
    direct = cell["objective"] == "align-uniform"
    parameters = {"weight": cell["weight"], "scale": cell["scale"]} if direct else {}
    critic = build_critic("cosine", OUTPUT, {"temperature": float(cell.get("temperature", 0.1))})
    objective = build_objective(str(cell["objective"]), critic, parameters)
    towers = Towers(build_encoder("perceptron", 2 * seed), build_encoder("perceptron", 2 * seed + 1), objective)
    for _ in train(towers, halves, steps=config.steps, batch=config.batch, seed=seed, every=config.steps):
        pass
    a, b = halves.held_out
    with torch.no_grad():
        x, y = towers.first(a), towers.second(b)
        free = Batch.of_pairs(len(x)).negatives()
        spread = (uniformity(x, free) + uniformity(y, free)) / 2
        near = alignment(x, y)
    return [
        {
            "run": cell["run"],
            "objective": cell["objective"],
            "alignment": float(near),
            "uniformity": float(spread),
            **quality(towers.first, halves),
        }
    ]


def correlations(table: pl.DataFrame) -> dict[str, float]:
    """Return rank correlations with accuracy over all runs: of alignment, of uniformity, and of their sum."""
    from scipy.stats import spearmanr

    both = table.with_columns((pl.col("alignment") + pl.col("uniformity")).alias("sum"))
    return {name: float(spearmanr(both[name], both["accuracy"]).statistic) for name in ("alignment", "uniformity", "sum")}


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw the runs in the plane of alignment and uniformity, and quality by either loss's own parameter."""
    figure, found = panels(2, width=4.2)
    low, high = float(table["accuracy"].min()), float(table["accuracy"].max())  # type: ignore[arg-type]
    shown = None
    for objective, marker in (("align-uniform", "o"), ("infonce", "^")):
        part = table.filter(pl.col("objective") == objective)
        shown = found[0].scatter(
            part["alignment"], part["uniformity"], c=part["accuracy"], vmin=low, vmax=high, marker=marker, s=22,
            cmap="viridis", linewidths=0, label=objective,
        )  # fmt: skip
        found[1].scatter(part["alignment"] + part["uniformity"], part["accuracy"], marker=marker, s=18, label=objective)
    figure.colorbar(shown, ax=found[0], label="accuracy of a linear probe")
    text = ", ".join(f"{name} {value:+.2f}" for name, value in correlations(table).items())
    label(found[0], "alignment (lower: partners nearer)", "uniformity (lower: more even)", "rank correlation with accuracy:")
    label(found[1], "alignment + uniformity", "accuracy of a linear probe", text)
    legend(found[0])
    return figure
