"""The compared views: bands of branch distance, and other views at the mean distances of the bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phylocli import views
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import VIEWS
from phylocli.formats import Family
from phylocli.pairs import PairSampler
from phylocli.train.sweep import Variation

_DRAWN = 400
# Encoders have no dropout by default, and the two views would be equal; the rate is that of SimCSE.
_NEEDED = {"dropout": {"encoder.parameters.dropout": 0.1}}


@dataclass(frozen=True)
class Cell:
    """One view.

    Attributes:
        name: in the table and the figure: a band such as `0:0.25`, or a view, with its distance if it has one.
        kind: `phylogenetic`, or the name of the other view.
        distance: mean distance of the two views, substitutions per site; None if undefined.
        settings: of the training run, by dotted names.
    """

    name: str
    kind: str
    distance: float | None
    settings: dict[str, object]


def band_cells(bands: Sequence[tuple[float, float]], families: Sequence[Family]) -> list[Cell]:
    """Return a cell for each band of patristic distance, with the mean distance of its pairs over families.

    Raises:
        BadInputError: a band in which no family has a pair.
    """
    found = []
    for low, high in bands:
        settings = {"view.phylogenetic.min_dist": low, "view.phylogenetic.max_dist": high}
        distance = mean_distance(families, low, high)
        found.append(Cell(f"{low:g}:{high:g}", "phylogenetic", distance, {"view.name": "phylogenetic", **settings}))
    return found


def mean_distance(families: Sequence[Family], low: float, high: float) -> float:
    """Return the mean patristic distance of pairs in a band, averaged over the families that have any.

    Raises:
        BadInputError: no family has any.
    """
    means = []
    for family in families:
        sampler = PairSampler(family.require_tree())
        if sampler.count(low, high):
            means.append(float(sampler.draw(_DRAWN, low, high, np.random.default_rng(0))[2].mean()))
    if not means:
        raise BadInputError(
            f"no family has a pair at {low:g} to {high:g} substitutions per site", fix="choose other --bands"
        )
    return float(np.mean(means))


def view_cells(names: Sequence[str], distances: Sequence[float]) -> list[Cell]:
    """Return cells of other views: one per distance if the view has a distance parameter, else one.

    Args:
        names: of views other than `phylogenetic`.
        distances: mean distances of the bands, to which views with a distance are matched.

    Raises:
        UsageError: an unknown view, or one that does not make pairs.
    """
    found = []
    for name in dict.fromkeys(given.replace("_", "-") for given in names):
        if name == "phylogenetic":
            raise UsageError("the phylogenetic view is compared band by band", fix="name its bands with --bands")
        module = VIEWS.load(name)
        if module.KIND == "addition":
            raise UsageError(f"the view {name!r} makes no pairs", fix="see 'phylocli views' for sources and transforms")
        views.build(name)
        table = f"view.{name}"
        if name == "substitution":
            for value in dict.fromkeys(round(distance, 2) for distance in distances):
                settings = {"view.name": name, f"{table}.distance": value}
                found.append(Cell(f"{name} {value:g}", name, value, settings))
        else:
            fixed = 0.0 if module.DISTANCE == "0" else None
            found.append(Cell(name, name, fixed, {"view.name": name, **_NEEDED.get(name, {})}))
    return found


def as_variation(cells: Sequence[Cell], encoder: Mapping[str, object]) -> Variation:
    """Return the cells as the variation of a sweep.

    Args:
        cells: one per value.
        encoder: parameters of the encoder of all runs, which override those of a cell.
    """
    fixed = {f"encoder.parameters.{name}" for name in encoder}
    chosen = [{key: value for key, value in cell.settings.items() if key not in fixed} for cell in cells]
    return Variation("view", tuple(cell.name for cell in cells), tuple(chosen))
