"""Information between two homologs by branch distance: exact, and as estimators recover it from sequences."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from phylocli.config.infomax import InfomaxConfig
from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.critics import build_critic
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.plots import COLOURS, GREY, curve, label, legend, panels
from phylocli.infomax.training import best_scale, descended
from phylocli.infomax.truth import true_ratio_estimate
from phylocli.mi.methods import Choice
from phylocli.objectives import Batch, Estimator, build_objective, infonce
from phylocli.simulate import Substitutions
from phylocli.tree.information import distance_of_information, log_ratio, site_information
from phylocli.tree.models import substitution_model

logger = logging.getLogger(__name__)

TITLE = "Information that evolution leaves"
ABOUT = (
    "Mutual information of two homologs with independent sites under LG+Γ: exact (lines), and as estimators recover it from "
    "simulated sequences with the true likelihood ratio, a learned substitution score, or perceptrons on one-hot letters. "
    "Scores learned by triplets, margins or the Wasserstein dependency are read by InfoNCE after the best scaling."
)
BY = ("critic", "estimator", "distance")
VALUES = {"nats": (-math.inf, math.inf), "sd": (0.0, math.inf), "true_nats": (0.0, math.inf)}
DATA = "none"
OPTIONS = ("sites", "alpha", "critic_steps")
VERSION = 1

CRITICS = {"true": "true likelihood ratio", "scores": "learned substitution scores", "perceptrons": "perceptrons"}
ESTIMATORS = ("infonce", "smile", "nwj")
OTHERS = ("triplet", "margin:boundary=0", "wasserstein")
"""Objectives that estimate no information. Scores begin near 0, and so must the boundary."""
UPPER = "leave-one-out"
BATCH = 128
"""Pairs in a training batch; all are new ones."""
EVALUATED = 512
"""Pairs of an evaluation batch: the ceiling of InfoNCE is log 512 = 6.2 nats."""
EVALUATIONS = 8
LETTERS = len(AMINO_ACIDS)
MODEL = "lg"


class SubstitutionScores(nn.Module):
    """A critic whose scores are sums of one 20 × 20 matrix over the sites: the true one is of this form.

    Args:
        sites: number of sites.
    """

    def __init__(self, sites: int) -> None:
        super().__init__()
        self.sites = sites
        self.matrix = nn.Parameter(torch.zeros(LETTERS, LETTERS))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score one-hot sequences a (N, sites · 20) against b (M, sites · 20): (N, M)."""
        scored = a.unflatten(1, (self.sites, LETTERS)) @ self.matrix
        return scored.flatten(1) @ b.T


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return every critic, estimator and distance; an upper bound needs the true density."""
    return [
        {"critic": critic, "estimator": estimator, "distance": distance}
        for critic in CRITICS
        for estimator in (*ESTIMATORS, *([UPPER] if critic == "true" else OTHERS))
        for distance in config.distances
    ]


def draw_pairs(n: int, distance: float, config: InfomaxConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return n pairs of sequences at a distance, one-hot, each (n, sites · 20)."""
    channel = _channel()
    a = channel.equilibrium(n * config.sites, rng)
    rates = np.ones(len(a)) if math.isinf(config.alpha) else rng.gamma(config.alpha, 1 / config.alpha, len(a))
    b = channel.evolve(a, distance * rates, rng)
    eye = torch.eye(LETTERS)
    return tuple(eye[torch.from_numpy(x.astype(np.int64))].view(n, -1) for x in (a, b))  # type: ignore[return-value]


def _channel() -> Substitutions:
    return Substitutions(substitution_model(MODEL))


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Any) -> list[Row]:
    """Train the critic on new pairs at every step, and evaluate the estimator on further ones."""
    distance, estimator, critic = float(cell["distance"]), str(cell["estimator"]), str(cell["critic"])
    model = substitution_model(MODEL)
    rng = np.random.default_rng([seed, round(1000 * distance)])
    skipped = 0
    if critic == "true":
        known = SubstitutionScores(config.sites)
        known.matrix.data = torch.from_numpy(log_ratio(model, distance, config.alpha)).float()
        values = [true_ratio_estimate(estimator, known(a, b)) for a, b in _evaluated(distance, config, rng)]
    else:
        choice = Choice.parse(estimator)
        objective = build_objective(choice.name, _critic(critic, config.sites), choice.parameters)
        skipped = _train(objective, distance, config, rng)
        values = _values(objective, distance, config, rng)
    truth = config.sites * float(site_information(model, distance, config.alpha))
    found = {"nats": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "true_nats": truth}
    return [{**cell, **found, "skipped": skipped}]


