"""Architecture against estimator at equal information: encoders trained until the estimate reaches a value."""

from __future__ import annotations

from typing import Any

import polars as pl

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.infomax.encoders import OUTPUT, build_encoder
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.halves import Halves
from phylocli.infomax.plots import COLOURS, GREY, curve, label, legend, panels
from phylocli.infomax.training import ANY, QUALITIES, Towers, held_out_nats, quality, train
from phylocli.objectives import build_objective

TITLE = "Architecture against estimator at equal information"
ABOUT = (
    "Encoders trained until InfoNCE of held-out halves, computed with the run's own critic, reaches a value in nats (the "
    "stopping rule --until-nats); then their quality by family of members of unseen families."
)
BY = ("encoder", "estimator", "until_nats")
VALUES = {"reached": (0.0, 1.0), "step": ANY, "nats": ANY, **QUALITIES}
OPTIONS = ("steps", "batch", "until_nats")
VERSION = 1
ENCODERS = ("linear", "perceptron", "convolutional")
ESTIMATORS = ("infonce", "nwj", "jsd", "dv")
"""SMILE is not among them: its critic is trained by the Jensen–Shannon objective, so its runs are those of `jsd`."""
PATIENCE = 2
"""A run that has not reached the highest value may take this many times --steps."""
EVERY = 10
"""Steps between two readings of the estimate."""


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return every encoder and estimator; a run passes all values of `until_nats`."""
    return [{"encoder": encoder, "estimator": estimator} for encoder in ENCODERS for estimator in ESTIMATORS]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, halves: Halves) -> list[Row]:
    """Train, and measure quality at the first check at which each value is reached."""
    objective = build_objective(str(cell["estimator"]), build_critic("bilinear", OUTPUT))
    encoders = [build_encoder(str(cell["encoder"]), 2 * seed + k) for k in range(2)]
    towers = Towers(encoders[0], encoders[1], objective)
    waiting = sorted(config.until_nats)
    rows: list[Row] = []
    for step in train(towers, halves, steps=PATIENCE * config.steps, batch=config.batch, seed=seed):
        if step % EVERY:
            continue
        nats = held_out_nats(towers, halves)
        if waiting and nats >= waiting[0]:
            measured = quality(towers.first, halves)
            while waiting and nats >= waiting[0]:
                found = {"reached": 1.0, "step": step, "nats": nats, **measured, "skipped": towers.skipped}
                rows.append({**cell, "until_nats": waiting.pop(0), **found})
        if not waiting:
            break
    missing = {**dict.fromkeys(("step", "nats", *QUALITIES)), "skipped": towers.skipped}
    return [*rows, *({**cell, "until_nats": value, "reached": 0.0, **missing} for value in waiting)]


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw quality by encoder and estimator at each value, and the steps that it took."""
    figure, found = panels(3, width=3.8)
    styles = dict(zip(ESTIMATORS, ("-", "--", ":", "-."), strict=True))
    for k, encoder in enumerate(ENCODERS):
        for estimator in ESTIMATORS:
            part = summary.filter((pl.col("encoder") == encoder) & (pl.col("estimator") == estimator)).sort("until_nats")
            for panel, measure in zip(found, ("accuracy", "seen_accuracy", "step"), strict=True):
                name = encoder if estimator == ESTIMATORS[0] else ""
                curve(panel, part, "until_nats", measure, COLOURS[k], name, linestyle=styles[estimator])
    for estimator, style in styles.items():
        found[1].plot([], [], color=GREY, linestyle=style, linewidth=1.3, label=estimator)
    stopped = "estimate at which training stopped, nats"
    label(found[0], stopped, "accuracy of a linear probe", "unseen families")
    label(found[1], stopped, "accuracy of a linear probe", "held-out members of training families")
    label(found[2], stopped, "steps until then")
    legend(found[0], loc="upper right")
    legend(found[1], handles=found[1].lines[-len(styles) :], loc="upper right")
    return figure
