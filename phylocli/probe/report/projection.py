"""The maps of the report: two-dimensional projections of up to two embeddings."""

from __future__ import annotations

import logging

import numpy as np

from phylocli.probe.inputs.dataset import HIERARCHY, Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.map.coordinates import check_projection, place_points, resolve_method
from phylocli.probe.report.data import Projection
from phylocli.statistics.sampling import subsample

logger = logging.getLogger(__name__)

MAX_POINTS = 1_500
MAX_COLOURS = 10


def colour_column(data: Dataset) -> str | None:
    """Return the column that colours the map.

    This is the finest level of the hierarchy whose ten largest classes contain at least half of the items, or the first
    column if there is no hierarchy.
    """
    known = [c for c in HIERARCHY if c in data.classes]
    if known:
        rows = data.evaluated_rows()

        for column in known:
            codes = data.classes[column][rows]
            counts = np.sort(np.bincount(codes[codes >= 0], minlength=1))[::-1]
            if counts[:MAX_COLOURS].sum() >= 0.5 * len(rows):
                return column
        if "class" in data.classes:
            return "class"
        return known[-1]
    return next(iter(data.classes), next(iter(data.values), None))


def project(data: Dataset, embeddings: list[Embedding], method: str, seed: int) -> list[Projection]:
    """Return the maps of the first embedding and, if there are others, of one of these.

    Args:
        data: the items, of which at most `MAX_POINTS` scored ones are drawn.
        embeddings: the embeddings, in the order of the report.
        method: one of `coordinates.METHODS`, or `none`.
        seed: random seed of the subset and the projection.

    Raises:
        UsageError: unknown method.
    """
    check_projection(method)
    rows = data.evaluated_rows()
    column = colour_column(data)
    if method == "none" or len(rows) < 8:
        return []
    names: list[str] = []
    quantity: list[float] | None = None
    codes = np.full(len(data), -1, dtype=np.int64)
    labels = [""] * len(data)
    if column is not None and column in data.classes:
        all_codes = data.classes[column]
        counts = np.bincount(all_codes[rows][all_codes[rows] >= 0], minlength=len(data.class_names[column]))
        largest = [int(c) for c in np.argsort(-counts, kind="stable")[:MAX_COLOURS] if counts[c] > 0]
        names = [data.class_names[column][c] for c in largest]
        for place, code in enumerate(largest):
            codes[all_codes == code] = place
        labels = [data.class_names[column][c] if c >= 0 else "" for c in all_codes]
        # Prefer items of the classes in the legend, so that grey points do not dominate.
        shown = rows[codes[rows] >= 0]
        rest = rows[codes[rows] < 0]
        room = max(MAX_POINTS // 3, MAX_POINTS - len(shown))
        rest = subsample(rest, room, seed)
        rows = np.sort(np.concatenate([subsample(shown, MAX_POINTS - len(rest), seed), rest]))
    else:
        rows = subsample(rows, MAX_POINTS, seed)
        if column is not None:
            values = data.values[column]
            labels = [f"{v:.4g}" for v in values]
            order = np.argsort(np.argsort(np.nan_to_num(values[rows], nan=np.nanmedian(values))))
            quantity = [round(float(v), 3) for v in order / max(1, len(rows) - 1)]
    chosen = [embeddings[0]]
    others = [e for e in embeddings[1:] if e.search is None]
    if others:
        # Another model is a more informative comparison than a baseline.
        chosen.append(next((e for e in others if not e.baseline), others[0]))
    maps: list[Projection] = []
    used = resolve_method(method, len(rows))
    for embedding in chosen:
        points, said = place_points(embedding.vectors[rows], used, seed)
        if points is None:
            logger.warning(f"no map of {embedding.name}: {said}")
            continue
        x, y = points.T
        maps.append(
            Projection(
                embedding=embedding.name,
                method=said,
                column=column,
                names=names,
                x=[round(float(v), 4) for v in x],
                y=[round(float(v), 4) for v in y],
                code=[int(codes[r]) for r in rows],
                quantity=quantity,
                id=[data.ids[r] for r in rows],
                label=[labels[r] for r in rows],
            )
        )
    return maps
