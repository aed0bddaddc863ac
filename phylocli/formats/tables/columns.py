"""Columns of tables: which one holds ids, which ones features, and which are row numbers; and what the user says of that.

The policy, which `docs/formats.md` states for users:

- Ids: the column that the user names; else a column with one of the names in `ID_COLUMNS`; else the first column that is not
  an index, if it holds text.
- Index: a column without a name, or with one of the names that pandas and R give to row names. It is never a feature or a
  label. It holds the ids where it holds text and no column has a known name of ids.
- Features: the columns that the user names; else a column of lists of numbers; else one numeric column a feature, without
  index, length, split and levels of a classification. Where most of the numeric columns are numbered (`d0`, `d1`, …), only
  those.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from phylocli.core.errors import BadInputError, UsageError

if TYPE_CHECKING:
    import polars as pl

SAME_IDS = "use the same ids in both; --id-column names the column of ids"
"""A fix for tables without common ids."""

ID_COLUMNS = ("id", "ids", "name", "names", "accession", "protein", "sequence_id", "identifier", "entry")
"""Names of the column of ids, in any case; the first that is there."""

VECTOR_COLUMNS = ("embedding", "embeddings", "vector", "vectors", "representation", "x")
"""Names of the column that holds whole vectors, where several hold lists; in any case."""

CODE_COLUMNS = (
    "family", "superfamily", "clan", "fold", "class", "cluster", "cath", "scop", "ec", "ec_class",
    "taxon", "taxid", "tax_id", "taxon_id", "taxonomy_id", "organism_id",
)  # fmt: skip
"""Names of columns whose numbers are names of classes, in any case."""

NO_FEATURES = ("length", "len", "split", "position", *CODE_COLUMNS)
"""Names of numeric columns that are not features unless the user says so, in any case."""

_INDEX = re.compile(r"|Unnamed: [0-9]+(\.[0-9]+)*|__index_level_[0-9]+__|row\.names|index|level_0", re.IGNORECASE)
_NUMBERED = re.compile(r"(.*?)([0-9]+)")


@dataclass(frozen=True)
class ColumnOptions:
    """What the user says of the columns of tables, where the policy takes them for something else.

    Attributes:
        ids: names of columns of ids; each table has at most one of them, and those that have none follow the policy.
        features: names of columns of features, or patterns with `*`, of tables of embeddings.
        classes: columns of labels whose values are names of classes, numbers or not.
        quantities: columns of labels whose values are numbers; other values are unknown.
        labels: columns of labels that are used, where a source has others too.
        pattern: of FASTA headers that are labels; its named groups are columns.
    """

    ids: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    pattern: str | None = None

    @classmethod
    def of(
        cls,
        id_column: str | Sequence[str] | None = None,
        features: str | Sequence[str] | None = None,
        classes: str | Sequence[str] | None = None,
        quantities: str | Sequence[str] | None = None,
    ) -> ColumnOptions:
        """Return the options from what functions and commands take: one name, several, or None.

        Raises:
            UsageError: a column of both classes and quantities.
        """
        found = cls(_names(id_column), _names(features), _names(classes), _names(quantities))
        both = set(found.classes).intersection(found.quantities)
        if both:
            raise UsageError(
                f"the column {min(both)!r} cannot hold both classes and quantities", fix="name it in one of them"
            )
        return found

    def among(self, columns: Iterable[str]) -> ColumnOptions:
        """Return the same options, of labels only those about some columns."""
        wanted = set(columns)
        classes, quantities = (tuple(c for c in names if c in wanted) for names in (self.classes, self.quantities))
        return replace(self, classes=classes, quantities=quantities)

    def check_ids(self, taken: Iterable[Taken]) -> None:
        """Raise where no table that was read has a column that is named for ids.

        Args:
            taken: what columns of all tables were taken for.

        Raises:
            UsageError: naming the column.
        """
        used = {column for column, role, _ in taken if role == "ids"}
        for name in self.ids:
            if name not in used:
                raise UsageError(f"no table has a column {name!r}, which is to hold the ids", fix="check --id-column")


class Taken(NamedTuple):
    """The interpretation of a column, and why: `column` may be several (`d0 … d5`)."""

    column: str
    role: str
    why: str


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def span(columns: Sequence[str]) -> str:
    """Return some columns' names as a message shows them: `d0 … d5`."""
    return ", ".join(columns) if len(columns) < 4 else f"{columns[0]} … {columns[-1]}"


def is_index(column: str) -> bool:
    """Return whether a column's name says that it holds the numbers or names of rows."""
    return _INDEX.fullmatch(column) is not None


def _is_text(kind: pl.DataType) -> bool:
    import polars as pl

    return kind in (pl.String, pl.Categorical, pl.Enum)


def _is_vector(kind: pl.DataType) -> bool:
    import polars as pl

    return isinstance(kind, pl.List | pl.Array) and kind.inner is not None and kind.inner.is_numeric()


