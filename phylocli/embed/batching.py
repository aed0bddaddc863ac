"""Batching: windows of the input, and within each, batches of similar length under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")

MAX_WINDOW_ITEMS = 20_000


def windows(items: Iterable[Item], residues: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield consecutive items in lists of about `residues` residues (a longer item is in its own list).

    Args:
        items: sequences or families.
        residues: maximum number of residues of a list of several items.
        size: returns the number of residues of an item.
    """
    window: list[Item] = []
    held = 0
    for item in items:
        more = size(item)
        if window and (held + more > residues or len(window) >= MAX_WINDOW_ITEMS):
            yield window
            window, held = [], 0
        window.append(item)
        held += more
    if window:
        yield window


def spans(length: int, window: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Return overlapping windows over a long sequence: (start, stop, keep_from, keep_to), positions from 0, ends open.

    Windows are `window` long (the last is shifted to end with the sequence) and overlap by at least `overlap`. Of each
    window the residues keep_from … keep_to are kept: boundaries are in the middle of overlaps, so every residue is computed
    with at least `overlap` // 2 neighbours on each side, or all there are. The kept parts adjoin without gaps.

    Args:
        length: of the sequence, in residues.
        window: maximum length to compute at once.
        overlap: less than `window`.
    """
    if length <= window:
        return [(0, length, 0, length)]
    starts = [*range(0, length - window, window - overlap), length - window]
    cuts = [0, *((a + window + b) // 2 for a, b in pairwise(starts)), length]
    return [(start, start + window, cuts[i], cuts[i + 1]) for i, start in enumerate(starts)]
