"""The boundary of encoder and critic: one network, probed after every layer."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.infomax.encoders import OUTPUT, deep
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.inputs import Pairs
from phylocli.infomax.plots import COLOURS, curve, label, legend, panels
from phylocli.infomax.training import QUALITIES, Towers, quality_of, train
from phylocli.objectives import build_objective

TITLE = "Where the critic begins"
ABOUT = (
    "One deep network per half, with a bilinear form on top: cut after any layer, the layers below are the encoder and "
    "those above belong to a separable critic, with the same estimate. Quality of the vectors after each layer; layer 0 is "
    "the input."
)
BY = ("estimator", "layer")
VALUES = dict(QUALITIES)
DATA = "pairs"
OPTIONS = ("steps", "batch")
VERSION = 1
DEPTH = 5
ESTIMATORS = ("untrained", "infonce", "jsd", "nwj")


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return every estimator, and no training."""
    return [{"estimator": estimator} for estimator in ESTIMATORS]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Pairs) -> list[Row]:
    """Train, and measure every layer."""
    skipped = 0
    towers = [deep(DEPTH) for _ in range(2)]
    if cell["estimator"] != "untrained":
        both = Towers(towers[0], towers[1], build_objective(str(cell["estimator"]), build_critic("bilinear", OUTPUT)))
        for _ in train(both, data, steps=config.steps, batch=config.batch, seed=seed):
            pass
        skipped = both.skipped
    with torch.no_grad():
        unseen, seen = (towers[0].layers(part.features) for part in (data.unseen, data.seen))
    pairs = enumerate(zip(unseen, seen, strict=True))
    return [{**cell, "layer": layer, **quality_of(*vectors, data), "skipped": skipped} for layer, vectors in pairs]


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw quality by layer."""
    figure, found = panels(3)
    for colour, estimator in zip(COLOURS, ESTIMATORS, strict=False):
        part = summary.filter(pl.col("estimator") == estimator)
        for panel, measure in zip(found, ("accuracy", "knn", "seen_accuracy"), strict=True):
            curve(panel, part, "layer", measure, colour, estimator)
    label(found[0], "layer (0: input)", "accuracy of a linear probe", "unseen families")
    label(found[1], "layer (0: input)", "accuracy of the nearest neighbour", "unseen families")
    label(found[2], "layer (0: input)", "accuracy of a linear probe", "held-out members of training families")
    legend(found[0], loc="lower left")
    return figure
