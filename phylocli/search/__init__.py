"""Search for the most similar proteins by cosine of embeddings, with E-values.

>>> from phylocli.search import search, search_file
>>> search_file("query.fasta", "db.parquet", "hits.tsv", k=20)
"""

from __future__ import annotations

from phylocli.core.callable_module import make_callable
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.search.alignment import Comparison, Gaps, StandardisedCosine, align_residues
from phylocli.search.background import Background, background_of
from phylocli.search.database import open_table, unit
from phylocli.search.exact import Neighbours, nearest
from phylocli.search.local_alignment import LocalAlignment
from phylocli.search.pipeline import search, search_file
from phylocli.search.queries import Queries
from phylocli.search.residue_plda import ResiduePLDA, fit_residue_plda, load_residue_plda
from phylocli.search.targets import PreparedTable

__all__ = [
    "Background",
    "Comparison",
    "EmbeddingTable",
    "Gaps",
    "LocalAlignment",
    "Neighbours",
    "PreparedTable",
    "Queries",
    "ResiduePLDA",
    "StandardisedCosine",
    "align_residues",
    "background_of",
    "fit_residue_plda",
    "load_residue_plda",
    "nearest",
    "open_table",
    "search",
    "search_file",
    "unit",
]

make_callable(__name__, search)