@torch.no_grad()
def _values(objective: nn.Module, distance: float, config: InfomaxConfig, rng: np.random.Generator) -> list[float]:
    """Return the estimate of each evaluation batch; of an objective that has none, InfoNCE of the scaled scores."""
    free = Batch.of_pairs(EVALUATED).negatives()
    critic = objective.critic
    assert isinstance(critic, nn.Module)
    if isinstance(objective, Estimator):
        return [float(objective.bound(objective.scores(a, b), free)) for a, b in _evaluated(distance, config, rng)]
    factor = best_scale(critic(*draw_pairs(EVALUATED, distance, config, rng)))
    return [float(infonce.bound(factor * critic(a, b), free)) for a, b in _evaluated(distance, config, rng)]


def _critic(name: str, sites: int) -> nn.Module:
    if name == "scores":
        return SubstitutionScores(sites)
    return build_critic("separable", sites * LETTERS, {"hidden": 128, "output": 32})


def _evaluated(distance: float, config: InfomaxConfig, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
    return [draw_pairs(EVALUATED, distance, config, rng) for _ in range(EVALUATIONS)]


def _train(objective: nn.Module, distance: float, config: InfomaxConfig, rng: np.random.Generator) -> int:
    """Train in place; return the number of steps that were skipped because a loss or its gradient was not finite."""
    rate = 2e-2 if isinstance(objective.critic, SubstitutionScores) else 2e-3
    optimiser = torch.optim.Adam(objective.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.critic_steps)
    batch = Batch.of_pairs(BATCH)
    skipped = 0
    for _ in range(config.critic_steps):
        skipped += not descended(objective(*draw_pairs(BATCH, distance, config, rng), batch)["loss"], objective, optimiser)
        schedule.step()
    if skipped:
        logger.warning(f"distance {distance:g}: {skipped} of {config.critic_steps} steps skipped: not finite")
    return skipped


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw the information per site by distance, and estimates beside the truth, one panel per critic."""
    figure, found = panels(2, 2)
    model = substitution_model(MODEL)
    grid = np.geomspace(0.02, 10, 120)
    for colour, alpha in zip(COLOURS, (math.inf, 2.0, 1.0, 0.5), strict=False):
        name = "equal rates" if math.isinf(alpha) else f"Γ, α = {alpha:g}"
        found[0].plot(grid, site_information(model, grid, alpha), color=colour, linewidth=1.4, label=name)
        if not math.isinf(alpha):
            known = site_information(model, grid, alpha, known_rates=True)
            found[0].plot(grid, known, color=colour, linewidth=0.9, linestyle=":")
    for pairs in (256, 65_536):
        height = math.log(pairs) / 100
        found[0].axhline(height, color=GREY, linewidth=0.8, linestyle="--")
        found[0].text(0.022, height * 1.06, f"ln {pairs:,} / 100 sites", fontsize=6.5, color=GREY)
    found[0].set(xscale="log", yscale="log", ylim=(0.01, 3.5))
    label(found[0], "branch distance, substitutions per site", "nats per site", "exact (LG); dotted: rates known")
    legend(found[0], loc="lower left", bbox_to_anchor=(0.0, 0.42))
    truth = config.sites * site_information(model, grid, config.alpha)
    low, high = min(config.distances), max(config.distances)
    names = {
        "infonce": "InfoNCE", "smile": "SMILE", "nwj": "NWJ", UPPER: "leave-one-out (upper)", "triplet": "triplets, scaled",
        "margin:boundary=0": "margins, scaled", "wasserstein": "Wasserstein, scaled",
    }  # fmt: skip
    for panel, (critic, title) in zip(found[1:], CRITICS.items(), strict=True):
        panel.plot(grid, truth, color="black", linewidth=1.1, label="exact")
        panel.axhline(math.log(EVALUATED), color=GREY, linewidth=0.8, linestyle="--")
        for colour, estimator in zip(COLOURS, names, strict=False):
            part = summary.filter((pl.col("critic") == critic) & (pl.col("estimator") == estimator))
            if part.height:
                curve(panel, part, "distance", "nats", colour, names[estimator])
        top = config.sites * float(site_information(model, low, config.alpha))
        panel.set(xscale="log", xlim=(low * 0.85, high * 1.2), ylim=(-0.03 * top, 1.25 * top))
        label(panel, "branch distance, substitutions per site", f"nats, {config.sites} sites", title)
        legend(panel)
    return figure


def ceilings(sites: int, batches: tuple[int, ...], alpha: float) -> list[tuple[int, float]]:
    """Return, for each batch size N, the distance beyond which two sequences share less than ln N nats."""
    model = substitution_model(MODEL)
    return [(n, distance_of_information(model, math.log(n) / sites, alpha)) for n in batches]
