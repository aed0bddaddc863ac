"""Tables of embeddings in all supported formats.

>>> from phylocli.formats.embeddings import read_embeddings
>>> table = read_embeddings("emb.parquet")
>>> table.ids, table.numpy()  # list of str; float32, shape (n, D)
"""

from __future__ import annotations

from phylocli.formats.embeddings.reading import read_embeddings
from phylocli.formats.embeddings.table import EmbeddingTable, ResidueTable, unit

__all__ = ["EmbeddingTable", "ResidueTable", "read_embeddings", "unit"]
