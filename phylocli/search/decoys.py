"""Sequences that are related to nothing: what real ones look like when chance alone decides."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np

from phylocli.views.decoy import make

WINDOW = 20
"""Residues among which a shuffle moves them."""

COUNT = 64
"""Decoys that are enough for the tail; each gives as many scores as the table's sample has rows."""


def make_decoys(sequences: SequenceOf[str], count: int = COUNT) -> list[str]:
    """Return decoys: sequences reversed, and where there are fewer than `count`, shuffled within windows too.

    Of more than `count` sequences, that many spread evenly are taken. The same sequences give the same decoys.

    Args:
        sequences: real ones, unaligned; at least one.
        count: decoys wanted.
    """
    picked = np.unique(np.linspace(0, len(sequences) - 1, min(count, len(sequences))).round().astype(int))
    found = [sequences[i][::-1] for i in picked]
    rng, shuffle = np.random.default_rng(0), make(WINDOW)
    for number in range(count - len(found)):
        letters = np.frombuffer(sequences[picked[number % len(picked)]].encode("ascii"), dtype=np.uint8)
        found.append(shuffle(letters, rng).tobytes().decode("ascii"))
    return found
