"""Views: quality against the distance of the two homologs that are contrasted, at equal steps and at equal information."""

from __future__ import annotations

import itertools
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
FACTS = {"distance": COUNT, "pairs": COUNT, "held_out": COUNT, "families": COUNT}
VALUES = {**MEASURED, **FACTS}
DATA = "homologs"
OPTIONS = ("steps", "batch", "until_nats", "bands")
VERSION = 2
TEMPERATURE = 0.1
END = "end"
"""Where a run is measured besides the levels of the estimate: after all steps."""
LEVELS = (2.0, 3.0, 4.0)
"""Values of the estimate at which views are compared if `until_nats` names none."""
UNTRAINED, CLAN, UNRELATED = "untrained", "clan", "unrelated"
RELATED = {"orthologs": ORTHOLOG, "paralogs": PARALOG}
MOST = 6000
"""Maximum number of training pairs of a view."""
EVALUATED = 512
"""Maximum number of held-out pairs of a view; the ceiling of the estimate is at most log 512 = 6.2 nats."""
FEWEST = 40
"""Minimum number of training and of held-out pairs of a view."""
MATCHED = 0.25
"""Width of the bins of distance within which there are equally many orthologs and paralogs of each family."""


def cells(config: InfomaxConfig) -> list[Cell]:
    """Return no training, bands of distance, remote, unrelated, orthologous and paralogous pairs."""
    return [{"view": view} for view in (UNTRAINED, *bands_of(config), CLAN, UNRELATED, *RELATED)]


def bands_of(config: InfomaxConfig) -> list[str]:
    """Return the names of the bands."""
    return [f"{low:g}:{high:g}" for low, high in config.bands]


def stops_of(config: InfomaxConfig) -> list[str]:
    """Return the names of where a run is measured."""
    return [END, *(f"{level:g} nats" for level in config.until_nats or LEVELS)]


@seeded
def run(cell: Cell, seed: int, config: InfomaxConfig, data: Homologs) -> list[Row]:
    """Train, and measure where each level is reached and at the end; None where a view has too few pairs."""
    view, facts = str(cell["view"]), dict.fromkeys(FACTS)
    if view == UNTRAINED:
        views = Pairs((data.features[:1],) * 2, (data.features[:1],) * 2, data.unseen, data.seen)
        return [{**cell, **facts, **row} for row in contrasted(views, seed, config, steps=0)]
    most = (MOST, EVALUATED) if view in RELATED else equal_sizes(data, config)
    (train, distances), (held_out, _) = choose(data, view, np.random.default_rng(seed), most)
    if min(len(train), len(held_out)) < FEWEST:
        logger.warning(f"views: fewer than {FEWEST} pairs for {view}; not measured")
        missing = dict.fromkeys(VALUES)
        return [{**cell, "stop": stop, **missing} for stop in stops_of(config)]
    parts = [(data.features[rows[:, 0]], data.features[rows[:, 1]]) for rows in (train, held_out)]
    views = Pairs(parts[0], parts[1], data.unseen, data.seen, torch.from_numpy(data.clan[train]))
    mean = float(distances.mean()) if np.isfinite(distances).all() else None
    facts = {"distance": mean, "pairs": len(train), "held_out": len(held_out)}
    facts["families"] = len(np.unique(data.family[train]))
    return [{**cell, **facts, **row} for row in contrasted(views, seed, config, steps=config.steps)]


