"""Noise-contrastive estimation: its gradient beside that of maximum likelihood as negatives grow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from phylocli.config.infomax import InfomaxConfig
from phylocli.infomax.experiments import Cell, Row, seeded
from phylocli.infomax.plots import COLOURS, GREY, curve, label, legend, panels
from phylocli.objectives import Batch, infonce, nce
from phylocli.tree.information import log_ratio
from phylocli.tree.models import substitution_model

TITLE = "Noise-contrastive estimation and maximum likelihood"
ABOUT = (
    "A softmax model of a residue given its homolog, with the frequencies of residues as noise. Expected gradients of "
    "binary and ranking noise-contrastive estimation against the exact gradient of maximum likelihood; and gradients of one "
    "batch, in which the other pairs are the negatives, beside maximum likelihood on the same pairs."
)
BY = ("form", "trained", "distance", "negatives")
VALUES = {
    "cosine": (-1.0, 1.0), "difference": (0.0, math.inf), "batch_cosine": (-1.0, 1.0),
    "batch_likelihood_cosine": (-1.0, 1.0),
}  # fmt: skip
DATA = "none"
OPTIONS = ()
VERSION = 2
FORMS = {"binary": "binary", "ranking": "ranking (InfoNCE)"}
TRAINED = (0.0, 0.5, 0.9)
"""Parameters of the model, as a fraction of the best ones: the start of training, the middle, and near its end."""
DISTANCES = (0.1, 1.0)
NEGATIVES = tuple(2**k for k in range(13))
LARGEST_BATCH = 1024
LOG_TIMES = (-45.0, 15.0, 0.1)
"""Start, end and step of the grid of an integral."""
BATCHES = 20
MODEL = "lg"

Floats = npt.NDArray[np.float64]


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return every form, state of training and distance."""
    return [
        {"form": form, "trained": trained, "distance": distance}
        for form in FORMS
        for trained in TRAINED
        for distance in DISTANCES
    ]


class Softmax:
    """The model p(b | a) = p(b) exp s(a, b) / Z(a) of pairs from a joint distribution; its parameters are s.

    Args:
        joint: p(a, b), (A, B).
        parameters: s, (A, B).
    """

    def __init__(self, joint: Floats, parameters: Floats) -> None:
        self.joint, self.parameters = joint, parameters
        self.a, self.noise = joint.sum(1), joint.sum(0)
        weights = self.noise * np.exp(parameters)
        self.ratio: Floats = np.exp(parameters) / weights.sum(1, keepdims=True)
        """p(b | a) / p(b) of the model."""
        self.conditional = self.noise * self.ratio

    def likelihood(self) -> Floats:
        """Return the gradient of the expected log likelihood, (A, B)."""
        return self.joint - self.a[:, None] * self.conditional

    def binary(self, negatives: float) -> Floats:
        """Return the gradient of the expected objective of binary NCE with ν negatives per pair, (A, B), exactly.

        Of the ratio r it is ν / (r + ν) · (p(a, b) - p(a) p(b) r) (Mnih & Teh 2012, arXiv 1206.6426, equation 11), which
        then passes through the normalisation of the model.
        """
        free = negatives / (self.ratio + negatives) * (self.joint - self.a[:, None] * self.conditional)
        return free - self.conditional * free.sum(1, keepdims=True)

    def ranking(self, negatives: int) -> Floats:
        """Return the gradient of the expected objective of ranking NCE with ν negatives per pair, (A, B), exactly.

        A candidate j of weight w is picked with the expected probability E w / (w + R), where R is the sum of the weights
        of the other candidates. With 1 / x = ∫ exp(-x t) dt this is ∫ w exp(-w t) E exp(-R t) dt, and E exp(-R t) is the
        product of the expectations of the candidates, which are independent. j is the partner, or one of the negatives.
        """
        weight = np.exp(self.parameters)
        picked = np.zeros_like(self.joint)
        for log_t in np.arange(*LOG_TIMES):  # dt = t d log t; the trapezoidal rule of such an integrand is exact to rounding
            decay = np.exp(-weight * np.exp(log_t))
            negative = decay @ self.noise
            partner = (self.joint * decay).sum(1)
            others = self.joint * negative[:, None] + negatives * partner[:, None] * self.noise
            picked += weight * decay * negative[:, None] ** (negatives - 1) * others * np.exp(log_t) * LOG_TIMES[2]
        return self.joint - picked


