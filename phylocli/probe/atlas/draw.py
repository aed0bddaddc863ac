"""From a table of embeddings and labels to the file of the map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from phylocli import console
from phylocli.errors import BadInputError, UsageError
from phylocli.formats.fasta import shorten
from phylocli.formats.streams import PathLike, open_output
from phylocli.probe.atlas.page import render_map
from phylocli.probe.coordinates import coordinates, describe_method, resolve_method
from phylocli.probe.dataset import HIERARCHY, read_labels
from phylocli.probe.embeddings import Embedding, read_embeddings
from phylocli.probe.tasks._contract import subsample

LIMIT = 200_000
"""Points drawn at most: a browser pans through so many without delay."""
MAX_KINDS = 12
"""Whole numbers of more kinds than this are a quantity, not classes."""


def draw_map(
    embeddings: PathLike | Embedding,
    output: PathLike,
    *,
    labels: PathLike | None = None,
    column: str | None = None,
    method: str = "auto",
    limit: int = LIMIT,
    title: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write an interactive map of an embedding table: one HTML file, works offline.

    Args:
        embeddings: a table (see `read_embeddings`), or an `Embedding`.
        output: the HTML file.
        labels: table with a column of ids; ids without a row are drawn without a label.
        column: of the labels, that colours the points; None takes a level of the hierarchy, else the first of use.
        method: `auto`, `umap`, `tsne` or `pca` (see `coordinates`).
        limit: points at most; beyond, so many are drawn at random, and the page says so.
        title: of the page; None takes the table's name.
        seed: of the projection and the sample.

    Returns:
        What the page holds (see `render_map`).

    Raises:
        UsageError: no such method or column, or too small a limit.
        BadInputError: tables that cannot be read, fewer than three embeddings, no id in common with the labels.
        MissingDependencyError: UMAP is asked for and not installed.
    """
    if limit < 3:
        raise UsageError(f"a map of {limit} points shows nothing", fix="give --limit 3 or more")
    table = embeddings if isinstance(embeddings, Embedding) else read_embeddings(embeddings)
    if len(table.ids) < 3:
        raise BadInputError(f"{table.source} holds {len(table.ids)} embeddings: too few for a map")
    if column is not None and labels is None:
        raise UsageError("a column is one of the labels, and none are given", fix="give --labels TABLE")
    rows = subsample(np.arange(len(table.ids)), limit, seed)
    if len(rows) < len(table.ids):
        console.info(f"{len(rows):,} of {len(table.ids):,} embeddings are drawn, at random")
    ids = [table.ids[row] for row in rows]
    named, values = _label_column(labels, column, ids) if labels is not None else (None, None)
    used = resolve_method(method, len(rows))
    console.detail(f"placing {len(rows):,} points by {used}")
    points = coordinates(table.unit_rows()[rows], used, seed)
    names, codes = _classes(values) if values is not None and values.dtype == pl.String else ([], None)
    page = {
        "title": title or table.name,
        "source": Path(table.source).name or table.name,
        "dimension": int(table.vectors.shape[1]),
        "total": len(table.ids),
        "method": describe_method(used, len(rows)),
        "seed": seed,
        "column": named,
        "ids": ids,
        "points": points,
        "names": names,
        "codes": codes,
        "values": None if values is None or codes is not None else values.to_numpy().astype(np.float64),
    }
    with open_output(output) as stream:
        stream.write(render_map(page).encode())
    return page


def _label_column(source: PathLike, column: str | None, ids: list[str]) -> tuple[str, pl.Series]:
    """Return the name of the column that colours the points, and its value of each: texts, or numbers with NaN.

    Raises:
        UsageError: no such column, or none of use.
        BadInputError: no id in common.
    """
    frame = read_labels(source)
    known = [c for c in frame.columns if c not in ("id", "sequence", "split")]
    if column is not None and column not in frame.columns:
        raise UsageError(f"{source} has no column {column!r}", fix=f"its columns are {', '.join(known)}")
    joined = pl.DataFrame({"id": ids}).join(frame, on="id", how="left", maintain_order="left")
    shared = int(pl.Series(ids).is_in(frame["id"].to_list()).sum())
    if shared == 0:
        raise BadInputError(
            f"no id of the embeddings is in {source}",
            why=f"the embeddings have ids like {shorten(ids[0], 40)!r}, the labels like {shorten(frame['id'][0], 40)!r}",
        )
    if shared < len(ids):
        console.info(f"{len(ids) - shared:,} of {len(ids):,} embeddings have no row in the labels")
    chosen = column or next((c for c in HIERARCHY if c in known), None) or next(iter(known), None)
    if chosen is None:
        raise UsageError(f"{source} has no column of labels")
    series = joined[chosen]
    numbers = series.dtype.is_numeric() and series.dtype != pl.Boolean
    if numbers and (series.dtype.is_float() or series.n_unique() > MAX_KINDS):
        return chosen, series.cast(pl.Float64).fill_null(float("nan"))
    if isinstance(series.dtype, (pl.List, pl.Array)):
        series = series.cast(pl.List(pl.String)).list.join(", ")
    return chosen, series.cast(pl.String).fill_null("")


def _classes(values: pl.Series) -> tuple[list[str], np.ndarray]:
    """Return class names, the largest first, and the code of each item, −1 without one."""
    counts = values.filter(values != "").value_counts(sort=False).rows()
    names = [name for name, _ in sorted(counts, key=lambda row: (-row[1], row[0]))]
    code = {name: place for place, name in enumerate(names)}
    return names, np.array([code.get(value, -1) for value in values.to_list()], dtype=np.int64)
