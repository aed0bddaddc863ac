"""Critic capacity: does a better critic, and a tighter bound, make a better encoder?"""

from __future__ import annotations

from typing import Any

import polars as pl

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.infomax.encoders import OUTPUT, build_encoder
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.inputs import Pairs
from phylocli.infomax.plots import COLOURS, errors, label, legend, panels
from phylocli.infomax.training import ANY, QUALITIES, Towers, held_out_nats, quality, train
from phylocli.mi.methods import Choice
from phylocli.objectives import build_objective

TITLE = "Critic capacity"
ABOUT = (
    "Perceptron encoders trained by InfoNCE and by the Jensen–Shannon objective with critics of increasing capacity: "
    "estimated information of held-out pairs, and quality by family of members of unseen families. Larger critics: larger "
    "points."
)
BY = ("estimator", "critic")
VALUES = {"nats": ANY, **QUALITIES}
DATA = "pairs"
OPTIONS = ("steps", "batch")
VERSION = 1
CRITICS = ("bilinear", "separable:hidden=32", "separable:hidden=256", "concatenated:hidden=32")
ESTIMATORS = ("infonce", "jsd")


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return every estimator and critic."""
    return [{"estimator": estimator, "critic": critic} for estimator in ESTIMATORS for critic in CRITICS]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Pairs) -> list[Row]:
    """Train, and measure after the last step."""
    critic = Choice.parse(str(cell["critic"]))
    objective = build_objective(str(cell["estimator"]), build_critic(critic.name, OUTPUT, critic.parameters))
    towers = Towers(build_encoder("perceptron", 2 * seed), build_encoder("perceptron", 2 * seed + 1), objective)
    for _ in train(towers, data, steps=config.steps, batch=config.batch, seed=seed):
        pass
    return [{**cell, "nats": held_out_nats(towers, data), **quality(towers.first, data), "skipped": towers.skipped}]


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw quality against estimated information, one panel per estimator."""
    figure, found = panels(2, len(ESTIMATORS))
    measures = {"accuracy": "unseen families", "seen_accuracy": "seen families"}
    cases = [(estimator, measure) for estimator in ESTIMATORS for measure in measures]
    for panel, (estimator, measure) in zip(found, cases, strict=True):
        for k, critic in enumerate(CRITICS):
            rows = summary.filter((pl.col("estimator") == estimator) & (pl.col("critic") == critic)).to_dicts()
            panel.errorbar(
                [row["nats"] for row in rows], [row[measure] for row in rows], xerr=errors(rows, "nats"),
                yerr=errors(rows, measure), color=COLOURS[k], marker="o", markersize=4 + 1.5 * k, linestyle="",
                elinewidth=0.9, label=critic,
            )  # fmt: skip
        title = f"trained by {estimator}; {measures[measure]}"
        label(panel, "InfoNCE on held-out pairs, nats", "accuracy of a linear probe", title)
    legend(found[0])
    return figure
