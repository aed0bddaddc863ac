"""Embedding of sequences: any length, any number, in input order, independent of batches.

>>> from phylocli.embed import embed_file
>>> embed_file("seqs.fasta", "emb.parquet", model="run/model")
"""

from __future__ import annotations

from phylocli.embed.embedder import (
    Embedder,
    embed_residues,
    embed_sequences,
    load_model,
    table_metadata,
    untrained,
    with_pooling,
)
from phylocli.embed.families import embed_families, embed_family_residues
from phylocli.embed.pipeline import embed_file

__all__ = [
    "Embedder",
    "embed_families",
    "embed_family_residues",
    "embed_file",
    "embed_residues",
    "embed_sequences",
    "load_model",
    "table_metadata",
    "untrained",
    "with_pooling",
]
