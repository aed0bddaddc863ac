"""Spaced words of a reduced alphabet.

Letters are reduced to the ten classes of Murphy, Wallqvist and Levy (2000), doi:10.1093/protein/13.3.149, and words are
spaced, as Ma, Tromp and Li (2002) found to be more sensitive, doi:10.1093/bioinformatics/18.3.440.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = ("LVIM", "C", "A", "G", "ST", "P", "FYW", "EDNQ", "KR", "H")
_NO_CLASS = 255


def _table() -> npt.NDArray[np.uint8]:
    table = np.full(256, _NO_CLASS, dtype=np.uint8)
    for number, letters in enumerate(CLASSES):
        for letter in letters:
            table[ord(letter)] = number
    table[ord("U")], table[ord("O")] = table[ord("C")], table[ord("K")]
    return table


_TABLE = _table()


def reduced_letters(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the classes of ASCII letters, in the text's shape; 255 for letters without a class, such as X."""
    return _TABLE[text]


def word_codes(
    reduced: npt.NDArray[np.uint8], owner: npt.NDArray[np.int32], pattern: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Return the words of a text that are within one sequence and are not low-complexity, which would be uninformative.

    Args:
        reduced: classes of the letters, shape (residues,).
        owner: the sequence of each, shape (residues,).
        pattern: of a word, `1` for positions that count.

    Returns:
        Start positions of the words, ascending, and their codes: numbers below 10 to the power of the word's weight, in 32
        bits if possible, since memory limits the number of sequences.
    """
    places = [i for i, mark in enumerate(pattern) if mark == "1"]
    count = max(len(reduced) - len(pattern) + 1, 0)
    kind = np.uint32 if len(CLASSES) ** len(places) <= 2**32 else np.uint64
    if count == 0:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=kind)
    valid = owner[:count] == owner[len(pattern) - 1 :]
    code: npt.NDArray[Any] = np.zeros(count, dtype=kind)
    changes = np.zeros(count, dtype=np.uint8)
    previous = reduced[places[0] : places[0] + count]
    for place in places:
        letters = reduced[place : place + count]
        valid &= letters != _NO_CLASS
        changes += letters != previous
        previous = letters
        code *= len(CLASSES)
        code += letters
    valid &= changes >= 2
    return np.flatnonzero(valid).astype(np.int32), code[valid]


def blocks(work: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of sequences whose work together is `most` at most; that of a single sequence may be more."""
    first, total = 0, 0
    for i, amount in enumerate(work.tolist()):
        if total + amount > most and i > first:
            yield first, i
            first, total = i, 0
        total += amount
    if first < len(work):
        yield first, len(work)
