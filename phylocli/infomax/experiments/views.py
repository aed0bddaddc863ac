"""Views: quality against the distance of the two homologs that are contrasted, at equal steps and at equal information."""

from __future__ import annotations

import logging
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
from phylocli.infomax.homologs import Codes, Homologs
from phylocli.infomax.inputs import Pairs
from phylocli.infomax.plots import COLOURS, GREY, curve, errors, label, legend, panels
from phylocli.infomax.training import ANY, QUALITIES, Towers, quality, train_until
from phylocli.objectives import build_objective
from phylocli.pairs.relations import ORTHOLOG, PARALOG

logger = logging.getLogger(__name__)

TITLE = "Views by distance"
ABOUT = (
    "One perceptron for both views, trained by InfoNCE on cosines of pairs of homologs at a distance, of members of two "
    "families of a clan, and of unrelated sequences. Quality after all steps, and where the estimate on held-out pairs "
    "first reached a value. Orthologs and paralogs are compared at equal distances, if the ids contain species."
)
BY = ("view", "stop")
COUNT = (0.0, math.inf)
MEASURED = {"reached": (0.0, 1.0), "step": COUNT, "nats": ANY, **QUALITIES}
FACTS = {"distance": COUNT, "pairs": COUNT, "families": COUNT}
VALUES = {**MEASURED, **FACTS}
DATA = "homologs"
OPTIONS = ("steps", "batch")
VERSION = 1
TEMPERATURE = 0.1
END = "end"
"""Where a run is measured besides the levels of `NATS`: after all steps."""
NATS = (2.0, 3.0, 4.0)
"""Values of the estimate at which views are compared; those that an untrained encoder has already are left out."""
STOPS = (END, *(f"{level:g} nats" for level in NATS))
UNTRAINED, CLAN, UNRELATED = "untrained", "clan", "unrelated"
RELATED = {"orthologs": ORTHOLOG, "paralogs": PARALOG}
MOST = 6000
"""Maximum number of training pairs of a view, so that views differ in distance rather than in number."""
EVALUATED = 512
"""Held-out pairs of a view; with fewer, they are drawn again. The ceiling of the estimate is at most log 512 = 6.2 nats."""
FEWEST = 40
"""Minimum number of different held-out pairs of a view."""
MATCHED = 0.25
"""Width of the bins of distance within which there are equally many orthologs and paralogs of each family."""


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return no training, bands of distance, remote, unrelated, orthologous and paralogous pairs."""
    return [{"view": view} for view in (UNTRAINED, *bands_of(config), CLAN, UNRELATED, *RELATED)]


def bands_of(config: InfomaxConfig) -> list[str]:
    """Return the names of the bands."""
    return [f"{low:g}:{high:g}" for low, high in config.bands]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Homologs) -> list[Row]:
    """Train, and measure where each level is reached and at the end; None where a view has too few pairs."""
    view, facts = str(cell["view"]), dict.fromkeys(FACTS)
    if view == UNTRAINED:
        views = Pairs((data.features[:1],) * 2, (data.features[:1],) * 2, data.unseen, data.seen)
        return [{**cell, **facts, **row} for row in contrasted(views, seed, config, steps=0)]
    (train, distances), (held_out, _) = choose(data, view, np.random.default_rng(seed))
    if min(len(np.unique(rows, axis=0)) for rows in (train, held_out)) < FEWEST:
        logger.warning(f"views: fewer than {FEWEST} pairs for {view}; not measured")
        missing = dict.fromkeys(VALUES)
        return [{**cell, "stop": stop, **missing} for stop in STOPS]
    codes = [torch.from_numpy(data.clan[rows[:, 0]]) for rows in (train, held_out)]
    parts = [(data.features[rows[:, 0]], data.features[rows[:, 1]]) for rows in (train, held_out)]
    views = Pairs(parts[0], parts[1], data.unseen, data.seen, (codes[0], codes[1]))
    mean = float(distances.mean()) if np.isfinite(distances).all() else None
    facts = {"distance": mean, "pairs": len(train), "families": len(np.unique(data.family[train]))}
    return [{**cell, **facts, **row} for row in contrasted(views, seed, config, steps=config.steps)]


def contrasted(views: Pairs, seed: int, config: InfomaxConfig, *, steps: int) -> list[Row]:
    """Train one encoder of both views by InfoNCE on cosines; return what is measured at each of `STOPS`.

    Args:
        views: the pairs.
        seed: of the weights and the batches.
        config: batch size.
        steps: number of steps; 0: an untrained encoder, which is measured at the end only.
    """
    encoder = build_encoder("perceptron", seed)
    if not steps:
        return [{"stop": END, "reached": 1.0, "step": 0, "nats": None, **quality(encoder, views)}]
    critic = build_critic("cosine", OUTPUT, {"temperature": TEMPERATURE})
    towers = Towers(encoder, encoder, build_objective("infonce", critic))
    rows: list[Row] = []
    # The estimate of near pairs rises within a few steps, so it is read after each.
    size = {"steps": steps, "batch": config.batch, "seed": seed}
    for row in train_until(towers, views, NATS, **size, every=1, at_end=True):
        level = row.pop("until_nats")
        if level is not None and row["step"] == 0:
            row |= {"reached": 0.0, **dict.fromkeys(("step", "nats", *QUALITIES))}
        rows.append({"stop": END if level is None else f"{level:g} nats", **row})
    return rows


Chosen = tuple[Codes, npt.NDArray[np.float64]]
"""Pairs as numbers of members, (p, 2), and their distances, (p,), NaN if unknown."""


def choose(data: Homologs, view: str, rng: np.random.Generator) -> tuple[Chosen, Chosen]:
    """Return training pairs, at most `MOST`, and `EVALUATED` held-out pairs of a view of real families.

    Args:
        data: the homologs.
        view: a band such as `0.5:1`, `clan` (members of two families of a clan), `unrelated`, `orthologs` or `paralogs`.
        rng: random numbers.
    """
    found = []
    for held_out in (False, True):
        if view in (CLAN, UNRELATED):
            rows = _across(data, np.flatnonzero(data.is_held_out == held_out), view == CLAN, rng)
            distance = np.full(len(rows), math.nan)
        else:
            inside = np.flatnonzero(data.is_held_out[data.pairs[:, 0]] == held_out)
            if view in RELATED:
                inside = inside[_matched(data, inside, RELATED[view], rng)]
            else:
                low, high = (float(end) for end in view.split(":"))
                inside = inside[(data.distance[inside] >= low) & (data.distance[inside] < high)]
            inside = rng.permutation(inside)[:MOST]
            rows, distance = data.pairs[inside], data.distance[inside]
        if held_out and len(rows):
            picked = np.resize(rng.permutation(len(rows)), EVALUATED)
            rows, distance = rows[picked], distance[picked]
        found.append((rows, distance))
    return found[0], found[1]


def _across(data: Homologs, members: Codes, related: bool, rng: np.random.Generator) -> Codes:
    """Return random pairs of members of different families, of one clan or of different ones, (p, 2)."""
    first, second = rng.choice(members, (2, 400 * MOST)) if len(members) else np.zeros((2, 0), dtype=np.int64)
    fits = (data.clan[first] == data.clan[second]) == related
    fits &= data.family[first] != data.family[second]
    return rng.permutation(np.unique(np.stack([first, second], axis=1)[fits], axis=0))[:MOST]


def _matched(data: Homologs, inside: Codes, relation: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return places in `inside` of pairs of a relation: as many as of the other one, in each family and bin of distance."""
    kind = data.relation[inside]
    bins = np.stack([data.family[data.pairs[inside, 0]], np.floor(data.distance[inside] / MATCHED).astype(np.int64)], axis=1)
    _, code = np.unique(bins, axis=0, return_inverse=True)
    code = code.ravel()
    counts = [np.bincount(code[kind == one], minlength=code.max(initial=0) + 1) for one in RELATED.values()]
    most = np.minimum(*counts)
    own = rng.permutation(np.flatnonzero(kind == relation))
    order = own[np.argsort(code[own], kind="stable")]
    place = np.arange(len(order)) - np.searchsorted(code[order], code[order])
    return order[place < most[code[order]]]


