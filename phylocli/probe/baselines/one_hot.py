"""One-hot residues by position, for variants of one protein."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.probe.inputs.embedding import Embedding

MAX_NUMBERS = 500_000_000
"""Maximum number of values, of 4 bytes each."""


def one_hot(sequences: SequenceOf[str]) -> npt.NDArray[np.float32]:
    """Return the residue at each position of each sequence, one-hot, shape (n, columns); past a sequence's end all are 0.

    One column a position and amino acid, position by position; columns that are the same for all sequences are left out.

    Raises:
        UsageError: too many sequences and positions to fit in memory, or sequences that are all identical.
    """
    longest = max(map(len, sequences))
    states = alphabet.encode_states([s.ljust(longest, "-") for s in sequences])
    size = len(alphabet.AMINO_ACIDS)
    counts = np.stack([np.bincount(column, minlength=256)[:size] for column in states.T])
    where, letter = np.nonzero((counts > 0) & (counts < len(sequences)))
    if len(sequences) * len(where) > MAX_NUMBERS:
        raise UsageError(
            f"the baseline one-hot needs {len(where):,} columns for each of {counted(len(sequences), 'sequence')}",
            why="it is meant for variants of one protein, which differ at few positions",
            fix="use composition or dipeptides for sequences of many proteins",
        )
    if not len(where):
        raise UsageError("all sequences are identical, so one-hot residues are constant", fix="use another baseline")
    return (states[:, where] == letter.astype(np.uint8)).astype(np.float32)


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return one-hot residues of the columns that vary, (n, columns)."""
    vectors = one_hot(sequences)
    source = f"one-hot residues by position, the {vectors.shape[1]:,} columns that vary"
    return Embedding(name, list(ids), vectors, source, baseline=True)
