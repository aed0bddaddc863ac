"""Drawing of a map from a table of embeddings and labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from phylocli.config.map import MapConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.pictures import picture_format, save_figure
from phylocli.formats.streams import PathLike, is_file, open_output, suffix_of
from phylocli.formats.tables.columns import Taken
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.map.coordinates import place_points, resolve_method
from phylocli.probe.map.labels import read_point_labels
from phylocli.probe.map.page import MapPage, render_map
from phylocli.probe.map.picture import map_figure
from phylocli.statistics.sampling import subsample

logger = logging.getLogger(__name__)

PAGES = (".html", ".htm")


def draw_map(
    embeddings: PathLike | Embedding | EmbeddingTable,
    output: PathLike,
    config: MapConfig | None = None,
    *,
    labels: PathLike | pl.DataFrame | None = None,
    **options: Any,
) -> MapPage:
    """Write a two-dimensional map of an embedding table: an interactive HTML file that works offline, or a picture.

    Args:
        embeddings: an embedding table, its path (see `read_embeddings`), or an `Embedding`.
        output: an HTML file (`.html`), or a picture (`.svg`, `.png`, `.pdf`).
        config: the configuration; None uses the defaults.
        labels: a table or polars frame with a column of ids; points whose id has no row are drawn without a label.
        **options: fields of `MapConfig` that override the configuration.

    Returns:
        The content of the map.

    Raises:
        UsageError: unknown projection or column, the limit is too small, or the output has another suffix.
        BadInputError: a table cannot be read, there are fewer than three embeddings, all embeddings have the same direction,
            or no id is in the labels.
        MissingDependencyError: UMAP is requested but not installed.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> page = phylocli.draw_map(table, "globins.html", projection="pca")
    """
    config = MapConfig.of(config, options)
    picture = picture_format(output, *PAGES) if is_file(output) and suffix_of(output) else None
    options_of_columns, limit, column = config.column_options, config.limit, config.column
    taken: list[Taken] = []
    if isinstance(embeddings, Embedding):
        table = embeddings
    else:
        read = embeddings if isinstance(embeddings, EmbeddingTable) else read_embeddings(embeddings, options_of_columns)
        table, taken = Embedding.of(read), read.taken
    if len(table.ids) < 3:
        raise BadInputError(
            f"{table.source} has {counted(len(table.ids), 'embedding')}; a map needs at least three",
            fix="add sequences, and embed them",
        )
    if column is not None and labels is None:
        raise UsageError("--column names a label column, but no labels are given", fix="give --labels TABLE")
    rows = subsample(np.arange(len(table.ids)), limit, config.seed)
    if len(rows) < len(table.ids):
        logger.info(f"drawing {len(rows):,} of {len(table.ids):,} embeddings, a random subset")
    ids = [table.ids[row] for row in rows]
    known = None if labels is None else read_point_labels(labels, ids, column, options_of_columns, taken)
    if labels is None:
        options_of_columns.check_ids(taken)
    used = resolve_method(config.projection, len(rows))
    logger.debug(f"placing {len(rows):,} points by {used}")
    points, caption = place_points(table.vectors[rows], used, config.seed)
    if points is None:
        raise BadInputError(f"{table.source} cannot be mapped", why=caption, fix="choose another --projection")
    page = MapPage.of(
        ids,
        points,
        known,
        title=config.title or table.name,
        source=Path(table.source).name or table.name,
        dimension=int(table.vectors.shape[1]),
        total=len(table.ids),
        method=caption,
        seed=config.seed,
    )
    if picture is not None:
        save_figure(map_figure(page), output)
    else:
        with open_output(output) as stream:
            stream.write(render_map(page).encode())
    return page
