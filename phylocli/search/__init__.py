"""Which proteins of a table are nearest to a query, and how often chance would bring one as near.

>>> from phylocli.search import search_file
>>> search_file("query.fasta", "db.parquet", "hits.tsv", k=20)
"""

from __future__ import annotations

from phylocli.formats.embeddings import EmbeddingTable
from phylocli.search.alignment import Comparison, Gaps, Standardised, align_residues
from phylocli.search.database import open_table, unit
from phylocli.search.exact import Neighbours, nearest
from phylocli.search.files import search_file
from phylocli.search.homology import Homology, fit_homology, load_homology
from phylocli.search.queries import Queries, read_queries
from phylocli.search.significance import Significance, calibrate

__all__ = [
    "Comparison",
    "EmbeddingTable",
    "Gaps",
    "Homology",
    "Neighbours",
    "Queries",
    "Significance",
    "Standardised",
    "align_residues",
    "calibrate",
    "fit_homology",
    "load_homology",
    "nearest",
    "open_table",
    "read_queries",
    "search_file",
    "unit",
]
