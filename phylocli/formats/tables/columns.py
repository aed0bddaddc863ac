"""Roles of table columns: ids, features and row names.

The rules (see also `docs/formats.md`):

- Ids: the column named by the user; else a column with a name in `ID_COLUMNS`; else the first column that is not an index,
  if it contains text.
- Index: a column without a name, or with a name that pandas or R gives to row names. It is never a feature or a label. It
  contains the ids if it contains text and no column has a name in `ID_COLUMNS`.
- Features: the columns named by the user; else a column of vectors; else all numeric columns except index, length, split and
  classification codes. If most numeric columns are numbered (`d0`, `d1`, …), only these.
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
"""Advice in error messages about tables without common ids."""

ID_COLUMNS = ("id", "ids", "name", "names", "accession", "protein", "sequence_id", "identifier", "entry")
"""Names of the id column (case-insensitive), in order of precedence."""

VECTOR_COLUMNS = ("embedding", "embeddings", "vector", "vectors", "representation", "x")
"""Names of the column of vectors (case-insensitive), in order of precedence, if several columns contain lists."""

CODE_COLUMNS = (
    "family", "superfamily", "clan", "fold", "class", "cluster", "cath", "scop", "ec", "ec_class",
    "taxon", "taxid", "tax_id", "taxon_id", "taxonomy_id", "organism_id",
)  # fmt: skip
"""Names of columns whose numbers are class codes (case-insensitive)."""

NO_FEATURES = ("length", "len", "split", "position", *CODE_COLUMNS)
"""Names of numeric columns that are not features by default (case-insensitive)."""

_INDEX = re.compile(r"|Unnamed: [0-9]+(\.[0-9]+)*|__index_level_[0-9]+__|row\.names|index|level_0", re.IGNORECASE)
_NUMBERED = re.compile(r"(.*?)([0-9]+)")


@dataclass(frozen=True)
class ColumnOptions:
    """Roles of table columns given by the user; they override the rules.

    Attributes:
        ids: names of id columns. A table may have at most one of them; for tables without any, the rules apply.
        features: names of feature columns of embedding tables, or patterns with `*`.
        classes: label columns whose values are class names, even if numeric.
        quantities: label columns whose values are numbers; other values are treated as missing.
        labels: the label columns to use; empty: all.
        pattern: a regular expression for FASTA headers; its named groups become label columns.
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
        """Return the options for arguments that are one name, several names, or None.

        Raises:
            UsageError: a column is in both `classes` and `quantities`.
        """
        found = cls(_names(id_column), _names(features), _names(classes), _names(quantities))
        both = set(found.classes).intersection(found.quantities)
        if both:
            raise UsageError(
                f"the column {min(both)!r} cannot hold both classes and quantities", fix="name it in one of them"
            )
        return found

    def among(self, columns: Iterable[str]) -> ColumnOptions:
        """Return the options with `classes` and `quantities` restricted to the given columns."""
        wanted = set(columns)
        classes, quantities = (tuple(c for c in names if c in wanted) for names in (self.classes, self.quantities))
        return replace(self, classes=classes, quantities=quantities)

    def check_ids(self, taken: Iterable[Taken]) -> None:
        """Check that each id column of the options was used by at least one table.

        Args:
            taken: the interpretation of the columns of all tables.

        Raises:
            UsageError: no table has one of the id columns.
        """
        used = {column for column, role, _ in taken if role == "ids"}
        for name in self.ids:
            if name not in used:
                raise UsageError(f"no table has the id column {name!r}", fix="check --id-column")


class Taken(NamedTuple):
    """The interpretation of a column, or of several (`d0 … d5`), and the reason for it."""

    column: str
    role: str
    why: str


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def span(columns: Sequence[str]) -> str:
    """Return the names of columns for messages, abbreviated if there are more than three: `d0 … d5`."""
    return ", ".join(columns) if len(columns) < 4 else f"{columns[0]} … {columns[-1]}"


def is_index(column: str) -> bool:
    """Return whether a column contains row numbers or row names, according to its name."""
    return _INDEX.fullmatch(column) is not None


def _is_text(kind: pl.DataType) -> bool:
    import polars as pl

    return kind in (pl.String, pl.Categorical, pl.Enum)


def _is_vector(kind: pl.DataType) -> bool:
    import polars as pl

    return isinstance(kind, pl.List | pl.Array) and kind.inner is not None and kind.inner.is_numeric()


