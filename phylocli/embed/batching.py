"""Batching: windows of the input, and within each, batches of similar length under a token budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from phylocli.formats import Sequence

MAX_WINDOW_SEQUENCES = 20_000


def windows(sequences: Iterable[Sequence], residues: int) -> Iterator[list[Sequence]]:
    """Yield consecutive sequences in lists of about `residues` residues (a longer sequence is in its own list)."""
    window: list[Sequence] = []
    held = 0
    for sequence in sequences:
        size = len(sequence.residues)
        if window and (held + size > residues or len(window) >= MAX_WINDOW_SEQUENCES):
            yield window
            window, held = [], 0
        window.append(sequence)
        held += size
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
