"""One modality per file: a kind of data about an item, read from a column of a table as tokens or numbers.

A modality is data that describe the same thing in another way: the sequence of a protein, its 3Di letters, a text about it.
The file's name, with `_` for `-`, is the name of the column. Encoders are those of `phylocli.encoders`; a modality names the
settings that suit it.

>>> from phylocli.modalities import text
>>> text.parse("Heme-binding protein").shape[0]  # words
3
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.core.plugins import MODALITIES
from phylocli.core.protocols import ModalityPlugin

Values = npt.NDArray[np.generic]
"""A parsed value: tokens (L,), groups of tokens (L, G), or numbers (L, F)."""


def columns_of(name: str) -> tuple[str, ...]:
    """Return the names of columns from which a modality is read, in order of precedence.

    Raises:
        UsageError: no such modality.
    """
    plugin = MODALITIES.load(name)
    return (name.replace("-", "_"), *getattr(plugin, "COLUMNS", ()))


def parse(name: str, value: object, where: str = "", reader: Callable[[object], Values] | None = None) -> Values:
    """Return the tokens or numbers of a value, of at least one position.

    Args:
        name: of the modality.
        value: a cell of a table.
        where: its file and row, for messages.
        reader: of an encoder with tokens of its own, in place of the modality's.

    Raises:
        UsageError: no such modality.
        BadInputError: the value is not of this modality, or empty.
    """
    plugin: ModalityPlugin = MODALITIES.load(name)
    place = f"{where}: " if where else ""
    try:
        found: Values = (reader or plugin.parse)(value)
    except (TypeError, ValueError) as error:
        raise BadInputError(
            f"{place}{_shown(value)} is not of the modality {name!r}",
            why=str(error),
            fix="correct the cell, leave it empty, or name the column of another modality",
        ) from error
    except BadInputError as error:
        raise BadInputError(place + error.what, error.why, error.fix) from error
    if not len(found):
        raise BadInputError(
            f"{place}{_shown(value)} is empty as {name}",
            fix="correct the cell, or leave it empty",
        )
    return found


def letters(text: object, known: str, first: int, noun: str) -> npt.NDArray[np.uint8]:
    """Return tokens of a text of one letter per position: `first` + the place of the letter in `known`.

    Raises:
        BadInputError: an unknown letter.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is needed, not {type(text).__name__}")
    place = {letter: first + i for i, letter in enumerate(known)}
    try:
        return np.array([place[letter] for letter in text.strip().upper()], dtype=np.uint8)
    except KeyError as error:
        raise BadInputError(
            f"{error.args[0]!r} is not a letter of {noun}", why=f"they are {' '.join(known)}", fix="correct the column"
        ) from None


def aligned(names: Iterable[str]) -> list[str]:
    """Return the modalities with one position per residue, which are cropped alike."""
    return [name for name in names if getattr(MODALITIES.load(name), "PER_RESIDUE", False)]


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")
