"""A second look at the hits, where it costs more than a cosine: alignment by phmmer, and residues against residues."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.errors import BadInputError
from phylocli.formats import read_sequences
from phylocli.formats.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.search.database import FloatArray, unit

if TYPE_CHECKING:
    from phylocli.embed import Embedder

Floats = npt.NDArray[np.float64]

KEPT_BYTES = 256 << 20
"""Embeddings of residues that are kept for the next queries."""


def letters_of(ids: Iterable[str], source: PathLike) -> dict[str, str]:
    """Return the sequences of some ids; only these are held in memory.

    Raises:
        BadInputError: one of them is not there.
    """
    wanted = set(ids)
    found = {s.id: s.residues for s in read_sequences(source, on_duplicate="keep-first") if s.id in wanted}
    missing = wanted - set(found)
    if missing:
        raise BadInputError(
            f"{source} lacks {len(missing):,} of the sequences that were hit, first {shorten(min(missing))!r}",
            fix="give the sequences that the table was made from",
        )
    return found


def align(query: str, targets: SequenceOf[str], rows: int) -> tuple[Floats, Floats]:
    """Return E-values and bit scores of phmmer with a query and its hits, (k,) each; NaN where it finds no alignment.

    phmmer (Eddy 2011, doi:10.1371/journal.pcbi.1002195) without its filters, which spare time where millions are searched.

    Args:
        query: unaligned sequence.
        targets: sequences of its hits.
        rows: of the table that was searched: E-values are those of a search of it all.
    """
    import pyhmmer
    from pyhmmer import easel

    letters = easel.Alphabet.amino()

    def digital(name: str, sequence: str) -> Any:
        return easel.TextSequence(name=name, sequence=sequence).digitize(letters)

    block = easel.DigitalSequenceBlock(letters, [digital(str(i), s) for i, s in enumerate(targets)])
    options: dict[str, Any] = {
        "E": float("inf"),
        "domE": float("inf"),
        "Z": rows,
        "bias_filter": False,
        "F1": 1.0,
        "F2": 1.0,
        "F3": 1.0,
    }
    evalues, bits = np.full(len(targets), np.nan), np.full(len(targets), np.nan)
    asked: Any = [digital("query", query)]
    for hits in pyhmmer.phmmer(asked, block, cpus=1, **options):
        for hit in hits:
            evalues[int(hit.name)], bits[int(hit.name)] = hit.evalue, hit.score
    return evalues, bits


def late_interaction(a: FloatArray, b: FloatArray) -> float:
    """Return how well two sequences' residues find each other, from -1 to 1.

    For every residue the cosine with the most similar residue of the other sequence, averaged over each sequence, and the
    two averages averaged (MaxSim: Khattab & Zaharia 2020, doi:10.1145/3397271.3401075, made symmetric).

    Args:
        a: unit vectors of residues, (L, D).
        b: likewise, (M, D).
    """
    cosines = a @ b.T
    return float((cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2)


def in_embedding(residues: FloatArray, embedder: Embedder) -> FloatArray:
    """Return unit vectors of residues where the sequence's embedding lies: each pooled (and whitened) as if it were alone.

    For poolings that average, a sequence's embedding is the mean of these, so they are compared as it is.

    Args:
        residues: as the encoder gives them, (L, R).
        embedder: of the model.
    """
    import torch

    model = embedder.model
    pool: Callable[..., Any] = model.pool if embedder.layer in (None, model.depth) else model.pooling
    with torch.inference_mode():
        alone = torch.from_numpy(residues).to(model.device)[:, None]
        mask = torch.ones(alone.shape[:2], dtype=torch.bool, device=model.device)
        return unit(pool(alone, mask).float().cpu().numpy())


class ResidueScores:
    """Late interaction between queries and their hits, residues embedded when they are needed and kept for a while.

    Args:
        embedder: of the model that the table was made with.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._kept: OrderedDict[str, FloatArray] = OrderedDict()
        self._bytes = 0

    def __call__(self, query: str, targets: SequenceOf[str]) -> Floats:
        """Return the score of a query with each target, (k,)."""
        own = in_embedding(self._embedder.residues([query])[0], self._embedder)
        return np.array([late_interaction(own, residues) for residues in self._residues(targets)], dtype=np.float64)

    def _residues(self, targets: SequenceOf[str]) -> Iterator[FloatArray]:
        fresh = [t for t in dict.fromkeys(targets) if t not in self._kept]
        for sequence, vectors in zip(fresh, self._embedder.residues(fresh), strict=True):
            self._kept[sequence] = in_embedding(vectors, self._embedder)
            self._bytes += self._kept[sequence].nbytes
        for sequence in targets:
            self._kept.move_to_end(sequence)
            yield self._kept[sequence]
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
