"""Independent streams of random numbers of a run: `np.random.default_rng([seed, RandomStream.VIEWS, step])`."""

from __future__ import annotations

import enum


@enum.unique
class RandomStream(enum.IntEnum):
    """What random numbers are for; each purpose has a number of its own, which never changes."""

    ORDER = 1
    """Order of the families."""
    VIEWS = 2
    VALIDATION = 3
    HARD_NEGATIVES = 4
    CLAN = 5
    """Partners from other families of the clan."""
    WHITENING = 6
    KERNEL = 7
    RESIDUE_LABELS = 8
    TEACHERS = 9
    REMOVED_RESIDUES = 10
    TABLE_ROWS = 21
    TABLE_CROPS = 22
    TABLE_HELD_OUT = 23
    TABLE_EVALUATED = 24
