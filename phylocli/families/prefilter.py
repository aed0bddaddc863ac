"""Which sequences may be homologous at all: pairs that share spaced words of a reduced alphabet on nearby diagonals.

Comparing all sequences with all by profile takes hours where this takes seconds; every pair that it lets through is judged
by HMMER afterwards, so it decides what is compared and never what is a family.

Letters are reduced to the ten classes of Murphy, Wallqvist and Levy (2000), doi:10.1093/protein/13.3.149, and words are
spaced, as Ma, Tromp and Li (2002) found to be more sensitive, doi:10.1093/bioinformatics/18.3.440. Two words within a band
of diagonals are asked for, as in BLAST's two-hit rule (Altschul et al. 1997). Words grow with the input, so that the chance
matches of a residue, and with them the time per residue, stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from Bio.Align import substitution_matrices
from scipy.sparse import csr_array

from phylocli import console
from phylocli.families.pool import Pool

CLASSES = ("LVIM", "C", "A", "G", "ST", "P", "FYW", "EDNQ", "KR", "H")
# 1 / sum of squared class frequencies in proteins: what a letter of the reduced alphabet is worth against chance.
EFFECTIVE_LETTERS = 6.2
# Chance matches of one word that are put up with.
CHANCE_MATCHES = 5.0

PATTERNS: dict[int, tuple[str, ...]] = {
    4: ("1111", "11011", "110101", "1010011"),
    5: ("11111", "110111", "1101011", "11001011"),
    6: ("111111", "1101111", "110101011", "1100101011"),
    7: ("1111111", "110101111", "11001010111", "11100100111"),
    8: ("11111111", "1101101111", "111001010111", "110100110111"),
    9: ("111111111", "110110101111", "11100101101101", "11010011010111"),
    10: ("1111111111", "1101101011111", "111001011010111", "110100110101111"),
}

BAND = 16
MIN_WORDS = 3
# Score of the best stretch without gaps on the diagonal with most words, BLOSUM62 in half bits.
MIN_SCORE = 30
MAX_NEIGHBOURS = 200
# Of a word that occurs more often than this, each sequence is matched with the first, longest ones only: linear, not
# quadratic, in the size of a family (as in Linclust, Steinegger and Söding 2018, doi:10.1038/s41467-018-04964-5).
MAX_OCCURRENCES = 200
_ENTRIES_AT_ONCE = 4_000_000
_RESIDUES_AT_ONCE = 4_000_000


_MATRIX = substitution_matrices.load("BLOSUM62")
_SCORES = np.array(_MATRIX, dtype=np.int8)
_ORDER = np.full(256, _MATRIX.alphabet.index("X"), dtype=np.uint8)
_ORDER[[ord(letter) for letter in _MATRIX.alphabet]] = np.arange(len(_MATRIX.alphabet))


@dataclass
class _Index:
    """The words of one pattern: positions sorted by word; for each position where its word's list starts, and its size."""

    positions: npt.NDArray[np.int32]
    start: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]


def word_weight(residues: int) -> int:
    """Return how many letters a word needs, for an input of so many residues."""
    wanted = np.log(max(residues, 1) / CHANCE_MATCHES) / np.log(EFFECTIVE_LETTERS)
    return int(np.clip(np.ceil(wanted), min(PATTERNS), max(PATTERNS)))


def _classes() -> npt.NDArray[np.uint8]:
    table = np.full(256, 255, dtype=np.uint8)
    for number, letters in enumerate(CLASSES):
        for letter in letters:
            table[ord(letter)] = number
    table[ord("U")], table[ord("O")] = table[ord("C")], table[ord("K")]
    return table


