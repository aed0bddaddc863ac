"""Invertible encoders: information is constant and maximal by construction, and quality still changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import polars as pl
import torch
from torch import nn

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.infomax.encoders import build_encoder, condition_numbers
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.flows import Flow
from phylocli.infomax.inputs import FEATURES, Pairs
from phylocli.infomax.plots import COLOURS, GREY, curve, label, legend, panels
from phylocli.infomax.training import ANY, QUALITIES, Towers, descended, held_out_nats, quality, train
from phylocli.objectives import build_objective

TITLE = "Invertible encoders"
ABOUT = (
    "RealNVP and a rational-quadratic spline flow keep all information at every step. Trained by InfoNCE with a bilinear "
    "critic, and trained against a linear classifier of the families; beside them residual networks that start as the "
    "identity, and perceptrons. Inverse error: the largest error of a reconstructed input."
)
BY = ("encoder", "step")
VALUES = {"nats": ANY, **QUALITIES, "ceiling_nats": ANY, "log10_condition": ANY, "inverse_error": (0.0, math.inf)}
DATA = "pairs"
OPTIONS = ("steps", "batch")
VERSION = 1
RUNS = {
    "realnvp": "RealNVP, InfoNCE",
    "spline": "spline flow, InfoNCE",
    "realnvp-adversarial": "RealNVP, against a probe",
    "spline-adversarial": "spline flow, against a probe",
    "residual": "residual, InfoNCE",
    "perceptron-square": "perceptron, InfoNCE",
}
ADVERSARIAL = "-adversarial"
CHECKS = 4
"""Number of evaluations after the start."""
POINTS = 8
"""Points at which the Jacobian is computed."""
ADVERSARY_STEPS = 3
"""Steps of the classifier for each step of the encoder against it."""


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return the encoders."""
    return [{"encoder": encoder} for encoder in RUNS]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Pairs) -> list[Row]:
    """Train, and measure at regular steps."""
    adversarial = str(cell["encoder"]).endswith(ADVERSARIAL)
    name = str(cell["encoder"]).removesuffix(ADVERSARIAL)
    encoders = [build_encoder(name, 2 * seed + k) for k in range(2)]
    towers = Towers(encoders[0], encoders[1], build_objective("infonce", build_critic("bilinear", FEATURES)))
    if adversarial:
        steps = against_a_probe(towers, data, config.steps, config.batch, seed)
    else:
        steps = train(towers, data, steps=config.steps, batch=config.batch, seed=seed, rate=5e-4)
    checks = {config.steps * k // CHECKS for k in range(CHECKS + 1)}
    rows: list[Row] = []
    for step in steps:
        if step not in checks:
            continue
        condition = condition_numbers(towers.first, data.held_out[0][:POINTS]).log10().median()
        rows.append(
            {
                **cell,
                "step": step,
                # The critic of a run against a probe was not trained, so its estimate would say nothing.
                "nats": None if adversarial else held_out_nats(towers, data),
                **quality(towers.first, data),
                "ceiling_nats": math.log(len(data.held_out[0])),
                "log10_condition": float(condition),
                "inverse_error": inverse_error(towers.first, data),
                "skipped": towers.skipped,
            }
        )
    return rows


@torch.no_grad()
def inverse_error(encoder: nn.Module, data: Pairs) -> float | None:
    """Return the largest error of held-out inputs reconstructed by the inverse in double precision; None without one."""
    if not isinstance(encoder, Flow):
        return None
    x = data.held_out[0].double()
    found = float((encoder.double().inverse(encoder(x)) - x).abs().max())
    encoder.float()
    return found


def against_a_probe(towers: Towers, data: Pairs, steps: int, batch: int, seed: int) -> Iterator[int]:
    """Train the first encoder so that a linear classifier of the probe's training members fails; yield as `train` does.

    The classifier is trained on the current vectors by cross entropy, and the encoder to make its predictions uniform: the
    least KL(uniform ‖ prediction) (Tschannen et al. 2020, section 3.1). Labels of the probe's test part are not used.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = ~data.unseen.is_test
    x, y = data.unseen.features[rows], torch.from_numpy(data.unseen.family[rows])
    classifier = nn.Linear(FEATURES, int(y.max()) + 1)
    learner = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    adversary = torch.optim.Adam(towers.first.parameters(), lr=1e-3)
    yield 0
    for step in range(1, steps + 1):
        chosen = torch.randperm(len(x), generator=generator)[:batch]
        with torch.no_grad():
            vectors = towers.first(x[chosen])
        for _ in range(ADVERSARY_STEPS):
            descended(nn.functional.cross_entropy(classifier(vectors), y[chosen]), classifier, learner)
        uniform = -torch.log_softmax(classifier(towers.first(x[chosen])), dim=1).mean()
        towers.skipped += not descended(uniform, towers.first, adversary, longest=5.0)
        yield step


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw the estimate, quality and condition number over training."""
    figure, found = panels(3)
    for colour, (encoder, name) in zip(COLOURS, RUNS.items(), strict=False):
        part = summary.filter(pl.col("encoder") == encoder).sort("step")
        curve(found[0], part, "step", "nats", colour, name)
        curve(found[1], part, "step", "accuracy", colour, name)
        curve(found[2], part, "step", "log10_condition", colour, name)
    found[0].axhline(float(table["ceiling_nats"][0]), color=GREY, linewidth=0.8, linestyle="--")
    label(found[0], "step", "InfoNCE on held-out pairs, nats", "the estimate rises")
    label(found[1], "step", "accuracy of a linear probe", "quality changes at constant information")
    label(found[2], "step", "log₁₀ condition number of the Jacobian", "maps become hard to invert")
    legend(found[0], loc="center left")
    return figure