def id_column(schema: pl.Schema, name: str, options: ColumnOptions = ColumnOptions()) -> Taken:
    """Return the id column, and the reason for the choice.

    Args:
        schema: the schema of the table, with numeric types for numbers.
        name: the name of the table, for messages.
        options: the roles given by the user.

    Raises:
        UsageError: `options` names two columns of this table.
        BadInputError: there is no id column.
    """
    named = [column for column in options.ids if column in schema]
    if len(named) > 1:
        raise UsageError(f"{name} has two id columns, {named[0]!r} and {named[1]!r}", fix="name one of them")
    if named:
        return Taken(named[0], "ids", "named by --id-column")
    by_lower = {column.lower(): column for column in reversed(schema.names())}
    known = next((by_lower[wanted] for wanted in ID_COLUMNS if wanted in by_lower), None)
    if known is not None and not _is_vector(schema[known]):
        return Taken(known, "ids", "by its name")
    index = next((column for column, kind in schema.items() if is_index(column) and _is_text(kind)), None)
    if index is not None:
        return Taken(index, "ids", "row names; no column has a known id name")
    first = next((column for column in schema if not is_index(column)), None)
    if first is not None and _is_text(schema[first]):
        return Taken(first, "ids", "first column, contains text")
    raise BadInputError(
        f"{name} has no id column",
        why=f"its columns are {', '.join(map(repr, schema.names()[:12]))}",
        fix=f"name the id column with --id-column, or rename it to 'id' (also known: {', '.join(ID_COLUMNS[1:])})",
    )


def feature_columns(
    schema: pl.Schema, ids: str, name: str, options: ColumnOptions = ColumnOptions()
) -> tuple[list[str], list[Taken]]:
    """Return the feature columns, and the interpretation of all columns except the ids.

    The features are one column of vectors, one column of strings that list numbers, or several numeric columns.

    Raises:
        UsageError: the features named by the user are several columns that are not all numeric.
        BadInputError: there are no features, or the choice is ambiguous.
    """
    columns = [column for column in schema if column != ids]
    if options.features:
        wanted = [c for c in columns if any(fnmatchcase(c, pattern) for pattern in options.features)]
        if not wanted:
            raise UsageError(
                f"{name} has no feature column {' or '.join(map(repr, options.features))}",
                fix=f"its columns are {', '.join(map(repr, columns[:12]))}",
            )
        mixed = len(wanted) > 1 and [c for c in wanted if not schema[c].is_numeric()]
        if mixed:
            raise UsageError(
                f"{name}: the column {mixed[0]!r} does not contain one number per row",
                fix="name one column of vectors, or numeric columns, with --features",
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
        return [column], _account(schema, [column], columns, "contains vectors", "the table has a column of vectors")
    numeric = [c for c in columns if schema[c].is_numeric() and not is_index(c) and c.lower() not in NO_FEATURES]
    numbered = [c for c in numeric if _NUMBERED.fullmatch(c)]
    series = [_NUMBERED.fullmatch(c)[1] for c in numbered]  # type: ignore[index]
    numbered = [c for c, prefix in zip(numbered, series, strict=True) if series.count(prefix) > 1]
    if 2 * len(numbered) > len(numeric):
        texts = [c for c in columns if _is_text(schema[c]) and (found := _NUMBERED.fullmatch(c)) and found[1] in series]
        if texts:
            raise BadInputError(
                f"{name}: the column {texts[0]!r} contains text, but {span(numbered)} contain numbers",
                fix="correct the values that are not numbers, or name the feature columns with --features",
            )
        left = "not a numbered column, unlike the features"
        return numbered, _account(schema, numbered, columns, "numbered columns of numbers", left)
    if not numeric:
        raise BadInputError(
            f"{name} has no embeddings",
            why=f"its columns are {', '.join(map(repr, schema.names()[:12]))}",
            fix="give a column 'embedding' of lists, or one numeric column per feature, or name them with --features",
        )
    return numeric, _account(schema, numeric, columns, "columns of numbers", "")


def _account(schema: pl.Schema, chosen: list[str], columns: list[str], why: str, left: str) -> list[Taken]:
    found = [Taken(span(chosen), "features", why)]
    for column in columns:
        if column in chosen:
            continue
        if is_index(column):
            reason = "row numbers or row names"
        elif left and (schema[column].is_numeric() or _is_vector(schema[column])) and column.lower() not in NO_FEATURES:
            reason = left
        elif column.lower() in NO_FEATURES:
            reason = "its name is not the name of a feature"
        else:
            reason = "it does not contain numbers"
        found.append(Taken(column, "ignored", reason))
    return found
