"""Tables of embeddings and labels, joined by id, and the interpretation of their columns."""

from __future__ import annotations

import logging
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phylocli.config.probe import ProbeConfig
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.columns import SAME_IDS, ColumnOptions, Taken
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.labels import read_label_table
from phylocli.probe.labels.matching import match_ids

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)


class NamedSource(NamedTuple):
    """A table or model with a name for the report; None uses the name of the file."""

    name: str | None
    source: Any


Source = PathLike | Embedding | EmbeddingTable | NamedSource
"""Source of embeddings."""


def parse_source(text: str) -> NamedSource:
    """Parse `NAME=PATH` or `PATH` from the command line."""
    name, mark, path = text.partition("=")
    if mark and path and "/" not in name and not Path(text).exists():
        return NamedSource(name, path)
    return NamedSource(None, text)


def many(given: Any) -> list[Any]:
    """Return a single value or a sequence of values as a list."""
    return list(given) if isinstance(given, list | tuple) and not isinstance(given, NamedSource) else [given]


@dataclass
class Tables:
    """The tables of embeddings of an evaluation.

    Attributes:
        embeddings: the embeddings, in the order given.
        taken: interpretation of the columns of each table, by the embedding's source.
    """

    embeddings: list[Embedding]
    taken: dict[str, list[Taken]]


def read_tables(items: SequenceOf[Source], options: ColumnOptions) -> Tables:
    """Read tables of embeddings.

    Raises:
        UsageError: a column named in `options` is in no table.
        BadInputError: a table cannot be read.
    """
    found, taken = [], {}
    for item in items:
        if isinstance(item, Embedding):
            found.append(item)
            continue
        name, source = item if isinstance(item, NamedSource) else (None, item)
        table = source if isinstance(source, EmbeddingTable) else read_embeddings(source, options)
        embedding = Embedding.of(table, name)
        found.append(embedding)
        taken[embedding.source] = table.taken
    return Tables(found, taken)


def common_items(frame: pl.DataFrame, embeddings: list[Embedding], sequences: dict[str, str] | None) -> pl.DataFrame:
    """Return the rows of the labels whose ids are in all embeddings; the number of others is logged.

    Raises:
        BadInputError: an embedding and the labels have no id in common, an item has no sequence, or fewer than two items are
            left.
    """
    import polars as pl

    if embeddings:
        frame = match_ids(frame, embeddings[0].ids, "the labels")
    for embedding in embeddings:
        known = set(embedding.ids)
        shared = frame["id"].is_in(list(known)).sum()
        if shared == 0:
            raise BadInputError(
                f"no id of {embedding.source} is in the labels",
                why=f"the embeddings have ids like {shorten(embedding.ids[0], 40)!r}, the labels like {frame['id'][0]!r}",
                fix=SAME_IDS,
            )
        if shared < len(known) or shared < frame.height:
            logger.info(
                f"{embedding.name}: {shared:,} of {len(known):,} embeddings have labels "
                f"({counted(frame.height, 'row')} of labels)"
            )
        frame = frame.filter(pl.col("id").is_in(list(known)))
    if sequences is not None:
        missing = frame.height - int(frame["id"].is_in(list(sequences)).sum())
        if missing:
            first = frame.filter(~pl.col("id").is_in(list(sequences)))["id"][0]
            raise BadInputError(
                f"{missing:,} of {frame.height:,} items have no sequence for the baselines, first {shorten(first)!r}",
                fix="give --sequences with all of them, or use --baselines none",
            )
    if frame.height < 2:
        raise BadInputError("fewer than two items have an embedding and labels", fix="check the ids of both tables")
    return frame


def explain_inputs(
    embeddings: Source | SequenceOf[Source],
    labels: PathLike | None,
    config: ProbeConfig | None = None,
    **options: Any,
) -> pl.DataFrame:
    """Return the interpretation of every column of the tables and the number of matching ids, without an evaluation.

    Args:
        embeddings: see `probe`.
        labels: see `probe`; None explains the embeddings only.
        config: the configuration; None uses the defaults.
        **options: fields of `ProbeConfig` that override the configuration.

    Returns:
        One row per column (or per group of similar columns): `table`, `column`, `taken_as`, `why`.
    """
    import polars as pl

    config = ProbeConfig.of(config, options)
    tables = read_tables(many(embeddings), config.column_options)
    rows: list[tuple[str, str, str, str]] = []
    for embedding in tables.embeddings:
        rows += [(embedding.source, *one) for one in tables.taken.get(embedding.source, [])]
        rows.append((embedding.source, "", "table", f"{len(embedding.ids):,} ids, {embedding.vectors.shape[1]:,} features"))
    taken = [one for account in tables.taken.values() for one in account]
    if labels is None:
        config.column_options.check_ids(taken)
    else:
        name = str(labels)
        frame, ids = read_label_table(labels, config.column_options)
        config.column_options.check_ids([ids, *taken])
        rows.append((name, *ids))
        if tables.embeddings:
            frame = match_ids(frame, tables.embeddings[0].ids, name)
        for embedding in tables.embeddings:
            known = set(embedding.ids)
            shared = int(frame["id"].is_in(list(known)).sum())
            rows.append((embedding.source, "", "matched", f"{shared:,} of {len(known):,} ids have a row in {name}"))
        items = common_items(frame, tables.embeddings, None) if tables.embeddings else frame
        split_by, resample_by = (g if isinstance(g, str) else None for g in (config.split_by, config.resample_by))
        data = Dataset.from_labels(
            items,
            name,
            columns=config.columns or None,
            split_column=config.split_column,
            split_by=split_by,
            resample_by=resample_by,
            options=config.column_options,
        )
        rows += [(name, *one) for one in data.taken]
        rows.append((name, "", "matched", f"{len(data):,} of {frame.height:,} ids have an embedding in every table"))
    return pl.DataFrame(rows, schema=["table", "column", "taken_as", "why"], orient="row")


def labelled(data: Dataset) -> str:
    """Return a one-line summary of the interpretation of the columns of a labels table."""
    found = []
    for role, columns in (
        ("classes", list(data.classes)),
        ("terms", list(data.terms)),
        ("quantities", list(data.values)),
        ("labels of residues", list(data.residue_labels)),
        ("ignored", [taken.column or "(no name)" for taken in data.taken if taken.role == "ignored"]),
    ):
        if columns:
            shown = ", ".join(columns[:8]) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
            found.append(f"{role}: {shown}")
    return "; ".join(found)
