"""What a column of a labels table holds: classes, quantities, terms, a letter a residue, or mutations."""

from __future__ import annotations

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import polars as pl

IntArray = npt.NDArray[np.int64]

MAX_INTEGER_CLASSES = 50
"""A column of whole numbers with at most so many different values is taken as classes, with more as a quantity."""

WILD_TYPES = frozenset({"", "wt", "wildtype", "wild-type", "wild type", "wild_type", "_wt"})
"""What stands, in any case, in a column of mutations where there is none."""

MIN_LISTED = 0.01
"""A column of text is one of terms where at least this share of its values are lists of several."""

_SEPARATOR = re.compile(r"\s*[;,|]\s*")
_MUTATION = re.compile(r"(?:p\.)?[A-Z][0-9]+(?:[A-Z*=]|del)")
_MUTATION_SEPARATOR = re.compile(r"\s*[;,:|+/ ]\s*")


@dataclass
class Terms:
    """Several labels an item (GO terms, EC numbers, Pfam families).

    Attributes:
        names: the terms, sorted.
        member: scipy CSR matrix (n, terms) of truth values.
        known: whether anything is known of the item, shape (n,).
    """

    names: list[str]
    member: Any
    known: npt.NDArray[np.bool_]


def texts_of(series: pl.Series) -> list[str | None]:
    """Return the values as texts, None where there is none."""
    return [None if v is None or str(v).strip() == "" else str(v) for v in series.to_list()]


def one_letter_a_residue(series: pl.Series, lengths: pl.Series) -> bool:
    """Return whether a column holds texts as long as the sequences, over a small alphabet (secondary structure, a mask)."""
    import polars as pl

    if series.dtype != pl.String or series.null_count() or lengths.null_count() or not (lengths > 1).any():
        return False
    return bool((series.str.len_chars() == lengths).all()) and len(set("".join(series.head(200).to_list()))) <= 16


def is_text(series: pl.Series) -> bool:
    """Return whether a column holds texts."""
    import polars as pl

    return series.dtype in (pl.String, pl.Categorical, pl.Enum)


def is_classes(series: pl.Series) -> bool:
    """Return whether a column is of the kind that holds classes: text, truth values, whole numbers of few kinds."""
    import polars as pl

    return (
        is_text(series)
        or series.dtype == pl.Boolean
        or (series.dtype.is_integer() and series.n_unique() <= MAX_INTEGER_CLASSES)
    )


def terms_of(texts: SequenceOf[str | None]) -> Terms | None:
    """Return the terms of a column whose values are lists (`GO:0003677;GO:0005515`), None where it is no such column.

    Values are split at `;`, `,` and `|`. It is a column of terms where some values list several, no term holds a blank
    (prose does), and terms are shared: there are fewer of them than mentions.
    """
    from scipy.sparse import csr_matrix

    lists = [None if t is None else [word for word in _SEPARATOR.split(t.strip()) if word] for t in texts]
    known = [words for words in lists if words is not None]
    several = sum(len(words) > 1 for words in known)
    if not several or several < MIN_LISTED * len(known):
        return None
    names = sorted({word for words in known for word in words})
    mentions = sum(map(len, known))
    if any(" " in name for name in names) or len(names) < 2 or len(names) > mentions / 2:
        return None
    code = {name: i for i, name in enumerate(names)}
    rows = np.repeat(np.arange(len(lists)), [len(words or ()) for words in lists])
    columns = np.array([code[word] for words in lists for word in words or ()], dtype=np.int64)
    member = csr_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(lists), len(names)))
    member.sum_duplicates()
    return Terms(names, member.astype(bool), np.array([words is not None for words in lists]))


def mutation_counts(texts: SequenceOf[str | None]) -> IntArray | None:
    """Return how many mutations each value names, 0 for the wild type; None where the column holds no mutations.

    A mutation is written as in `A108D` (residue, position, new residue), `p.A108D` or `A108del`, several with `;`, `,`, `:`,
    `|`, `+`, `/` or a blank between them.

    Args:
        texts: the values; an empty one or `WT` is the wild type.
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