def contrasted(views: Pairs, seed: int, config: InfomaxConfig, *, steps: int) -> list[Row]:
    """Train one encoder of both views by InfoNCE on cosines; return what is measured at each of `stops_of(config)`.

    Args:
        views: the pairs.
        seed: of the weights and the batches.
        config: batch size, and levels of the estimate; one that the untrained encoder has is reached at step 0.
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
    for row in train_until(towers, views, config.until_nats or LEVELS, **size, every=1, at_end=True):
        level = row.pop("until_nats")
        rows.append({"stop": END if level is None else f"{level:g} nats", **row})
    return rows


Chosen = tuple[Codes, npt.NDArray[np.float64]]
"""Pairs as numbers of members, (p, 2), and their distances, (p,), NaN if unknown."""


def equal_sizes(data: Homologs, config: InfomaxConfig) -> tuple[int, int]:
    """Return the numbers of training and of held-out pairs of every band: those of the band that has fewest.

    Views then differ in distance rather than in number, and the estimates have one ceiling. Bands that are not measured,
    because they have fewer than `FEWEST` pairs, do not count.
    """
    out = data.is_held_out[data.pairs[:, 0]]
    inside = [(data.distance >= low) & (data.distance < high) for low, high in config.bands]
    counts = [(int((band & ~out).sum()), int((band & out).sum())) for band in inside]
    known = [count for count in counts if min(count) >= FEWEST]
    return min([MOST, *(train for train, _ in known)]), min([EVALUATED, *(held_out for _, held_out in known)])


def choose(
    data: Homologs, view: str, rng: np.random.Generator, most: tuple[int, int] = (MOST, EVALUATED)
) -> tuple[Chosen, Chosen]:
    """Return different training and held-out pairs of a view of real families.

    Args:
        data: the homologs.
        view: a band such as `0.5:1`, `clan` (members of two families of a clan), `unrelated`, `orthologs` or `paralogs`.
        rng: random numbers.
        most: maximum numbers of training and held-out pairs.
    """
    found = []
    for held_out, size in zip((False, True), most, strict=True):
        if view in (CLAN, UNRELATED):
            rows = _across(data, np.flatnonzero(data.is_held_out == held_out), view == CLAN, rng)[:size]
            distance = np.full(len(rows), math.nan)
        else:
            inside = np.flatnonzero(data.is_held_out[data.pairs[:, 0]] == held_out)
            if view in RELATED:
                inside = inside[_matched(data, inside, RELATED[view], rng)]
            else:
                low, high = (float(end) for end in view.split(":"))
                inside = inside[(data.distance[inside] >= low) & (data.distance[inside] < high)]
            inside = rng.permutation(inside)[:size]
            rows, distance = data.pairs[inside], data.distance[inside]
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
    for colour, stop in zip(itertools.cycle(COLOURS), stops_of(config), strict=False):
        name = f"after {config.steps} steps" if stop == END else f"at {stop}"
        part = bands.filter((pl.col("stop") == stop) & (pl.col("step") > 0))  # others show the untrained encoder
        curve(by_distance, part, "distance", "accuracy", colour, name)
    ended = bands.filter(pl.col("stop") == END)
    curve(by_nats, ended, "nats", "accuracy", COLOURS[0], "homologs, by band")
    for point in ended.to_dicts():
        at = (point["nats"], point["accuracy"])
        by_nats.annotate(point["view"], at, xytext=(4, 4), textcoords="offset points", fontsize=7, color=COLOURS[0])
    curve(estimate, ended, "distance", "nats", COLOURS[0], "homologs, by band")
    others = known.filter((pl.col("stop") == END) & ~pl.col("view").is_in(bands_of(config))).to_dicts()
    colours = dict(zip((UNTRAINED, CLAN, UNRELATED, *RELATED), COLOURS[4:], strict=True))
    for other in others:
        colour = colours[other["view"]]
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
    held_out = int(ended["held_out"][0]) if len(ended) else EVALUATED
    estimate.axhline(math.log(held_out), color=GREY, linewidth=0.8, linestyle="--")
    distance = "distance of the views, substitutions per site"
    label(by_distance, distance, "accuracy of a linear probe", "unseen families")
    label(by_nats, "estimate on held-out pairs, nats", "accuracy of a linear probe", f"after {config.steps} steps")
    label(estimate, distance, "estimate, nats", f"dashed: ceiling, log {held_out}")
    legend(by_distance)
    legend(by_nats)
    return figure
