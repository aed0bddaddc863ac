"""A molecule as SELFIES.

Krenn et al. 2020, doi:10.1088/2632-2153/aba947. Each symbol in brackets is a token, by its hash.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError

SIZE = 1 << 12
INPUT = {"vocabulary": SIZE}
ENCODER = {"name": "convolutional", "preset": "tiny", "pooling": "mean"}

_SYMBOL = re.compile(r"\[[^\[\]]+\]|\.")


def parse(value: object) -> npt.NDArray[np.int64]:
    """Return the tokens of a SELFIES, (L,), one for each symbol."""
    if not isinstance(value, str):
        raise TypeError(f"a SELFIES is needed, not {type(value).__name__}")
    text = value.strip()
    symbols = _SYMBOL.findall(text)
    if "".join(symbols) != text:
        raise BadInputError(f"{value!r} is not a SELFIES", why="it has symbols in brackets", fix="correct the column")
    return np.array([1 + zlib.crc32(symbol.encode()) % (SIZE - 1) for symbol in symbols], dtype=np.int64)
