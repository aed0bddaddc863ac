"""From a table of embeddings and labels to the file of the map."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from phylocli.config.map import MapConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.pictures import picture_format, save_figure
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, is_file, open_output, suffix_of
from phylocli.formats.tables.columns import SAME_IDS, ColumnOptions, Taken, is_index
from phylocli.probe.inputs.dataset import HIERARCHY
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.label_types import NO_LABELS, Column, read_column
from phylocli.probe.inputs.labels import labels_name, read_label_table
from phylocli.probe.labels.matching import match_ids
from phylocli.probe.map.coordinates import place_points, resolve_method
from phylocli.probe.map.page import MapPage, render_map
from phylocli.probe.map.picture import map_figure
from phylocli.statistics.sampling import subsample

logger = logging.getLogger(__name__)

PAGES = (".html", ".htm")
DETAILS = ("family_name", "family_title", "description", "protein", "gene", "species", "organism", "family", "clan")
"""Label columns that the page shows for each point and finds in its search box, besides the one that colours."""


def draw_map(
    embeddings: PathLike | Embedding | EmbeddingTable,
    output: PathLike,
    config: MapConfig | None = None,
    *,
    labels: PathLike | pl.DataFrame | None = None,
    **options: Any,
) -> MapPage:
    """Write a map of an embedding table: one interactive HTML file that works offline, or a picture.

    Args:
        embeddings: a table (see `read_embeddings`), or such an object.
        output: an HTML file (`.html`), or a picture (`.svg`, `.png`, `.pdf`).
        config: options; may also be given as keywords.
        labels: table, or polars frame, with a column of ids; ids without a row are drawn without a label.
        **options: fields of `MapConfig`.

    Returns:
        What the map shows.

    Raises:
        UsageError: an unknown projection or column, too small a limit, or an output in another format.
        BadInputError: tables that cannot be read, fewer than three embeddings, embeddings with the same direction, no id in
            common with the labels.
        MissingDependencyError: UMAP is requested and not installed.

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
    coloured, details = None, [""] * len(ids)
    if labels is not None:
        coloured, details = _label_column(labels, column, ids, options_of_columns, taken)
    if labels is None:
        options_of_columns.check_ids(taken)
    used = resolve_method(config.projection, len(rows))
    logger.debug(f"placing {len(rows):,} points by {used}")
    points, caption = place_points(table.vectors[rows], used, config.seed)
    if points is None:
        raise BadInputError(f"{table.source} cannot be mapped", why=caption, fix="choose another --projection")
    names, codes = _classes(coloured.texts) if coloured and coloured.texts is not None else ([], None)
    page = MapPage(
        title=config.title or table.name,
        source=Path(table.source).name or table.name,
        dimension=int(table.vectors.shape[1]),
        total=len(table.ids),
        method=caption,
        seed=config.seed,
        column=coloured.name if coloured else None,
        ids=ids,
        points=points,
        names=names,
        codes=codes,
        values=coloured.values if coloured else None,
        details=details,
    )
    if picture is not None:
        save_figure(map_figure(page), output)
    else:
        with open_output(output) as stream:
            stream.write(render_map(page).encode())
    return page


def _label_column(
    source: PathLike | pl.DataFrame, column: str | None, ids: list[str], options: ColumnOptions, taken: list[Taken]
) -> tuple[Column, list[str]]:
    """Return the column that colours the points, of these ids (classes, or a quantity), and what else is known of each.

    Raises:
        UsageError: no such column, or none that fits.
        BadInputError: no id in common.
    """
    name = labels_name(source)
    frame, ids_taken = read_label_table(source, options, more=DETAILS)
    options.check_ids([*taken, ids_taken])
    known = [c for c in frame.columns if c not in ("id", "split") and c.lower() not in NO_LABELS and not is_index(c)]
    if column is not None and column not in frame.columns:
        raise UsageError(f"{name} has no column {column!r}", fix=f"its columns are {', '.join(known)}")
    frame = match_ids(frame, ids, name)
    joined = pl.DataFrame({"id": ids}).join(frame, on="id", how="left", maintain_order="left")
    shared = int(pl.Series(ids).is_in(frame["id"].to_list()).sum())
    if shared == 0:
        raise BadInputError(
            f"no id of the embeddings is in {name}",
            why=f"the embeddings have ids like {shorten(ids[0], 40)!r}, the labels like {shorten(frame['id'][0], 40)!r}",
            fix=SAME_IDS,
        )
    if shared < len(ids):
        logger.info(f"{len(ids) - shared:,} of {len(ids):,} embeddings have no row in the labels")
    chosen = column or next((c for c in HIERARCHY if c in known), None) or next(iter(known), None)
    if chosen is None:
        raise UsageError(f"{name} has no label column", fix="add a column of labels beside the ids")
    found = read_column(joined[chosen], options, named=True)
    if found.terms is not None:
        member = found.terms.member.tolil().rows
        found.texts = [", ".join(found.terms.names[term] for term in terms) or None for terms in member]
    elif found.texts is None and found.values is None:
        raise UsageError(
            f"{name}: the column {chosen!r} cannot colour the points", why=found.why, fix="choose another with --column"
        )
    logger.info(f"{name}: the column {chosen!r} contains {found.role} ({found.why})")
    if chosen == "family" and found.texts is not None and "family_name" in joined.columns:
        titles = joined["family_name"].cast(pl.String).to_list()
        found.texts = [
            f"{title} ({text})" if title and text and title != text and ";" not in text else text
            for title, text in zip(titles, found.texts, strict=True)
        ]
    return found, _details(joined, chosen)


def _details(frame: pl.DataFrame, chosen: str) -> list[str]:
    """Return the known values of the columns of `DETAILS` for each row, one a line."""
    by_lower = {column.lower(): column for column in frame.columns}
    columns = [by_lower[name] for name in DETAILS if name in by_lower and by_lower[name] != chosen]
    texts = {column: frame[column].cast(pl.String).to_list() for column in columns}
    return [
        "\n".join(f"{column.replace('_', ' ')}: {values[row]}" for column, values in texts.items() if values[row])
        for row in range(frame.height)
    ]


def _classes(values: list[str | None]) -> tuple[list[str], np.ndarray]:
    """Return class names, the largest first, and the code of each item, −1 without one."""
    counts = Counter(value for value in values if value is not None)
    names = [name for name, _ in sorted(counts.items(), key=lambda row: (-row[1], row[0]))]
    code = {name: place for place, name in enumerate(names)}
    return names, np.array([-1 if value is None else code[value] for value in values], dtype=np.int64)
