"""phylocli: from a protein family's name to embeddings that carry function.

Every stage of the command line is one function call here:

>>> import phylocli
>>> families = phylocli.read_families("examples/families.sto")
>>> trees = phylocli.infer_trees(phylocli.align_families(families))
>>> tables = phylocli.draw_pairs(trees, min_dist=0.5, max_dist=1.5, number=1000, seed=0)  # one polars frame a family

Names are resolved when first used, so `import phylocli` is quick and loads no heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from phylocli.core.threads import set_environment

set_environment()

__version__ = "0.1.0"

# What the package offers at its top level, and the module that each name lives in.
_EXPORTS = {
    "EmbeddingTable": "phylocli.formats.embeddings",
    "Family": "phylocli.formats.family",
    "Model": "phylocli.models",
    "PairSampler": "phylocli.pairs",
    "PhylocliError": "phylocli.core.errors",
    "Sequence": "phylocli.formats.sequences.fasta",
    "Split": "phylocli.pairs",
    "Store": "phylocli.store",
    "Tree": "phylocli.formats.newick",
    "align_families": "phylocli.align",
    "draw_pairs": "phylocli.pairs",
    "embed_file": "phylocli.embed",
    "embed_sequences": "phylocli.embed",
    "fetch_families": "phylocli.fetch",
    "infer_trees": "phylocli.tree",
    "read_embeddings": "phylocli.formats.embeddings",
    "read_families": "phylocli.formats",
    "read_sequences": "phylocli.formats",
    "run_chain": "phylocli.workflow",
    "run_probes": "phylocli.probe",
    "search_file": "phylocli.search",
    "simulate_families": "phylocli.simulate",
    "train_model": "phylocli.train",
    "write_families": "phylocli.formats",
}

if TYPE_CHECKING:
    from phylocli.align import align_families as align_families
    from phylocli.core.errors import PhylocliError as PhylocliError
    from phylocli.embed import embed_file as embed_file
    from phylocli.embed import embed_sequences as embed_sequences
    from phylocli.fetch import fetch_families as fetch_families
    from phylocli.formats import read_families as read_families
    from phylocli.formats import read_sequences as read_sequences
    from phylocli.formats import write_families as write_families
    from phylocli.formats.embeddings import EmbeddingTable as EmbeddingTable
    from phylocli.formats.embeddings import read_embeddings as read_embeddings
    from phylocli.formats.family import Family as Family
    from phylocli.formats.newick import Tree as Tree
    from phylocli.formats.sequences.fasta import Sequence as Sequence
    from phylocli.models.model import Model as Model
    from phylocli.pairs import PairSampler as PairSampler
    from phylocli.pairs import Split as Split
    from phylocli.pairs import draw_pairs as draw_pairs
    from phylocli.probe import run_probes as run_probes
    from phylocli.search import search_file as search_file
    from phylocli.simulate import simulate_families as simulate_families
    from phylocli.store import Store as Store
    from phylocli.train import train_model as train_model
    from phylocli.tree import infer_trees as infer_trees
    from phylocli.workflow import run_chain as run_chain

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604  the names are strings


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'phylocli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
