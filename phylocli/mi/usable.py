"""Usable information about a class, by observer, in nats: of embeddings, and of embeddings beyond others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.config.mi_usable import MiUsableConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import parse_format, pointwise_schema, require_columns, usable_schema, write_table
from phylocli.mi.write import format_for, write_rows
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.labels import read_label_table
from phylocli.probe.labels.matching import match_ids
from phylocli.probe.tasks.usable_information import Usable, levels, usable_information
from phylocli.statistics.bootstrap import interval, mean_estimate, replicate

logger = logging.getLogger(__name__)


@dataclass
class UsableInformation:
    """Usable information of one observer.

    Attributes:
        observer: `linear`, `mlp` or `knn`.
        given: name of the table that is given; None: none.
        usable_nats, low, high: on held-out items, with a 95 % bootstrap interval.
        entropy_nats: of the class frequencies, the most that there is without a given table.
        n, groups: number of items, and of groups among them (None: items are independent).
        items: pointwise information of each id.
    """

    observer: str
    given: str | None
    usable_nats: float
    low: float
    high: float
    entropy_nats: float
    n: int
    groups: int | None
    items: dict[str, float] = field(default_factory=dict, repr=False)


def usable(
    table: PathLike,
    labels: PathLike,
    config: MiUsableConfig | None = None,
    *,
    given: PathLike | None = None,
    **options: Any,
) -> Iterator[UsableInformation]:
    """Yield the usable information of embeddings about a label, for each observer.

    An item is scored by a predictor that was fitted on others: each item once in the five folds of `phylocli probe`, those
    of one fold if there are more than 25,000, or those of the test part if the labels have a split. The log says which.

    Args:
        table: embeddings.
        labels: a table with ids and the column of classes.
        config: options; may also be given as keywords.
        given: other embeddings; the information is then what the first table adds to these.
        **options: fields of `MiUsableConfig`.

    Raises:
        UsageError: no column is named, or it does not contain classes.
        BadInputError: no common id, or too few items of each class.
    """
    config = MiUsableConfig.of(config, options)
    data, vectors, others = _read(table, labels, given, config)
    column, name = str(config.column), None if given is None else display_name(given)
    for number, observer in enumerate(config.observers):
        found, said = usable_information(data, vectors, column, observer, config.seed, others)
        if number == 0:
            logger.info(f"{len(found.rows):,} of {counted(len(data), 'item')} scored: {said}")
        estimate = mean_estimate("nats", found.nats, found.rows)
        groups = data.groups(found.rows)
        low, high = interval(estimate, replicate(estimate, config.replicates, config.seed, groups))
        yield UsableInformation(
            observer,
            name,
            estimate.value,
            low,
            high,
            float(found.surprise.mean()),
            estimate.n,
            None if groups is None else len(np.unique(groups)),
            _by_id(data, found),
        )


def run_usable(
    table: PathLike,
    labels: PathLike,
    output: PathLike | None = None,
    config: MiUsableConfig = MiUsableConfig(),
    *,
    given: PathLike | None = None,
    pointwise: PathLike | None = None,
    format: str | None = None,
) -> list[UsableInformation]:
    """Measure, and write each row as soon as it is computed; see `usable`.

    Args:
        table, labels, config, given: as for `usable`.
        output: path of the rows; `-`/None is standard output.
        pointwise: path of a table of the information of each item.
        format: `json`, `tsv`, `csv`, `parquet` or `arrow`; None takes it from the suffix.
    """
    import polars as pl

    format_for(output, format)
    if pointwise is not None:
        parse_format(None, pointwise)
    found: list[UsableInformation] = []

    def kept() -> Iterator[dict[str, object]]:
        every = usable(table, labels, config, given=given)
        for row in console.progress(every, "measuring", len(config.observers), "observers"):
            found.append(row)
            beyond = f" beyond {row.given}" if row.given else f" of {row.entropy_nats:.2f}"
            logger.info(f"{row.observer}: {row.usable_nats:.2f} nats{beyond} ({row.low:.2f} to {row.high:.2f})")
            yield {name: value for name, value in asdict(row).items() if name != "items"}

    write_rows(kept(), output, usable_schema(), format)
    if pointwise is not None:
        rows = [(name, row.observer, value) for row in found for name, value in row.items.items()]
        write_table(pl.DataFrame(rows, schema=pointwise_schema().names, orient="row"), pointwise, pointwise_schema())
    parameters = {**config.to_parameters(), "given": None if given is None else str(given)}
    write_sidecar(output, "mi usable", parameters, config.seed)
    return found


def _by_id(data: Dataset, found: Usable) -> dict[str, float]:
    order = np.argsort(found.rows, kind="stable")
    return {data.ids[row]: float(found.nats[at]) for row, at in zip(found.rows[order], order, strict=True)}


def _read(
    table: PathLike, labels: PathLike, given: PathLike | None, config: MiUsableConfig
) -> tuple[Dataset, npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Return the labelled items, their vectors and the given vectors."""
    columns, column, source = config.column_options, config.column, display_name(labels)
    if column is None:
        raise UsageError(f"no column of {source} is named", fix="name the column of classes with --column")
    first = read_embeddings(table, columns)
    second = None if given is None else read_embeddings(given, columns)
    frame, _ = read_label_table(labels, columns)
    frame = match_ids(frame, first.ids, source)
    wanted = list(dict.fromkeys(name for name in (column, config.group_by, "split") if name in (*frame.columns, column)))
    require_columns(frame, [name for name in wanted if name], source, "labels")
    tables = {display_name(table): first} | ({} if given is None or second is None else {display_name(given): second})
    frame = _known(frame.select("id", *wanted), tables, source)
    data = Dataset.from_labels(
        frame, source, columns=[column], split_by=config.group_by, resample_by=config.group_by, options=columns.among(wanted)
    )
    if column not in data.classes:
        raise UsageError(
            f"{source}: the column {column!r} does not contain classes",
            why=data.interpretation_of(column),
            fix="choose another, or read it by --classes",
        )
    if column not in levels(data):
        raise BadInputError(
            f"{source}: {column!r} has fewer than two classes with enough items for five folds",
            fix="give more items of each class, or a column 'split'",
        )
    logger.info(f"{counted(len(data), 'item')} with labels of {counted(len(data.class_names[column]), 'class')}")
    return data, first.vectors_for(data.ids), None if second is None else second.vectors_for(data.ids)


def _known(frame: Any, tables: dict[str, EmbeddingTable], source: str) -> Any:
    """Return the rows of the labels that every table has.

    Raises:
        BadInputError: there are none.
    """
    import polars as pl

    found = frame
    for number, (name, table) in enumerate(tables.items()):
        before, found = found, found.filter(pl.col("id").is_in(table.ids))
        if not found.height:
            others = [source, *list(tables)[:number]]
            raise BadInputError(
                f"{name} and {' with '.join(others)} have no id in common",
                fix="all must use the same ids; --id-column names the column of ids",
            )
        if number and found.height < before.height:
            logger.warning(
                f"{before.height - found.height:,} of {counted(before.height, 'labelled vector')} are not in {name} and are "
                "left out"
            )
        elif not number and found.height < len(table.ids):
            unlabelled = len(table.ids) - found.height
            logger.warning(f"{unlabelled:,} of {counted(len(table.ids), 'vector')} have no label and are left out")
    return found
