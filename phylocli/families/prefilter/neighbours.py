"""Candidate pairs of homologs: sequences that share spaced words of a reduced alphabet on nearby diagonals.

Comparing all pairs of sequences by profile search would take hours, the prefilter takes seconds. HMMER evaluates every
candidate pair later, so false candidates cost time but do not affect the families.

Several words within a band of diagonals are required, similar to BLAST's two-hit rule (Altschul et al. 1997,
doi:10.1093/nar/25.17.3389). Words are longer for larger inputs, so that the number of chance matches per residue, and hence
the time per residue, is constant.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from phylocli.core import console
from phylocli.families.pool import Pool
from phylocli.families.prefilter.diagonals import blosum_order, ungapped_scores
from phylocli.families.prefilter.spaced_seeds import blocks, reduced_letters, word_codes

# Effective alphabet size (1 / sum of squared class frequencies in proteins): a letter reduces chance matches by this factor.
EFFECTIVE_LETTERS = 6.2
# Expected number of chance matches per word.
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
# Minimum ungapped score on the diagonal with most words, BLOSUM62 in half bits.
MIN_SCORE = 30
MAX_NEIGHBOURS = 200
# Maximum number of occurrences of a word that are matched, those in the longest sequences first. The time is then linear
# instead of quadratic in the size of a family (as in Linclust, Steinegger and Söding 2018, doi:10.1038/s41467-018-04964-5).
MAX_OCCURRENCES = 200
_NO_TEXT = np.zeros(0, dtype=np.uint8)
_ENTRIES_AT_ONCE = 400_000


@dataclass
class _Index:
    """An index of the words of one pattern; it takes 9 bytes per residue.

    Attributes:
        positions: positions of all words in the text, sorted by word, shape (words,).
        start: start of the word's entries in `positions`, for each position of the text, shape (residues,).
        size: number of these entries to use, 0 if there is no word, for each position of the text, shape (residues,).
    """

    positions: npt.NDArray[np.int32]
    start: npt.NDArray[np.int32]
    size: npt.NDArray[np.uint8]


def word_weight(residues: int) -> int:
    """Return the word weight (number of letters) for an input with this many residues."""
    wanted = np.log(max(residues, 1) / CHANCE_MATCHES) / np.log(EFFECTIVE_LETTERS)
    return int(np.clip(np.ceil(wanted), min(PATTERNS), max(PATTERNS)))


def _index(reduced: npt.NDArray[np.uint8], owner: npt.NDArray[np.int32], pattern: str) -> _Index:
    positions, code = word_codes(reduced, owner, pattern)
    start = np.zeros(len(reduced), dtype=np.int32)
    size = np.zeros(len(reduced), dtype=np.uint8)
    order = np.argsort(code, kind="stable")
    positions, code = positions[order], code[order]
    del order
    if len(positions):
        first = np.flatnonzero(np.concatenate(([True], code[1:] != code[:-1])))
        sizes = np.diff(np.append(first, len(code)))
        start[positions] = np.repeat(first.astype(np.int32), sizes)
        size[positions] = np.repeat(np.minimum(sizes, MAX_OCCURRENCES).astype(np.uint8), sizes)
    return _Index(positions, start, size)


def neighbour_graph(pool: Pool, executor: Executor, chosen: npt.NDArray[np.int64] | None = None) -> csr_array:
    """Return the graph of candidate pairs.

    Args:
        pool: the sequences.
        executor: runs blocks of sequences in parallel.
        chosen: indices of the sequences to compare, ascending; all by default.

    Returns:
        Symmetric matrix over the whole pool with zero diagonal, shape (n, n); values are the numbers of shared words in the
        best band. Each sequence contributes at most `MAX_NEIGHBOURS` pairs, but may occur in any number of pairs of others.
    """
    n = len(pool)
    chosen = np.arange(n) if chosen is None else chosen
    lengths = pool.lengths[chosen]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    owner = np.repeat(np.arange(len(chosen), dtype=np.int32), lengths)
    local = np.arange(len(owner), dtype=np.int32)
    local -= np.repeat(offsets[:-1].astype(np.int32), lengths)
    text = np.concatenate([_NO_TEXT, *(pool.text_of(i) for i in chosen.tolist())])
    letters, reduced = blosum_order(text), reduced_letters(text)
    # One index at a time, because sorting dominates memory.
    indices = [_index(reduced, owner, pattern) for pattern in PATTERNS[word_weight(len(reduced))]]
    del reduced, text
    work = np.zeros(len(owner), dtype=np.int32)
    for index in indices:
        work += index.size
    per_sequence = np.add.reduceat(work, offsets[:-1], dtype=np.int64) if len(chosen) else np.zeros(0, dtype=np.int64)
    del work

    def rows_of(block: tuple[int, int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        here = np.arange(offsets[block[0]], offsets[block[1]])
        return _matches(here, block[0], indices, owner, local, letters, offsets)

    rows, columns, counts = [], [], []
    parts = list(blocks(per_sequence, _ENTRIES_AT_ONCE))
    for found in console.progress(executor.map(rows_of, parts), "comparing words", total=len(parts)):
        rows.append(found[0])
        columns.append(found[1])
        counts.append(found[2])
    if not rows:
        return csr_array((n, n), dtype=np.int32)
    pairs = (chosen[np.concatenate(rows)], chosen[np.concatenate(columns)])
    one_way = csr_array((np.concatenate(counts), pairs), shape=(n, n))
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
    """Return query, target and number of words in the best band for the best `MAX_NEIGHBOURS` targets of each query."""
    n = len(offsets) - 1
    longest = int(np.diff(offsets).max())
    width = 2 * (longest // BAND + 1) * BAND + BAND
    zero = (longest // BAND + 1) * BAND
    keys = []
    for index in indices:
        size = index.size[here].astype(np.int64)
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
    # Count words per diagonal and per band (with the diagonal that has most words), and select the best band of each pair.
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
    # Keep the first MAX_NEIGHBOURS targets of each query.
    starts = np.searchsorted(query, query, side="left")
    top = np.arange(len(query)) - starts < MAX_NEIGHBOURS
    return query[top].astype(np.int32), target[top].astype(np.int32), best[top].astype(np.int32)


def _heads(key: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return start and value of each run of equal values."""
    heads = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    return heads, key[heads]


def _runs(key: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return value and length of each run of equal values."""
    heads, values = _heads(key)
    return values, np.diff(np.append(heads, len(key)))
