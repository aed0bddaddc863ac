"""One-hot residues by position, for variants of a protein."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.probe.inputs.embedding import Embedding

MAX_NUMBERS = 500_000_000
"""Maximum number of values of the baseline, of 4 bytes each."""


def one_hot(sequences: SequenceOf[str]) -> npt.NDArray[np.float32]:
    """Return the one-hot encoded residue at each position of each sequence, shape (n, columns).

    There is a column for each position and amino acid, ordered by position; constant columns are omitted. Beyond the end of
    a sequence, all columns are 0.

    Raises:
        UsageError: the result would not fit in memory, or all sequences are identical.
    """
    longest = max(map(len, sequences))
    states = alphabet.encode_states([s.ljust(longest, "-") for s in sequences])
    size = len(alphabet.AMINO_ACIDS)
    counts = np.stack([np.bincount(column, minlength=256)[:size] for column in states.T])
    where, letter = np.nonzero((counts > 0) & (counts < len(sequences)))
    if len(sequences) * len(where) > MAX_NUMBERS:
        raise UsageError(
            f"the baseline one-hot needs {len(where):,} columns for each of {counted(len(sequences), 'sequence')}",
            why="it is meant for variants of a protein, which differ at few positions",
            fix="use composition or dipeptides for sequences of many proteins",
        )
    if not len(where):
        raise UsageError("all sequences are identical, so one-hot residues are constant", fix="use another baseline")
    return (states[:, where] == letter.astype(np.uint8)).astype(np.float32)


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return one-hot residues, restricted to variable columns, (n, columns)."""
    vectors = one_hot(sequences)
    source = f"one-hot residues by position, {vectors.shape[1]:,} variable columns"
    return Embedding(name, list(ids), vectors, source, baseline=True)
