"""phmmer (pyhmmer): bit scores of local alignments of single sequences."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf

import numpy as np

from phylocli.core import console
from phylocli.core.alphabet import degap
from phylocli.formats.provenance import versions
from phylocli.hmmer import SearchOptions, phmmer
from phylocli.probe.baselines._hits import MAX_EVALUE, Hits, search_embedding
from phylocli.probe.inputs.embedding import Embedding


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return similarities by phmmer's bit scores."""
    return search_embedding(name, ids, sequences, _search, f"phmmer (pyhmmer {versions()['pyhmmer']})")


def _search(queries: list[str], targets: list[str]) -> Iterator[Hits]:
    """Search the targets with every query."""
    found = phmmer(map(degap, queries), map(degap, targets), SearchOptions(evalue=MAX_EVALUE, threads=0))
    for hits in console.progress(found, "phmmer", total=len(queries), unit="queries"):
        yield hits.target, hits.score.astype(np.float32)
