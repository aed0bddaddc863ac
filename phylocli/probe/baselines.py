"""What any embedding must beat: amino-acid composition, k-mers, and the same encoder untrained."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet
from phylocli.core.errors import UsageError
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.residue_vectors import OneHot
from phylocli.probe.searchers import SEARCHERS, describe, similarity
from phylocli.tree.models import substitution_model

BASELINES = ("composition", "2-mers", "3-mers", "one-hot", *SEARCHERS)
MAX_NUMBERS = 500_000_000
"""One-hot residues by position take at most so many numbers: 2 GB."""


def kmer_frequencies(residues: str, k: int) -> npt.NDArray[np.float32]:
    """Return the relative frequencies of the k-mers of a sequence, shape (20^k,); unknown letters count for none.

    The k-mer of states s₁ … s_k (order of `alphabet.AMINO_ACIDS`) has index Σ s_i · 20^(k−i).
    """
    states = alphabet.encode_states([residues])[0].astype(np.int64)
    size = len(alphabet.AMINO_ACIDS)
    if len(states) < k:
        return np.zeros(size**k, dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(states, k)
    windows = windows[(windows < size).all(axis=1)]
    index = windows @ (size ** np.arange(k - 1, -1, -1))
    counts = np.bincount(index, minlength=size**k).astype(np.float64)
    return (counts / max(1, len(windows))).astype(np.float32)


def one_hot(sequences: SequenceOf[str]) -> npt.NDArray[np.float32]:
    """Return what stands at each position of each sequence, shape (n, columns), 0 or 1; past a sequence's end all are 0.

    One column a position and amino acid, position by position; columns that are the same for all sequences are left out.

    Raises:
        UsageError: too many sequences and positions to be held, or sequences that are all the same.
    """
    longest = max(map(len, sequences))
    states = alphabet.encode_states([s.ljust(longest, "-") for s in sequences])
    size = len(alphabet.AMINO_ACIDS)
    counts = np.stack([np.bincount(column, minlength=256)[:size] for column in states.T])
    where, letter = np.nonzero((counts > 0) & (counts < len(sequences)))
    if len(sequences) * len(where) > MAX_NUMBERS:
        raise UsageError(
            f"the baseline one-hot needs {len(where):,} columns for each of {len(sequences):,} sequences",
            why="it is meant for variants of one protein, which differ at few positions",
            fix="use composition or 2-mers for sequences of many proteins",
        )
    if not len(where):
        raise UsageError("all sequences are the same: one-hot residues tell nothing", fix="use another baseline")
    return (states[:, where] == letter.astype(np.uint8)).astype(np.float32)


def window_baseline(ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return the baseline for residues: one-hot residues with their seven neighbours on either side."""
    letters = dict(zip(ids, sequences, strict=True))
    vectors = np.stack([kmer_frequencies(s, 1) for s in sequences])
    said = "one-hot residues in a window of 15"
    return Embedding(
        "window of 15", list(ids), vectors, said, baseline=True, residues=OneHot(letters, 15), only_residues=True
    )


def expected_frequencies(k: int) -> npt.NDArray[np.float64]:
    """Return the frequencies of k-mers of independent residues with LG's equilibrium frequencies, shape (20^k,)."""
    single = substitution_model("lg").frequencies
    expected = single
    for _ in range(k - 1):
        expected = np.outer(expected, single).ravel()
    return expected


def baseline(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return a baseline embedding of sequences by its name, one of `BASELINES`; a search has scores in place of vectors.

    The frequencies that independent residues would have are taken off k-mers' own: that makes them half as good again at
    finding relatives by cosine, and a weak baseline flatters.

    Raises:
        UsageError: no such baseline.
    """
    if name not in BASELINES:
        raise UsageError(f"there is no baseline named {name!r}", fix=f"known: {', '.join(BASELINES)}, none")
    if name in SEARCHERS:
        none = np.zeros((len(ids), 0), dtype=np.float32)
        return Embedding(name, list(ids), none, describe(name), baseline=True, search=similarity(name, sequences))
    if name == "one-hot":
        vectors = one_hot(sequences)
        said = f"one-hot residues by position, the {vectors.shape[1]:,} columns that vary"
        return Embedding(name, list(ids), vectors, source=said, baseline=True)
    k = 1 if name == "composition" else int(name[0])
    vectors = np.stack([kmer_frequencies(s, k) for s in sequences])
    said = "relative frequencies of the 20 amino acids"
    if k > 1:
        vectors -= expected_frequencies(k).astype(np.float32)
        said = f"relative frequencies of {20**k:,} {k}-mers, less those of independent residues"
    # The composition is the mean of one-hot residues, so that is what it is for residues.
    residues = OneHot(dict(zip(ids, sequences, strict=True))) if k == 1 else None
    return Embedding(name, list(ids), vectors, source=said, baseline=True, residues=residues)
