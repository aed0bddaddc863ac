"""Spaced words of a reduced amino-acid alphabet.

Letters are reduced to the ten classes of Murphy, Wallqvist and Levy (2000), doi:10.1093/protein/13.3.149. Spaced words are
more sensitive than contiguous ones (Ma, Tromp and Li 2002, doi:10.1093/bioinformatics/18.3.440).
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
    """Return the classes of ASCII letters, in the shape of `text`; 255 for letters without a class, such as X."""
    return _TABLE[text]


def word_codes(
    reduced: npt.NDArray[np.uint8], owner: npt.NDArray[np.int32], pattern: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Return the words of concatenated sequences, except low-complexity words and words across sequence boundaries.

    Args:
        reduced: classes of the letters, shape (residues,).
        owner: index of the sequence of each letter, shape (residues,).
        pattern: the spaced seed, with `1` at positions that are compared.

    Returns:
        Start positions of the words, ascending, and their codes, from 0 to below 10 to the power of the weight; as uint32 if
        possible, to save memory.
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
    """Yield ranges of sequences with a total work of at most `most`, except for single sequences that exceed it."""
    first, total = 0, 0
    for i, amount in enumerate(work.tolist()):
        if total + amount > most and i > first:
            yield first, i
            first, total = i, 0
        total += amount
    if first < len(work):
        yield first, len(work)
