"""`phylocli labels`: a labels table from one or several sources."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING, Any

from phylocli.config.labels import MakeLabelsConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_sequences
from phylocli.formats.embeddings import read_embeddings
from phylocli.formats.input_formats import SEQUENCE_FORMATS, names_of, sniff_file
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import NotATableError, TableFormat, write_table
from phylocli.formats.tables.columns import SAME_IDS
from phylocli.probe.labels.collected import SEQUENCE, Labels
from phylocli.probe.labels.matching import match_ids
from phylocli.probe.labels.sources import read_source
from phylocli.probe.labels.tables import with_ids

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)


def make_labels(
    sources: PathLike | Iterable[PathLike | None] | None,
    config: MakeLabelsConfig | None = None,
    *,
    ids: PathLike | SequenceOf[str] | None = None,
    **options: Any,
) -> pl.DataFrame:
    """Return a table of labels with a column `id` and text columns, null where unknown.

    Args:
        sources: one or several sources for `read_source`; later ones are joined to the ids of the first.
        config: the configuration; None uses the defaults.
        ids: ids, or a file of sequences or embeddings with ids, to which the labels are matched (see `match_ids`); None uses
            the ids of the first source.
        options: fields of `MakeLabelsConfig` that override the configuration.

    Raises:
        BadInputError: a source cannot be read or contains no labels, or no id is common.
        UsageError: a requested column is in no source, or a column is in two.

    Examples:
        >>> labels = phylocli.make_labels("examples/families.sto")
        >>> labels.columns, labels.height
        (['id', 'family', 'clan', 'family_name'], 822)
    """
    config = MakeLabelsConfig.of(config, options)
    listed: list[Any] = list(sources) if isinstance(sources, list | tuple) else [sources]
    read = [(display_name(source), _labels_of(source, config)) for source in listed]
    for column in config.columns:
        if not any(column in labels.frame.columns for _, labels in read):
            known = {c: None for _, labels in read for c in labels.frame.columns if c not in ("id", SEQUENCE)}
            raise UsageError(f"no source has a column {column!r}", fix=f"the columns are {', '.join(known)}")
    wanted = None if ids is None else _ids_of(ids)
    table: pl.DataFrame | None = None
    for name, labels in read:
        chosen = [column for column in config.columns if column in labels.frame.columns]
        if config.columns and not chosen:
            continue
        part = labels.select(chosen, name)
        if not config.columns:
            part = part.with_columns(labels.frame.get_column(column) for column in labels.described_by(part))
        target = wanted if wanted is not None else table["id"].to_list() if table is not None else None
        if target is not None:
            part = match_ids(part, target, name)
        if table is None:
            table = part if wanted is None else _only(part, wanted, name)
            continue
        twice = next((column for column in part.columns[1:] if column in table.columns), None)
        if twice is not None:
            raise UsageError(
                f"two sources have a column {twice!r}, the second is {name}", fix="choose columns with --columns"
            )
        table = table.join(part, on="id", how="left", maintain_order="left")
    assert table is not None
    return table


def write_labels(
    sources: PathLike | Iterable[PathLike | None] | None,
    output: PathLike | None = None,
    config: MakeLabelsConfig | None = None,
    *,
    ids: PathLike | SequenceOf[str] | None = None,
    format: TableFormat | None = None,
    **options: Any,
) -> pl.DataFrame:
    """Write the table of `make_labels`, and return it.

    Args:
        sources: see `make_labels`.
        output: path of the table; `-` or None is standard output.
        config, ids: see `make_labels`.
        format: `tsv`, `csv`, `parquet` or `arrow`; None determines it from the suffix.
        options: fields of `MakeLabelsConfig` that override the configuration.

    Examples:
        >>> labels = phylocli.write_labels("examples/families.sto", "labels.tsv", columns=["family_name"])
        >>> labels.row(0)
        ('LAR_DROME/418-503', 'fn3')
    """
    import pyarrow as pa

    config = MakeLabelsConfig.of(config, options)
    table = make_labels(sources, config, ids=ids)
    write_table(table, output, pa.schema([(column, pa.string()) for column in table.columns]), format)
    write_sidecar(output, "labels", config.to_parameters())
    for column in table.columns[1:]:
        known = table[column].alias("").drop_nulls()  # polars takes names such as ^x$ for patterns
        kinds = known.str.split(";").explode().n_unique()
        logger.info(
            f"{column}: {kinds:,} {'value' if kinds == 1 else 'values'}, known for {len(known):,} of {table.height:,} ids"
        )
    return table


def _labels_of(source: PathLike | None, config: MakeLabelsConfig) -> Labels:
    found = read_source(source, config)
    if isinstance(found, Labels):
        return found
    import polars as pl

    frame, _ = with_ids(found, display_name(source))
    listed = [c for c, kind in frame.schema.items() if kind == pl.List(pl.String)]
    nested = [c for c, kind in frame.schema.items() if kind.is_nested() and c not in listed]
    if nested:
        logger.info(f"{display_name(source)}: skipping {', '.join(nested)}: vectors are not labels")
    texts = pl.DataFrame(
        column.alias("").list.join(";", ignore_nulls=True).alias(column.name)
        if column.name in listed
        else column.cast(pl.String, strict=False)
        for column in frame
        if column.name not in nested
    )
    if texts.width < 2:
        raise BadInputError(f"{display_name(source)} has no column of labels", fix="give a table with one")
    return Labels(texts, tuple(c for c in texts.columns if c not in ("id", SEQUENCE)), "a table")


def _ids_of(given: PathLike | SequenceOf[str]) -> list[str]:
    if isinstance(given, list | tuple):
        return list(given)
    source: Any = given
    if sniff_file(source).holds == "sequences":
        return [sequence.id for sequence in read_sequences(source, on_duplicate="keep-first", report=False)]
    try:
        return list(read_embeddings(source).ids)
    except NotATableError as error:
        error.fix = f"give sequences ({SEQUENCE_FORMATS}), or a table of embeddings ({names_of('table', 'vectors')})"
        raise


def _only(part: pl.DataFrame, wanted: list[str], name: str) -> pl.DataFrame:
    """Return the rows of the requested ids, in their order.

    Raises:
        BadInputError: none of them has labels.
    """
    import polars as pl

    found = pl.DataFrame({"id": wanted}, schema={"id": pl.String}).join(part, on="id", how="inner", maintain_order="left")
    if not found.height:
        raise BadInputError(
            f"no id has a label in {name}",
            why=f"ids are like {shorten(wanted[0], 40)!r}, but those of the labels are like {shorten(part['id'][0], 40)!r}",
            fix=SAME_IDS,
        )
    if found.height < len(wanted):
        logger.info(f"{len(wanted) - found.height:,} of {len(wanted):,} ids have no row in {name}")
    return found
