"""Values of tables: which texts mean unknown, which are numbers, and how numbers are written as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"})
"""Texts for an unknown value, as written by R, pandas, databases and spreadsheets."""

_BLANKS = " \t\r\n\v\f\u00a0\ufeff"
_INTEGER = r"^[+-]?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(inf|Inf|INF|infinity|Infinity)$"
_DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?$"
_NO_NUMBER = r"^[+-]?0[0-9]|^[0-9]{19,}$"
"""Digits that are no quantity: `0012` may be an id, and two hundred digits are a mask of residues."""


def texts_of(series: pl.Series) -> pl.Series:
    """Return a column as texts without blanks around them, null where nothing is known (see `MISSING`).

    Integers are written without a point, regardless of their type: pandas converts them to floats if one is missing.
    """
    import polars as pl

    kind = series.dtype
    if kind.is_float():
        series = series.fill_nan(None)
        known = series.drop_nulls()
        if len(known) and bool((known.is_finite() & (known == known.round()) & (known.abs() < 2**53)).all()):
            series = series.cast(pl.Int64)
    if kind in (pl.Categorical, pl.Enum, pl.String) or series.dtype.is_integer() or series.dtype.is_float():
        texts = series.cast(pl.String)
    else:
        texts = pl.Series(series.name, [None if value is None else str(value) for value in series.to_list()], pl.String)
    texts = texts.str.strip_chars(_BLANKS)
    return texts.set(texts.is_in(list(MISSING)), None)


def numbers_of(texts: pl.Series, *, decimal_comma: bool = False) -> pl.Series | None:
    """Return a column of texts as numbers (Int64 or Float64, null where unknown); None where one is not a number.

    Args:
        texts: from `texts_of`.
        decimal_comma: `1,5` is a number too.
    """
    import polars as pl

    known = texts.drop_nulls()
    if not len(known):
        return None
    if bool(known.str.contains(_INTEGER).all()):
        return texts.cast(pl.Int64)
    if bool(known.str.contains(_NO_NUMBER).any()):
        return None
    if decimal_comma and bool(known.str.contains(_DECIMAL_COMMA).any()):
        texts = texts.str.replace(",", ".", literal=True)
        known = texts.drop_nulls()
    return texts.cast(pl.Float64) if bool(known.str.contains(_NUMBER).all()) else None


def some_numbers_of(texts: pl.Series) -> pl.Series:
    """Return the numbers in a text column, with decimal point or comma (Float64); null for other values."""
    import polars as pl

    plain = texts.str.replace(r"^([+-]?[0-9]+),([0-9]+)", "${1}.${2}")
    return plain.set(~plain.str.contains(_NUMBER), None).cast(pl.Float64, strict=False)