def draw(table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
    """Draw quality against distance and against the estimate, and the estimate against distance."""
    figure, found = panels(3, width=3.8)
    by_distance, by_nats, estimate = found
    known = summary.filter(pl.col("accuracy").is_not_null())
    bands = known.filter(pl.col("view").is_in(bands_of(config))).sort("distance")
    for colour, stop in zip(COLOURS, STOPS, strict=False):
        name = f"after {config.steps} steps" if stop == END else f"at {stop}"
        curve(by_distance, bands.filter(pl.col("stop") == stop), "distance", "accuracy", colour, name)
    ended = bands.filter(pl.col("stop") == END)
    curve(by_nats, ended, "nats", "accuracy", COLOURS[0], "homologs, by band")
    for point in ended.to_dicts():
        at = (point["nats"], point["accuracy"])
        by_nats.annotate(point["view"], at, xytext=(4, 4), textcoords="offset points", fontsize=7, color=COLOURS[0])
    curve(estimate, ended, "distance", "nats", COLOURS[0], "homologs, by band")
    others = known.filter((pl.col("stop") == END) & ~pl.col("view").is_in(bands_of(config))).to_dicts()
    for colour, other in zip(COLOURS[4:], others, strict=False):
        if other["nats"] is None:
            for panel in (by_distance, by_nats):
                panel.axhline(other["accuracy"], color=colour, linewidth=1, linestyle="--", label=other["view"])
            continue
        by_nats.errorbar(
            other["nats"], other["accuracy"], xerr=errors([other], "nats"), yerr=errors([other], "accuracy"),
            color=colour, marker="s", markersize=4, linestyle="", elinewidth=0.9, label=other["view"],
        )  # fmt: skip
        if other["distance"] is not None:
            curve(by_distance, pl.DataFrame([other]), "distance", "accuracy", colour, other["view"], marker="s")
    estimate.axhline(math.log(EVALUATED), color=GREY, linewidth=0.8, linestyle="--")
    distance = "distance of the views, substitutions per site"
    label(by_distance, distance, "accuracy of a linear probe", "unseen families")
    label(by_nats, "estimate on held-out pairs, nats", "accuracy of a linear probe", f"after {config.steps} steps")
    label(estimate, distance, "estimate, nats", f"dashed: ceiling, log {EVALUATED}")
    legend(by_distance)
    legend(by_nats)
    return figure
