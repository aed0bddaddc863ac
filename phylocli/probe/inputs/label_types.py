"""Type inference for the columns of a labels table: classes, quantities, terms, residue labels, or mutations.

The first rule that applies determines the type (documented for users in `docs/probe.md`):

1. The user's options: `--classes`, `--quantities`.
2. Strings with one letter per residue, if there are sequences: residue labels.
3. Lists, also as text (`['a', 'b']`), and text with shared words separated by `;`, `,` or `|`: terms.
4. Numbers: classes if the column's name is that of a classification (`family`, `taxid`, …), if they are integers with at
most `MAX_INTEGER_CLASSES` distinct values and on average two items per value, or if one number has two spellings (`1.1` and
`1.10` are codes); else a quantity.
5. Other text and booleans: classes.

Blanks around values are stripped, and the values in `values.MISSING` are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.tables.columns import CODE_COLUMNS, ColumnOptions, is_index
from phylocli.formats.tables.values import MISSING, numbers_of, some_numbers_of, texts_of

if TYPE_CHECKING:
    import polars as pl

IntArray = npt.NDArray[np.int64]
Role = Literal["classes", "quantity", "terms", "labels of residues", "mask of residues", "ignored"]

MAX_INTEGER_CLASSES = 50
"""Maximum number of distinct values of an integer column that is interpreted as classes."""

WILD_TYPES = frozenset({"", "wt", "wildtype", "wild-type", "wild type", "wild_type", "_wt"})
"""Values that stand for the wild type in a column of mutations (case-insensitive)."""

MIN_LISTED = 0.01
"""Minimum fraction of values with several entries in a text column that is interpreted as terms."""

MUTATION_COLUMNS = ("mutations", "mutation", "mutant", "variant", "variants")
"""Names of columns of mutations (case-insensitive)."""

NO_LABELS = ("sequence", "seq", "mutated_sequence", "description", "length")
"""Names of columns that are not labels unless requested (case-insensitive)."""

NAMES_OF = {"family_name": "family"}
"""Columns that are names of another column's classes; not labels of their own unless requested."""

_SEPARATOR = re.compile(r"\s*[;,|]\s*")
_LIST = re.compile(r"\[(.*)\]|\((.*)\)|\{(.*)\}|c\((.*)\)", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_MUTATION = re.compile(r"(?:p\.)?[A-Z][0-9]+(?:[A-Z*=]|del)")
_MUTATION_SEPARATOR = re.compile(r"\s*[;,:|+/ ]\s*")


@dataclass
class Terms:
    """A multilabel column (GO terms, EC numbers, Pfam families).

    Attributes:
        names: the terms, sorted.
        member: whether each item has each term, boolean scipy CSR matrix, shape (n, terms).
        known: whether each item is labelled, shape (n,).
    """

    names: list[str]
    member: Any
    known: npt.NDArray[np.bool_]


@dataclass
class Column:
    """A column and its interpretation.

    Attributes:
        name: name of the column.
        role: type of the column.
        why: the rule that determined the type.
        texts: class of each item, None where unknown; or residue labels of each item.
        values: values of a quantity, NaN where unknown, shape (n,).
        terms: terms of a multilabel column.
    """

    name: str
    role: Role
    why: str
    texts: list[str | None] | None = None
    values: npt.NDArray[np.float64] | None = None
    terms: Terms | None = None


def read_column(
    series: pl.Series,
    options: ColumnOptions = ColumnOptions(),
    *,
    lengths: pl.Series | None = None,
    named: bool = False,
    groups: bool = False,
) -> Column:
    """Interpret a column of labels.

    Args:
        series: the column: text, numbers, booleans or lists.
        options: the user's options for the interpretation of columns.
        lengths: lengths of the items' sequences; None if there are none.
        named: whether the user requested this column explicitly.
        groups: whether the column defines groups, and therefore contains classes.

    Raises:
        UsageError: the requested interpretation is not possible.
    """
    import polars as pl

    name, kind = series.name, series.dtype
    lists = isinstance(kind, pl.List | pl.Array)
    if not (lists or kind.is_numeric() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)):
        return Column(name, "ignored", f"values of the type {kind} are not labels")
    texts = None if lists else texts_of(series)
    if name in options.quantities:
        return _as_quantity(name, texts)
    if name in options.classes or (groups and texts is not None):
        if texts is None:
            raise UsageError(f"the column {name!r} contains lists, which are not classes", fix="omit it from --classes")
        return Column(name, "classes", "named by --classes" if not groups else "names groups", _codes(texts))
    if not named and is_index(name):
        return Column(name, "ignored", "numbers or names of rows")
    if lengths is not None and name != "sequence" and one_letter_a_residue(series, lengths):
        mask = "mask" in name.lower() or "resolved" in name.lower()
        role: Role = "mask of residues" if mask else "labels of residues"
        return Column(name, role, "one letter for each residue of the sequence", series.to_list())
    if not named and name.lower() in NO_LABELS:
        return Column(name, "ignored", "by its name; request it with --columns, --classes or --quantities")
    if isinstance(kind, pl.List | pl.Array) and kind.inner.is_float():
        return Column(name, "ignored", "vectors are not labels")
    listed = _lists_of(series) if texts is None else _lists_of_texts(texts)
    if listed is not None:
        terms = _terms(listed)
        if terms is None:
            return Column(name, "ignored", "lists without two terms that items share")
        return Column(name, "terms", "lists", terms=terms)
    assert texts is not None
    numbers = None if kind == pl.Boolean else numbers_of(texts)
    if numbers is not None:
        return _of_numbers(name, texts, numbers)
    plain = texts.to_list()
    found = terms_of(plain)
    if found is not None:
        return Column(name, "terms", "words between ';', ',' or '|'", terms=found)
    if texts.null_count() == len(texts):
        return Column(name, "ignored", "nothing is known")
    return Column(name, "classes", "truth values" if kind == pl.Boolean else _text_because(texts), plain)