def _index(reduced: npt.NDArray[np.uint8], owner: npt.NDArray[np.int32], pattern: str) -> _Index:
    places = [i for i, mark in enumerate(pattern) if mark == "1"]
    count = max(len(reduced) - len(pattern) + 1, 0)
    empty = np.zeros(len(reduced), dtype=np.int32)
    if count == 0:
        return _Index(np.zeros(0, dtype=np.int32), empty, empty)
    valid = owner[:count] == owner[len(pattern) - 1 :]
    code = np.zeros(count, dtype=np.int64)
    changes = np.zeros(count, dtype=np.uint8)
    previous = reduced[places[0] : places[0] + count]
    for place in places:
        letters = reduced[place : place + count]
        valid &= letters != 255
        changes += letters != previous
        previous = letters
        code *= len(CLASSES)
        code += letters
    valid &= changes >= 2  # runs and the like: low complexity says nothing of kinship
    positions = np.flatnonzero(valid)
    code = code[positions]
    order = np.argsort(code, kind="stable")
    positions, code = positions[order], code[order]
    if len(positions) == 0:
        return _Index(positions.astype(np.int32), empty, empty.copy())
    first = np.flatnonzero(np.concatenate(([True], code[1:] != code[:-1])))
    sizes = np.diff(np.append(first, len(code)))
    start, size = empty, empty.copy()
    start[positions] = np.repeat(first, sizes)
    size[positions] = np.repeat(np.minimum(sizes, MAX_OCCURRENCES), sizes)
    return _Index(positions.astype(np.int32), start, size)