def id_column(schema: pl.Schema, name: str, options: ColumnOptions = ColumnOptions()) -> Taken:
    """Return the column of ids, and why it is that.

    Args:
        schema: of the table; numbers as numbers.
        name: of the table, for messages.
        options: what the user says.

    Raises:
        UsageError: the user names two columns of this table.
        BadInputError: there is no column of ids.
    """
    named = [column for column in options.ids if column in schema]
    if len(named) > 1:
        raise UsageError(f"{name} has both columns of ids, {named[0]!r} and {named[1]!r}", fix="name one of them")
    if named:
        return Taken(named[0], "ids", "named by --id-column")
    by_lower = {column.lower(): column for column in reversed(schema.names())}
    known = next((by_lower[wanted] for wanted in ID_COLUMNS if wanted in by_lower), None)
    if known is not None and not _is_vector(schema[known]):
        return Taken(known, "ids", "by its name")
    index = next((column for column, kind in schema.items() if is_index(column) and _is_text(kind)), None)
    if index is not None:
        return Taken(index, "ids", "names of rows, and no column has a known name of ids")
    first = next((column for column in schema if not is_index(column)), None)
    if first is not None and _is_text(schema[first]):
        return Taken(first, "ids", "the first column, of text")
    raise BadInputError(
        f"{name} has no column of ids",
        why=f"its columns are {', '.join(map(repr, schema.names()[:12]))}",
        fix=f"name the column of ids with --id-column, or call it 'id' (also known: {', '.join(ID_COLUMNS[1:])})",
    )


def feature_columns(
    schema: pl.Schema, ids: str, name: str, options: ColumnOptions = ColumnOptions()
) -> tuple[list[str], list[Taken]]:
    """Return the columns that hold the features, and what every other column but the ids was taken for.

    One column of vectors, or of texts that list numbers, or several columns of numbers.

    Raises:
        UsageError: columns of texts, or vectors among others, are named as features.
        BadInputError: there are no features.
    """
    columns = [column for column in schema if column != ids]
    if options.features:
        wanted = [c for c in columns if any(fnmatchcase(c, pattern) for pattern in options.features)]
        if not wanted:
            raise UsageError(
                f"{name} has no column {' or '.join(map(repr, options.features))} of features",
                fix=f"its columns are {', '.join(map(repr, columns[:12]))}",
            )
        mixed = len(wanted) > 1 and [c for c in wanted if not schema[c].is_numeric()]
        if mixed:
            raise UsageError(
                f"{name}: the column {mixed[0]!r} does not hold one number a row",
                fix="name one column of vectors, or columns of numbers, with --features",
            )
        return wanted, _account(schema, wanted, columns, "named by --features", "not named by --features")
    vectors = [c for c in columns if _is_vector(schema[c])]
    chosen = next(
        (c for known in VECTOR_COLUMNS for c in columns if c.lower() == known and (c in vectors or _is_text(schema[c]))),
        None,
    )
    if chosen is None and len(vectors) > 1:
        raise BadInputError(
            f"{name} has several columns of vectors: {', '.join(map(repr, vectors[:12]))}",
            fix=f"name one with --features, such as --features {vectors[0]}",
        )
    if chosen is not None or vectors:
        column = chosen if chosen is not None else vectors[0]
        return [column], _account(schema, [column], columns, "holds vectors", "the table has a column of vectors")
    numeric = [c for c in columns if schema[c].is_numeric() and not is_index(c) and c.lower() not in NO_FEATURES]
    numbered = [c for c in numeric if _NUMBERED.fullmatch(c)]
    series = [_NUMBERED.fullmatch(c)[1] for c in numbered]  # type: ignore[index]
    numbered = [c for c, prefix in zip(numbered, series, strict=True) if series.count(prefix) > 1]
    if 2 * len(numbered) > len(numeric):
        texts = [c for c in columns if _is_text(schema[c]) and (found := _NUMBERED.fullmatch(c)) and found[1] in series]
        if texts:
            raise BadInputError(
                f"{name}: the column {texts[0]!r} holds texts, where {span(numbered)} hold numbers",
                fix="correct the values that are not numbers, or name the columns of features with --features",
            )
        left = "the features are numbered columns, and this one is not"
        return numbered, _account(schema, numbered, columns, "numbered columns of numbers", left)
    if not numeric:
        raise BadInputError(
            f"{name} has no embeddings",
            why=f"its columns are {', '.join(map(repr, schema.names()[:12]))}",
            fix="give a column 'embedding' of lists, or one column of numbers a feature, or name them with --features",
        )
    return numeric, _account(schema, numeric, columns, "columns of numbers", "")


def _account(schema: pl.Schema, chosen: list[str], columns: list[str], why: str, left: str) -> list[Taken]:
    found = [Taken(span(chosen), "features", why)]
    for column in columns:
        if column in chosen:
            continue
        if is_index(column):
            reason = "numbers or names of rows"
        elif left and (schema[column].is_numeric() or _is_vector(schema[column])) and column.lower() not in NO_FEATURES:
            reason = left
        elif column.lower() in NO_FEATURES:
            reason = "its name is not one of a feature"
        else:
            reason = "it does not hold numbers"
        found.append(Taken(column, "ignored", reason))
    return found
