"""A local page for a table of embeddings: search, neighbours, map and alignments, for the browser on this machine.

>>> import phylocli
>>> with phylocli.serve("emb.parquet", sequences="seqs.fasta") as server:  # doctest: +SKIP
...     server.wait()
"""

from __future__ import annotations

from phylocli.core.callable_module import make_callable
from phylocli.serve.server import ProteinServer, serve

__all__ = ["ProteinServer", "serve"]

make_callable(__name__, serve)
