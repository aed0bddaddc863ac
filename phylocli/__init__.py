"""phylocli: from a protein family's name to embeddings that carry function.

Every stage of the command line is a function here, with the same name as its room:

>>> import phylocli
>>> families = phylocli.read_families("examples/families.sto")
>>> trees = phylocli.infer_trees(phylocli.align_families(families))
>>> table = phylocli.draw_pairs(trees, min_dist=0.5, max_dist=1.5, n=1000, seed=0)

Names are resolved when first used, so `import phylocli` is quick and loads no heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What the package offers at its top level, and the module that each name lives in.
_EXPORTS = {
    "Family": "phylocli.formats.family",
    "Sequence": "phylocli.formats.fasta",
    "Tree": "phylocli.formats.newick",
    "PhylocliError": "phylocli.errors",
    "read_families": "phylocli.formats",
    "read_sequences": "phylocli.formats",
    "write_families": "phylocli.formats",
}

if TYPE_CHECKING:
    from phylocli.errors import PhylocliError as PhylocliError
    from phylocli.formats import read_families as read_families
    from phylocli.formats import read_sequences as read_sequences
    from phylocli.formats import write_families as write_families
    from phylocli.formats.family import Family as Family
    from phylocli.formats.fasta import Sequence as Sequence
    from phylocli.formats.newick import Tree as Tree

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604  the names are strings


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'phylocli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
