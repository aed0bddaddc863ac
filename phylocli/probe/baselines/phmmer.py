"""phmmer (pyhmmer): bit scores of local alignments of single sequences by profile."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from typing import Any

import numpy as np

from phylocli.core import alphabet, console
from phylocli.formats.provenance import versions
from phylocli.probe.baselines._hits import MAX_EVALUE, Hits, search_embedding
from phylocli.probe.inputs.embedding import Embedding


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return the similarities that phmmer finds."""
    return search_embedding(name, ids, sequences, _search, f"phmmer (pyhmmer {versions()['pyhmmer']})")


def _search(queries: list[str], targets: list[str]) -> Iterator[Hits]:
    """Search every query among the targets with phmmer."""
    import pyhmmer
    from pyhmmer import easel

    letters = easel.Alphabet.amino()

    def block(sequences: list[str]) -> Any:
        made = [
            easel.TextSequence(name=str(i), sequence=alphabet.degap(s).upper()).digitize(letters)
            for i, s in enumerate(sequences)
        ]
        return easel.DigitalSequenceBlock(letters, made)

    found = pyhmmer.phmmer(block(queries), block(targets), E=MAX_EVALUE, domE=MAX_EVALUE)
    for hits in console.progress(found, "phmmer", total=len(queries), unit="queries"):
        rows = [(int(hit.name), hit.score) for hit in hits]
        yield np.array([r for r, _ in rows], dtype=np.int64), np.array([s for _, s in rows], dtype=np.float32)