def _blocks(work: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of sequences whose work together stays within bounds; a single sequence may exceed them."""
    first, total = 0, 0
    for i, amount in enumerate(work.tolist()):
        if total + amount > _ENTRIES_AT_ONCE and i > first:
            yield first, i
            first, total = i, 0
        total += amount
    if first < len(work):
        yield first, len(work)


def neighbour_graph(pool: Pool, executor: Executor) -> csr_array:
    """Return which pairs of sequences are worth a search.

    Returns:
        Symmetric matrix, shape (n, n), without a diagonal; values are the numbers of words shared in the best band. Each
        sequence names at most `MAX_NEIGHBOURS`, and may be named by any number of others.
    """
    n = len(pool)
    letters = _ORDER[pool.text()]
    reduced = _classes()[pool.text()]
    owner = np.repeat(np.arange(n, dtype=np.int32), pool.lengths)
    local = (np.arange(len(reduced)) - pool.offsets[owner]).astype(np.int32)
    patterns = PATTERNS[word_weight(len(reduced))]
    indices = list(executor.map(lambda pattern: _index(reduced, owner, pattern), patterns))
    work = np.zeros(len(reduced), dtype=np.int64)
    for index in indices:
        work += index.size
    per_sequence = np.add.reduceat(work, pool.offsets[:-1]) if n else np.zeros(0, dtype=np.int64)
    del work

    def rows_of(block: tuple[int, int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        here = np.arange(pool.offsets[block[0]], pool.offsets[block[1]])
        return _matches(here, block[0], indices, owner, local, letters, pool.offsets)

    rows, columns, counts = [], [], []
    blocks = list(_blocks(per_sequence))
    for found in console.progress(executor.map(rows_of, blocks), "comparing words", total=len(blocks)):
        rows.append(found[0])
        columns.append(found[1])
        counts.append(found[2])
    if not rows:
        return csr_array((n, n), dtype=np.int32)
    one_way = csr_array((np.concatenate(counts), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n))
    graph: csr_array = one_way.maximum(one_way.T).tocsr()
    graph.sort_indices()
    return graph


def _matches(
    here: npt.NDArray[np.int64],
    first: int,
    indices: list[_Index],
    owner: npt.NDArray[np.int32],
    local: npt.NDArray[np.int32],
    letters: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return (query, target, words in the best band) of a block of sequences, the best `MAX_NEIGHBOURS` of each query."""
    n = len(offsets) - 1
    longest = int(np.diff(offsets).max())
    width = 2 * (longest // BAND + 1) * BAND + BAND
    zero = (longest // BAND + 1) * BAND
    keys = []
    for index in indices:
        size = index.size[here]
        total = int(size.sum())
        if total == 0:
            continue
        query = np.repeat(here, size)
        within = np.arange(total) - np.repeat(np.cumsum(size) - size, size)
        target = index.positions[np.repeat(index.start[here], size) + within]
        diagonal = local[query].astype(np.int64) - local[target] + zero
        other = owner[query] != owner[target]
        key = ((owner[query] - first).astype(np.int64) * n + owner[target]) * width + diagonal
        keys.append(key[other])
    empty = np.zeros(0, dtype=np.int32)
    key = np.concatenate(keys) if keys else np.zeros(0, dtype=np.int64)
    if len(key) == 0:
        return empty, empty, empty
    key.sort()
    # From words to diagonals, to bands with the number of words and the diagonal that has most, to pairs with the best band.
    diagonals, words = _runs(key)
    heads, bands = _heads(diagonals // BAND)
    richest = np.maximum.reduceat(words * BAND + diagonals % BAND, heads) % BAND
    words = np.add.reduceat(words, heads)
    keep = words >= MIN_WORDS
    bands, words, richest = bands[keep], words[keep], richest[keep]
    if len(bands) == 0:
        return empty, empty, empty
    heads, pair = _heads(bands // (width // BAND))
    best = np.maximum.reduceat(words * width + (bands % (width // BAND)) * BAND + richest, heads)
    best, diagonal = best // width, best % width - zero
    query, target = pair // n + first, pair % n
    alike = ungapped_scores(letters, offsets, query, target, diagonal) >= MIN_SCORE
    query, target, best = query[alike], target[alike], best[alike]
    order = np.lexsort((target, -best, query))
    query, target, best = query[order], target[order], best[order]
    # The place of each among the targets of its query.
    starts = np.searchsorted(query, query, side="left")
    top = np.arange(len(query)) - starts < MAX_NEIGHBOURS
    return query[top].astype(np.int32), target[top].astype(np.int32), best[top].astype(np.int32)


def _heads(key: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where each run of equal values starts, and its value."""
    heads = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    return heads, key[heads]


def _runs(key: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the values of runs of equal values, and how long each run is."""
    heads, values = _heads(key)
    return values, np.diff(np.append(heads, len(key)))


def ungapped_scores(
    letters: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    query: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    diagonal: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return the score of the best stretch without gaps of pairs of sequences, each on one diagonal.

    Args:
        letters: all sequences one after another, as numbers in the order of BLOSUM62.
        offsets: where each sequence starts, and where the last ends.
        query: indices of sequences, shape (pairs,).
        target: likewise.
        diagonal: place in the query less place in the target, shape (pairs,).

    Returns:
        Scores in half bits, shape (pairs,), at least 0.
    """
    from_query = np.maximum(diagonal, 0)
    from_target = from_query - diagonal
    lengths = np.diff(offsets)
    size = np.maximum(np.minimum(lengths[query] - from_query, lengths[target] - from_target), 0)
    scores = np.zeros(len(query), dtype=np.int64)
    ends = np.cumsum(size)
    low = 0
    while low < len(query):
        before = ends[low - 1] if low else 0
        high = max(int(np.searchsorted(ends, before + _RESIDUES_AT_ONCE, side="right")), low + 1)
        part = slice(low, high)
        length = size[part]
        start = np.cumsum(length) - length
        within = np.arange(int(length.sum())) - np.repeat(start, length)
        a = letters[np.repeat(offsets[query[part]] + from_query[part], length) + within]
        b = letters[np.repeat(offsets[target[part]] + from_target[part], length) + within]
        # Kadane's scan of all pairs at once: the sum so far less its lowest before. A drop deeper than any sum between
        # pairs makes the lowest start anew with each.
        total = np.cumsum(_SCORES[a, b], dtype=np.int64)
        drop = np.repeat(np.arange(high - low), length) * (16 * (len(total) + 1))
        ahead = np.concatenate(([0], total[:-1])) - drop
        gain = total - drop - np.minimum.accumulate(ahead)
        filled = length > 0
        scores[low:high][filled] = np.maximum(np.maximum.reduceat(gain, start[filled]), 0) if filled.any() else 0
        low = high
    return scores
