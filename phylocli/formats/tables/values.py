"""Cell values of tables: missing values, and conversion between numbers and text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"})
"""Strings for a missing value, as written by R, pandas, databases and spreadsheets."""

_BLANKS = " \t\r\n\v\f\u00a0\ufeff"
_INTEGER = r"^[+-]?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(inf|Inf|INF|infinity|Infinity)$"
_DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?$"
_NO_NUMBER = r"^[+-]?0[0-9]|^[0-9]{19,}$"
"""Digits that are not a quantity: `0012` may be an id, and hundreds of digits are a mask of residues."""


def texts_of(series: pl.Series) -> pl.Series:
    """Convert a column to strings, stripped of blanks; missing values (see `MISSING`) become null.

    Floats that are all integers are written without a decimal point, since pandas converts integer columns with missing
    values to floats.
    """
    import polars as pl

    kind, name = series.dtype, series.name
    series = series.alias("")  # polars takes names such as ^x$ for patterns, also in methods of a column
    if kind.is_float():
        series = series.fill_nan(None)
        known = series.drop_nulls()
        if len(known) and bool((known.is_finite() & (known == known.round()) & (known.abs() < 2**53)).all()):
            series = series.cast(pl.Int64)
    if kind in (pl.Categorical, pl.Enum, pl.String) or series.dtype.is_integer() or series.dtype.is_float():
        texts = series.cast(pl.String)
    else:
        texts = pl.Series([None if value is None else str(value) for value in series.to_list()], dtype=pl.String)
    texts = texts.str.strip_chars(_BLANKS)
    return texts.set(texts.is_in(list(MISSING)), None).alias(name)


def numbers_of(texts: pl.Series, *, decimal_comma: bool = False) -> pl.Series | None:
    """Convert a column of strings to numbers (Int64 or Float64, null if missing); None if a value is not a number.

    Args:
        texts: the result of `texts_of`.
        decimal_comma: whether to accept decimal commas (`1,5`).
    """
    import polars as pl

    name, texts = texts.name, texts.alias("")
    known = texts.drop_nulls()
    if not len(known):
        return None
    if bool(known.str.contains(_INTEGER).all()):
        return texts.cast(pl.Int64).alias(name)
    if bool(known.str.contains(_NO_NUMBER).any()):
        return None
    if decimal_comma and bool(known.str.contains(_DECIMAL_COMMA).any()):
        texts = texts.str.replace(",", ".", literal=True)
        known = texts.drop_nulls()
    return texts.cast(pl.Float64).alias(name) if bool(known.str.contains(_NUMBER).all()) else None


def some_numbers_of(texts: pl.Series) -> pl.Series:
    """Convert a column of strings to Float64, with decimal points or commas; other values become null."""
    import polars as pl

    plain = texts.alias("").str.replace(r"^([+-]?[0-9]+),([0-9]+)", "${1}.${2}")
    return plain.set(~plain.str.contains(_NUMBER), None).cast(pl.Float64, strict=False).alias(texts.name)