def batch_gradient(form: str, parameters: Tensor, noise: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of a batch of pairs, (A, B), by autograd: of `likelihood`, or of a form of NCE.

    Args:
        form: `likelihood`, `binary` or `ranking`.
        parameters: s, (A, B).
        noise: p(b), (B,).
        a, b: states of the pairs, (N,).
    """
    s = parameters.clone().requires_grad_()
    ratio = s - (s + noise.log()).logsumexp(1, keepdim=True)
    if form == "likelihood":
        value = ratio[a, b].mean()
    else:
        scores, free = ratio[a][:, b], Batch.of_pairs(len(a)).negatives()
        value = -nce.loss(scores, free) if form == "binary" else infonce.bound(scores, free, symmetric=False)
    (found,) = torch.autograd.grad(value, s)
    return found


def cosine(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the cosine of two gradients, 0 if one of them is 0."""
    first, second = np.ravel(x), np.ravel(y)
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale else 0.0


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Any) -> list[Row]:
    """Compare gradients for each number of negatives."""
    substitutions = substitution_model(MODEL)
    best = log_ratio(substitutions, float(cell["distance"]))
    frequencies = substitutions.frequencies
    joint = frequencies[:, None] * frequencies * np.exp(best)
    model = Softmax(joint / joint.sum(), float(cell["trained"]) * best)
    truth = model.likelihood()
    rng = np.random.default_rng([seed, round(1000 * float(cell["distance"])), round(10 * float(cell["trained"]))])
    rows: list[Row] = []
    for negatives in NEGATIVES:
        found = model.binary(negatives) if cell["form"] == "binary" else model.ranking(negatives)
        row: Row = {
            **cell,
            "negatives": negatives,
            "cosine": cosine(found, truth),
            "difference": float(np.linalg.norm(found - truth) / np.linalg.norm(truth)),
        }
        if 0 < negatives < LARGEST_BATCH:
            row |= _one_batch(model, str(cell["form"]), negatives + 1, truth, rng)
        rows.append({**dict.fromkeys(VALUES), **row})
    return rows


def _one_batch(model: Softmax, form: str, size: int, truth: Floats, rng: np.random.Generator) -> Row:
    """Return the mean cosine of the gradient of one batch with the exact one, of NCE and of maximum likelihood."""
    parameters, noise = torch.from_numpy(model.parameters), torch.from_numpy(model.noise)
    found: dict[str, list[float]] = {form: [], "likelihood": []}
    for _ in range(BATCHES):
        pairs = rng.choice(model.joint.size, size, p=model.joint.ravel())
        a, b = (torch.from_numpy(states) for states in np.unravel_index(pairs, model.joint.shape))
        for name, values in found.items():
            values.append(cosine(batch_gradient(name, parameters, noise, a, b).numpy(), truth))
    return {
        "batch_cosine": float(np.mean(found[form])),
        "batch_likelihood_cosine": float(np.mean(found["likelihood"])),
    }


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw the cosine and the relative difference of gradients against the number of negatives."""
    figure, found = panels(3, len(DISTANCES), width=3.8)
    for row, distance in enumerate(DISTANCES):
        exact, difference, batches = found[3 * row : 3 * row + 3]
        for colour, trained in zip(COLOURS, TRAINED, strict=False):
            for form, style in zip(FORMS, ("-", "--"), strict=True):
                chosen = (pl.col("form") == form) & (pl.col("trained") == trained) & (pl.col("distance") == distance)
                part = summary.filter(chosen).sort("negatives")
                name = f"{form}, {trained:.0%} trained"
                for panel, measure in ((exact, "cosine"), (difference, "difference"), (batches, "batch_cosine")):
                    curve(panel, part, "negatives", measure, colour, name, linestyle=style, markersize=3)
            dotted = {"linestyle": ":", "markersize": 0}
            curve(batches, part, "negatives", "batch_likelihood_cosine", colour, "", **dotted)
        grid = np.array([16.0, NEGATIVES[-1]])
        difference.plot(grid, 8 / grid, color=GREY, linewidth=0.9)
        difference.text(300, 0.04, "1/ν", fontsize=8, color=GREY)
        difference.set(xscale="log", yscale="log")
        exact.set(xscale="log")
        batches.set(xscale="log")
        at = f"distance {distance:g}"
        label(exact, "negatives per pair, ν", "cosine with the gradient of likelihood", f"{at}: expected gradient")
        label(difference, "negatives per pair, ν", "norm of the difference, relative", f"{at}: expected gradient")
        label(batches, "negatives per pair (batch - 1)", "cosine with the gradient of likelihood", f"{at}: one batch")
    batch_panel = found[2]
    batch_panel.plot([], [], color=GREY, linestyle=":", label="likelihood, same pairs")
    legend(found[0], loc="lower right")
    legend(batch_panel, handles=batch_panel.lines[-1:], loc="lower right")
    return figure
