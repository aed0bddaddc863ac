"""Sequence similarity networks: edges, communities, representative nodes, GraphML and an interactive page.

>>> from phylocli.network import build_network
>>> network = build_network("db.parquet", max_evalue=1e-5)
"""

from __future__ import annotations

from phylocli.network.pipeline import Built, build_network, write_network

__all__ = ["Built", "build_network", "write_network"]
