"""Near-duplicates of longer sequences, which are excluded from growing families and added at the end.

The method follows Linclust (Steinegger and Söding 2018, doi:10.1038/s41467-018-04964-5) and takes linear time: the words
with the lowest hashes are selected from each sequence, and sequences of similar length that share a selected word are
compared with the longest of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.families.pool import Pool
from phylocli.families.prefilter.diagonals import Indices, identities
from phylocli.families.prefilter.spaced_seeds import blocks, reduced_letters, word_codes

# Minimum identity of a sequence to its representative: identical residues on one diagonal divided by the greater length.
IDENTITY = 0.5
# Minimum length of a sequence relative to its representative. Fragments are not excluded, because domains that occur on
# their own show the domain boundaries.
LENGTH = 0.8
_PATTERN = "111111111111"
_WORDS = 20
_RESIDUES_AT_ONCE = 1_000_000
# Odd, so that the product is a permutation of 64-bit numbers (Knuth's multiplicative hashing). The second pass selects other
# words of the sequences that remain after the first.
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)


def representatives(pool: Pool, identity: float = IDENTITY) -> Indices:
    """Return the index of the representative of each sequence of a pool, shape (n,); most sequences represent themselves.

    A representative represents itself. It is at least as long as the sequences that it represents, at most 1 / `LENGTH`
    times as long, and at least the fraction `identity` of its residues are identical to theirs on one diagonal.
    """
    chosen = np.arange(len(pool))
    text = pool.text()
    reduced = reduced_letters(text)
    leads: set[int] = set()
    for multiplier in _MULTIPLIERS:
        standing = np.flatnonzero(chosen == np.arange(len(pool)))
        words = _words(pool, reduced, standing, np.uint64(multiplier))
        # Two shifted sets of length classes, so that any two similar lengths are in the same class of one of them.
        width = -np.log(LENGTH)
        for shift in (0.0, 0.5):
            classes = np.floor(np.log(np.maximum(pool.lengths, 1)) / width + shift).astype(np.int64)
            query, target, diagonal = _pairs(words, classes)
            long_enough = pool.lengths[target] >= LENGTH * pool.lengths[query]
            query, target, diagonal = query[long_enough], target[long_enough], diagonal[long_enough]
            alike = identities(text, pool.offsets, query, target, diagonal) >= identity * pool.lengths[query]
            # In ascending order, so that it is known whether the longer sequence is itself excluded.
            for longer, shorter in zip(query[alike].tolist(), target[alike].tolist(), strict=True):
                if chosen[longer] == longer and chosen[shorter] == shorter and shorter not in leads:
                    chosen[shorter] = longer
                    leads.add(longer)
    return chosen


def _words(
    pool: Pool, reduced: npt.NDArray[np.uint8], standing: Indices, multiplier: np.uint64
) -> tuple[npt.NDArray[np.uint64], Indices, Indices]:
    """Return the selected words: their hashes, the indices of their sequences, and their positions in these."""
    hashes, sequences, places = [], [], []
    for low, high in blocks(pool.lengths[standing], _RESIDUES_AT_ONCE):
        block = standing[low:high]
        lengths = pool.lengths[block]
        owner = np.repeat(np.arange(len(block), dtype=np.int32), lengths)
        local = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions, codes = word_codes(reduced[pool.offsets[block][owner] + local], owner, _PATTERN)
        owner, local = owner[positions], local[positions]
        with np.errstate(over="ignore"):
            mixed = (codes.astype(np.uint64) + np.uint64(1)) * multiplier
        order = np.lexsort((local, mixed, owner))
        owner, local, mixed = owner[order], local[order], mixed[order]
        lowest = np.arange(len(owner)) - np.searchsorted(owner, owner, side="left") < _WORDS
        hashes.append(mixed[lowest])
        sequences.append(block[owner[lowest]])
        places.append(local[lowest])
    if not hashes:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(hashes), np.concatenate(sequences), np.concatenate(places)


def _pairs(words: tuple[npt.NDArray[np.uint64], Indices, Indices], classes: Indices) -> tuple[Indices, Indices, Indices]:
    """Return unique triples (longest, other, diagonal) of sequences that share a word and a length class."""
    mixed, sequence, place = words
    order = np.lexsort((place, sequence, classes[sequence], mixed))
    mixed, sequence, place = mixed[order], sequence[order], place[order]
    kind = classes[sequence]
    new = np.concatenate(([True], (mixed[1:] != mixed[:-1]) | (kind[1:] != kind[:-1])))[: len(mixed)]
    head = np.maximum.accumulate(np.where(new, np.arange(len(mixed)), 0))
    other = sequence[head] != sequence
    found = np.stack([sequence[other], sequence[head][other], place[head][other] - place[other]])
    target, query, diagonal = np.unique(found, axis=1)
    return query, target, diagonal
