"""Labels of the points of a map: the column that colours them, and details such as names, descriptions and species."""

from __future__ import annotations

import logging
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.columns import SAME_IDS, ColumnOptions, Taken, is_index
from phylocli.probe.inputs.dataset import HIERARCHY
from phylocli.probe.inputs.label_types import NO_LABELS, Column, read_column
from phylocli.probe.inputs.labels import labels_name, read_label_table
from phylocli.probe.labels.matching import match_ids

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

DETAILS = ("family_name", "family_title", "description", "protein", "gene", "species", "organism", "family", "clan")
"""Label columns that are shown for each point and can be searched, in addition to the column that colours the points."""


@dataclass(frozen=True)
class PointLabels:
    """Labels of n points.

    Attributes:
        name: name of the column that colours the points.
        texts: class of each point, (n,), None where unknown; None for a quantity.
        values: quantity of each point, (n,), NaN where unknown; None for classes.
        details: the columns of `DETAILS` that are in the table, as text, (n,) each, None where unknown.
    """

    name: str
    texts: list[str | None] | None
    values: npt.NDArray[np.float64] | None
    details: dict[str, list[str | None]]

    def take(self, rows: npt.NDArray[np.int64]) -> PointLabels:
        """Return the labels of some points, in the order given."""
        return replace(
            self,
            texts=None if self.texts is None else [self.texts[row] for row in rows],
            values=None if self.values is None else self.values[rows],
            details={name: [values[row] for row in rows] for name, values in self.details.items()},
        )

    def lines(self) -> list[str]:
        """Return the known details of each point, one per line; may be empty."""
        named = [(name.replace("_", " "), values) for name, values in self.details.items()]
        count = len(self.texts) if self.texts is not None else len(self.values) if self.values is not None else 0
        return ["\n".join(f"{name}: {values[row]}" for name, values in named if values[row]) for row in range(count)]


def read_point_labels(
    source: PathLike | pl.DataFrame,
    ids: SequenceOf[str],
    column: str | None = None,
    options: ColumnOptions = ColumnOptions(),
    taken: SequenceOf[Taken] = (),
    level: int = logging.INFO,
) -> PointLabels:
    """Read the labels of the points of a map.

    Args:
        source: a labels table, or another source that `probe.labels` converts to one; ids without a row are unlabelled.
        ids: id of each point.
        column: the column that colours the points; None uses a level of the hierarchy, or else the first suitable column.
        options: the user's options for the interpretation of columns.
        taken: interpretation of the columns of the embeddings, checked together with those of the labels.
        level: of messages; `logging.DEBUG` for labels that the user has not named as such.

    Raises:
        UsageError: the column does not exist or is unsuitable, or no column is suitable.
        BadInputError: no id is in the labels.
    """
    import polars as pl

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
        logger.log(level, f"{len(ids) - shared:,} of {len(ids):,} embeddings have no row in {name}")
    found, texts = _colouring(joined, column, known, options, name)
    chosen = found.name
    logger.log(level, f"{name}: the column {chosen!r} contains {found.role} ({found.why})")
    if chosen == "family" and texts is not None and "family_name" in joined.columns:
        titles = joined["family_name"].cast(pl.String).to_list()
        texts = [
            f"{title} ({text})" if title and text and title != text and ";" not in text else text
            for title, text in zip(titles, texts, strict=True)
        ]
    return PointLabels(chosen, texts, found.values, _details(joined, chosen))


def _colouring(
    frame: pl.DataFrame, column: str | None, known: list[str], options: ColumnOptions, name: str
) -> tuple[Column, list[str | None] | None]:
    """Return the column that colours the points, and its classes: the one asked for, or the first suitable one.

    Raises:
        UsageError: the column is unsuitable, or none is suitable.
    """
    if column is not None:
        found = read_column(frame[column], options, named=True)
        texts = _texts(found)
        if texts is None and found.values is None:
            raise UsageError(
                f"{name}: the column {column!r} cannot colour the points", why=found.why, fix="choose another with --column"
            )
        return found, texts
    levels = [level for level in HIERARCHY if level in known]
    for candidate in (*levels, *(other for other in known if other not in levels)):
        found = read_column(frame[candidate], options, named=True)
        texts = _texts(found)
        if texts is not None or found.values is not None:
            return found, texts
    ignored = ", ".join(c for c in frame.columns if c != "id")
    raise UsageError(
        f"{name} has no column that can colour the points",
        why=f"ignored: {ignored}" if ignored else None,
        fix="add a column of labels",
    )


def _texts(column: Column) -> list[str | None] | None:
    """Return the class of each point, or its terms separated by commas; None for a quantity."""
    terms = column.terms
    if terms is None:
        return column.texts
    return [", ".join(terms.names[term] for term in row) or None for row in terms.member.tolil().rows]


def _details(frame: pl.DataFrame, chosen: str) -> dict[str, list[str | None]]:
    import polars as pl

    by_lower = {column.lower(): column for column in frame.columns}
    columns = [by_lower[name] for name in DETAILS if name in by_lower and by_lower[name] != chosen]
    return {column: frame[column].cast(pl.String).to_list() for column in columns}
