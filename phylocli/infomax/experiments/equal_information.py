"""Architecture against estimator at equal information: encoders trained until the estimate reaches a value."""

from __future__ import annotations

from typing import Any

import polars as pl

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.infomax.encoders import OUTPUT, build_encoder
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.inputs import Pairs
from phylocli.infomax.plots import COLOURS, GREY, curve, label, legend, panels
from phylocli.infomax.training import ANY, QUALITIES, Towers, train_until
from phylocli.mi.methods import Choice
from phylocli.objectives import build_objective

TITLE = "Architecture against estimator at equal information"
ABOUT = (
    "Encoders trained until InfoNCE of held-out pairs, computed with the run's own critic, reaches a value in nats (the "
    "stopping rule --until-nats); then their quality by family of members of unseen families. Triplets, margins and "
    "Wasserstein predictive coding are no estimators: their scores are read after the best scaling."
)
BY = ("encoder", "estimator", "until_nats")
VALUES = {"reached": (0.0, 1.0), "step": ANY, "nats": ANY, **QUALITIES}
DATA = "pairs"
OPTIONS = ("steps", "batch", "until_nats")
VERSION = 1
LEVELS = (0.25, 0.5, 1.0)
"""Values of the estimate if `until_nats` names none."""
ENCODERS = ("linear", "perceptron", "convolutional")
ESTIMATORS = ("infonce", "nwj", "jsd", "dv", "smile:loss=clipped")
"""SMILE by its own loss: with the other one, the Jensen–Shannon objective, its runs would be those of `jsd`."""
OTHERS = ("triplet:margin=1", "margin:margin=1,boundary=0", "wasserstein:form=infonce")
"""Objectives that estimate no information; margins of a bilinear form are in its own unit."""
APART = 0.014
"""Nats by which objectives are drawn apart."""
PATIENCE = 2
"""A run that has not reached the highest value may take this many times --steps."""


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return every encoder and objective; a run passes all levels of the estimate."""
    return [{"encoder": encoder, "estimator": estimator} for encoder in ENCODERS for estimator in (*ESTIMATORS, *OTHERS)]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Pairs) -> list[Row]:
    """Train, and measure quality at the first check at which each value is reached."""
    estimator = Choice.parse(str(cell["estimator"]))
    objective = build_objective(estimator.name, build_critic("bilinear", OUTPUT), estimator.parameters)
    encoders = [build_encoder(str(cell["encoder"]), 2 * seed + k) for k in range(2)]
    towers = Towers(encoders[0], encoders[1], objective)
    steps, levels = PATIENCE * config.steps, config.until_nats or LEVELS
    return [{**cell, **row} for row in train_until(towers, data, levels, steps=steps, batch=config.batch, seed=seed)]


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw quality by encoder and objective at each value, and the steps that it took."""
    figure, found = panels(3, width=3.8)
    lines = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
    styles: dict[str, dict[str, Any]] = {
        **{name: {"linestyle": line} for name, line in zip(ESTIMATORS, lines, strict=True)},
        **{name: {"linestyle": "", "marker": marker} for name, marker in zip(OTHERS, "^sx", strict=True)},
    }
    for k, encoder in enumerate(ENCODERS):
        for number, (estimator, style) in enumerate(styles.items()):
            part = summary.filter((pl.col("encoder") == encoder) & (pl.col("estimator") == estimator)).sort("until_nats")
            part = part.with_columns(pl.col("until_nats") + APART * (number - len(styles) / 2))
            for panel, measure in zip(found, ("accuracy", "seen_accuracy", "step"), strict=True):
                name = encoder if estimator == ESTIMATORS[0] else ""
                curve(panel, part, "until_nats", measure, COLOURS[k], name, **style)
    for estimator, style in styles.items():
        found[2].plot([], [], color=GREY, linewidth=1.3, markersize=4, label=estimator.partition(":")[0], **style)
    stopped = "estimate at which training stopped, nats"
    label(found[0], stopped, "accuracy of a linear probe", "unseen families")
    label(found[1], stopped, "accuracy of a linear probe", "held-out members of training families")
    label(found[2], stopped, "steps until then")
    for panel in found[:2]:
        panel.set_ylim(top=1.3 * panel.get_ylim()[1])
    legend(found[0], loc="upper right")
    legend(found[2], handles=found[2].lines[-len(styles) :], loc="upper left")
    return figure
