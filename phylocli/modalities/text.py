"""A text: a name, a description, keywords.

The text is divided into words, and each word into itself and its n-grams of 3 and 4 letters, whose hashes are the tokens. So
there is no vocabulary to keep, unknown words share tokens with similar known ones, and word order is left to the encoder:
`bag-of-words` is the mean of the words' vectors (CBOW), `transformer` reads their order.

Hashed n-grams: Bojanowski, Grave, Joulin & Mikolov 2017, Enriching word vectors with subword information, arXiv 1607.04606.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

SIZE = 1 << 14
"""Number of tokens; 0 is padding."""

INPUT = {"vocabulary": SIZE}
ENCODER = {"name": "bag-of-words", "preset": "small", "pooling": "attention"}
COLUMNS = ("description", "name")
MOST_WORDS = 512

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def parse(value: object) -> npt.NDArray[np.int64]:
    """Return the tokens of a text, (words, tokens of a word), padded with 0; the first 512 words are read."""
    if not isinstance(value, str):
        raise TypeError(f"a text is needed, not {type(value).__name__}")
    rows = [_tokens(word) for word in words(value)[:MOST_WORDS]]
    found = np.zeros((len(rows), max(map(len, rows), default=1)), dtype=np.int64)
    for place, tokens in zip(found, rows, strict=True):
        place[: len(tokens)] = tokens
    return found


def _tokens(word: str) -> list[int]:
    marked = f"<{word}>"
    parts = [marked, *(marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1))]
    return [1 + zlib.crc32(part.encode()) % (SIZE - 1) for part in dict.fromkeys(parts)]