def _as_quantity(name: str, texts: pl.Series | None) -> Column:
    numbers = None if texts is None else some_numbers_of(texts)
    if texts is None or numbers is None or numbers.null_count() == len(numbers):
        raise UsageError(f"the column {name!r} contains no numbers", fix="omit it from --quantities")
    lost = numbers.null_count() - texts.null_count()
    why = "named by --quantities" + (f"; {lost:,} values that are not numbers are unknown" if lost else "")
    return Column(name, "quantity", why, values=numbers.fill_null(float("nan")).to_numpy().astype(np.float64))


def _of_numbers(name: str, texts: pl.Series, numbers: pl.Series) -> Column:
    """Interpret a numeric column as classes or a quantity; `texts` has the numbers as they are written."""
    import polars as pl

    kinds, known = texts.drop_nulls().n_unique(), numbers.drop_nulls()
    whole = numbers.dtype.is_integer() or bool((known.is_finite() & (known == known.round())).all())
    why = None
    if name.lower() in CODE_COLUMNS:
        why = "numbers, but the name is that of a classification"
    elif whole and known.n_unique() <= min(MAX_INTEGER_CLASSES, len(known) / 2):
        why = f"whole numbers of at most {MAX_INTEGER_CLASSES} kinds, with two items a kind"
    elif kinds <= MAX_INTEGER_CLASSES and known.n_unique() < kinds:
        why = "numbers of few kinds, of which one is spelled in two ways, as in 1.1 and 1.10"
    if why is not None:
        return Column(name, "classes", why, _codes(texts))
    values = numbers.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    why = "whole numbers of many kinds" if whole else "numbers"
    return Column(name, "quantity", why, values=values)


def _codes(texts: pl.Series) -> list[str | None]:
    """Return class names: texts unchanged, but whole numbers without a decimal point."""
    numbers = numbers_of(texts)
    return (texts if numbers is None else texts_of(numbers) if _all_whole(numbers) else texts).to_list()


def _all_whole(numbers: pl.Series) -> bool:
    known = numbers.drop_nulls()
    return bool((known == known.round()).all()) if numbers.dtype.is_float() else True


def _text_because(texts: pl.Series) -> str:
    """Return the reason for interpreting a text column as classes; if most values are numbers, with one that is not."""
    known = texts.drop_nulls()
    odd = known.filter(some_numbers_of(known).is_null())
    if len(odd) and 2 * len(odd) < len(known):
        return f"text: {len(odd):,} of {len(known):,} values are not numbers, such as {shorten(odd[0], 30)!r}"
    return "text"


