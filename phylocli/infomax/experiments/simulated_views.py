"""Views of simulated homologs, whose shared information is known exactly: quality against the branch distance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from phylocli.config.infomax import SHOTS, InfomaxConfig
from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.experiments import views as real
from phylocli.infomax.experiments.views import COUNT, END, EVALUATED, MEASURED, MOST, UNTRAINED, contrasted, stops_of
from phylocli.infomax.inputs import BINS, FEATURES, Pairs, Scored
from phylocli.infomax.plots import COLOURS, GREY, curve, label, legend, panels
from phylocli.simulate import Substitutions
from phylocli.tree.information import site_information
from phylocli.tree.models import substitution_model

TITLE = "Views by distance, simulated"
ABOUT = (
    "As the experiment on views, with simulated families: both members of a pair evolve from a random sequence under LG+Γ, "
    "so that the information that they share is known at any distance."
)
BY = ("view", "stop")
VALUES = {
    **{name: bounds for name, bounds in MEASURED.items() if name != "seen_accuracy"}, "distance": COUNT, "true_nats": COUNT,
}  # fmt: skip
DATA = "none"
OPTIONS = ("steps", "batch", "until_nats", "alpha")
VERSION = 1 + real.VERSION  # with which it shares the training
DISTANCES = (0.1, 0.3, 0.7, 1.5, 3.0, 6.0, 12.0)
SITES = 64
FAMILIES, MEMBERS, DISTANCE = 110, 12, 1.5
"""Families on which quality is measured, members of each, and the distance of any two of them."""
MODEL = "lg"
LETTERS = len(AMINO_ACIDS)


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return no training, and every distance."""
    return [{"view": view} for view in (UNTRAINED, *(f"{distance:g}" for distance in DISTANCES))]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Any) -> list[Row]:
    """Train, and measure where each level is reached and at the end."""
    view, rng = str(cell["view"]), np.random.default_rng(seed)
    distance = None if view == UNTRAINED else float(view)
    views = simulated(distance or 1.0, config.alpha, rng)
    exact = None if distance is None else SITES * float(site_information(substitution_model(MODEL), distance, config.alpha))
    rows = contrasted(views, seed, config, steps=0 if distance is None else config.steps)
    kept = [{name: value for name, value in row.items() if name != "seen_accuracy"} for row in rows]
    return [{**cell, "distance": distance, "true_nats": exact, **row} for row in kept]


def simulated(distance: float, alpha: float, rng: np.random.Generator) -> Pairs:
    """Return pairs of simulated homologs at a distance, and members of simulated families to score.

    Every pair is of its own family: both evolve from a random sequence over half of the distance.
    """
    evolve = _evolution(alpha, rng)

    def pairs(n: int) -> tuple[Tensor, Tensor]:
        both = evolve(n, 2, distance)
        return both[:, 0].contiguous(), both[:, 1].contiguous()

    train, held_out = pairs(MOST), pairs(EVALUATED)
    mean, scale = torch.cat(train).mean(0), torch.cat(train).std()
    members = evolve(FAMILIES, MEMBERS, DISTANCE).flatten(0, 1)
    family, is_test = np.divmod(np.arange(len(members)), MEMBERS)
    scored = Scored((members - mean) / scale, family, is_test >= SHOTS)

    def standard(views: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return (views[0] - mean) / scale, (views[1] - mean) / scale

    return Pairs(standard(train), standard(held_out), scored, scored)


def _evolution(alpha: float, rng: np.random.Generator) -> Callable[[int, int, float], Tensor]:
    channel = Substitutions(substitution_model(MODEL))

    def evolve(families: int, members: int, distance: float) -> Tensor:
        """Return the features of members at a distance from each other, (families, members, FEATURES)."""
        root = channel.equilibrium(families * SITES, rng)
        rates = np.ones(len(root)) if math.isinf(alpha) else rng.gamma(alpha, 1 / alpha, len(root))
        frequency = np.zeros((families, members, BINS, LETTERS), dtype=np.float32)
        places = np.indices((families, SITES)).reshape(2, -1)
        for member in range(members):
            states = channel.evolve(root, distance / 2 * rates, rng).astype(np.int64)
            np.add.at(frequency[:, member], (places[0], places[1] * BINS // SITES, states), BINS / SITES)
        return torch.from_numpy(frequency.reshape(families, members, FEATURES))

    return evolve


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw quality against distance and against the exact information, and the estimate beside that."""
    figure, found = panels(3, width=3.8)
    by_distance, by_nats, estimate = found
    known = summary.filter(pl.col("accuracy").is_not_null())
    untrained = known.filter(pl.col("view") == UNTRAINED)["accuracy"][0]
    trained = known.filter(pl.col("distance").is_not_null()).sort("distance")
    for colour, stop in zip(itertools.cycle(COLOURS), stops_of(config), strict=False):
        name = f"after {config.steps} steps" if stop == END else f"at {stop}"
        part = trained.filter((pl.col("stop") == stop) & (pl.col("step") > 0))
        curve(by_distance, part, "distance", "accuracy", colour, name)
        curve(by_nats, part, "true_nats", "accuracy", colour, name)
    for panel in (by_distance, by_nats):
        panel.axhline(untrained, color=COLOURS[4], linewidth=1, linestyle="--", label=UNTRAINED)
    ended = trained.filter(pl.col("stop") == END)
    curve(estimate, ended, "distance", "true_nats", "black", "exact", markersize=0)
    curve(estimate, ended, "distance", "nats", COLOURS[0], "estimate of the encoder")
    estimate.axhline(math.log(EVALUATED), color=GREY, linewidth=0.8, linestyle="--")
    estimate.set(yscale="log")
    for panel in found:
        panel.set(xscale="log")
    distance = "distance of the views, substitutions per site"
    label(by_distance, distance, "accuracy of a linear probe", "unseen families")
    label(by_nats, f"exact information of the views, nats ({SITES} sites)", "accuracy of a linear probe")
    label(estimate, distance, "nats", f"dashed: ceiling, log {EVALUATED}")
    legend(by_nats, loc="lower left")
    legend(estimate)
    return figure