def one_letter_a_residue(series: pl.Series, lengths: pl.Series) -> bool:
    """Return whether a column contains strings with one letter per residue from a small alphabet, such as a mask."""
    import polars as pl

    if series.dtype != pl.String or series.null_count() or lengths.null_count() or not (lengths > 1).any():
        return False
    return bool((series.alias("").str.len_chars() == lengths).all()) and len(set("".join(series.head(200).to_list()))) <= 16


def is_text(series: pl.Series) -> bool:
    """Return whether a column contains text."""
    import polars as pl

    return series.dtype in (pl.String, pl.Categorical, pl.Enum)


def _lists_of(series: pl.Series) -> list[list[str] | None]:
    """Return the values of a list column as text; None for empty or unknown ones."""
    found = [
        [str(word).strip() for word in words if word is not None] if words is not None else [] for words in series.to_list()
    ]
    return [[word for word in words if word not in MISSING] or None for words in found]


def _lists_of_texts(texts: pl.Series) -> list[list[str] | None] | None:
    """Parse lists written as in Python, JSON or R: `['a', 'b']`, `["a"]`, `{'a'}`, `c("a", "b")`.

    Returns None if a known value is not a list, or if no list has several entries.
    """
    known = texts.drop_nulls()
    if not len(known) or not _LIST.fullmatch(known[0]):
        return None
    found: list[list[str] | None] = []
    for text in texts.to_list():
        match = None if text is None else _LIST.fullmatch(text)
        if text is not None and match is None:
            return None
        inner = "" if match is None else next(group for group in match.groups() if group is not None)
        quoted = [one or other for one, other in _QUOTED.findall(inner)]
        words = [word.strip() for word in (quoted or _SEPARATOR.split(inner))]
        found.append([word for word in words if word not in MISSING] or None)
    return found if any(words and len(words) > 1 for words in found) else None


def terms_of(texts: SequenceOf[str | None]) -> Terms | None:
    """Return the terms of a text column with lists, such as `GO:0003677;GO:0005515`; None if it is not such a column.

    Values are split at `;`, `,` and `|`. The column contains terms if some values list several, no term contains a blank
    (unlike prose), and terms occur twice or more on average. If every value has the same number of parts separated by a
    comma and a blank, the values are names that contain a comma (`kinase, type`), not lists.
    """
    lists = [None if t is None else [word for word in _SEPARATOR.split(t.strip()) if word not in MISSING] for t in texts]
    known = [words for words in lists if words]
    if len({len(words) for words in known}) == 1 and all(", " in t for t in texts if t is not None):
        return None
    several = sum(len(words) > 1 for words in known)
    if not several or several < MIN_LISTED * len(known) or any(" " in word for words in known for word in words):
        return None
    return _terms([words or None for words in lists])


def _terms(lists: list[list[str] | None]) -> Terms | None:
    """Return the terms of lists; None if there are fewer than two, or if they occur less than twice on average."""
    from scipy.sparse import csr_matrix

    known = [words for words in lists if words is not None]
    names = sorted({word for words in known for word in words})
    mentions = sum(map(len, known))
    if len(names) < 2 or len(names) > mentions / 2:
        return None
    code = {name: i for i, name in enumerate(names)}
    rows = np.repeat(np.arange(len(lists)), [len(words or ()) for words in lists])
    columns = np.array([code[word] for words in lists for word in words or ()], dtype=np.int64)
    member = csr_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(lists), len(names)))
    member.sum_duplicates()
    return Terms(names, member.astype(bool), np.array([words is not None for words in lists]))


def mutation_counts(texts: SequenceOf[str | None]) -> IntArray | None:
    """Return the number of mutations in each value, 0 for the wild type; None if the column contains no mutations.

    Mutations are written as `A108D` (residue, position, new residue), `p.A108D` or `A108del`, and separated by `;`, `,`,
    `:`, `|`, `+`, `/` or blanks.

    Args:
        texts: the values; empty values and `WT` are the wild type.
    """
    counts = np.zeros(len(texts), dtype=np.int64)
    for i, text in enumerate(texts):
        if text is None or text.strip().lower() in WILD_TYPES:
            continue
        words = [word for word in _MUTATION_SEPARATOR.split(text.strip()) if word]
        if not words or not all(_MUTATION.fullmatch(word) for word in words):
            return None
        counts[i] = len(words)
    return counts if counts.any() else None
