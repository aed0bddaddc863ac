"""phylocli: from a protein family's name to embeddings that carry function.

Every stage of the command line is one function call here:

>>> import phylocli
>>> families = phylocli.read_families("examples/families.sto")
>>> trees = phylocli.infer_trees(phylocli.align_families(families))
>>> pairs = phylocli.sample_pairs(trees, min_dist=0.5, max_dist=1.5, number=1000, seed=0)  # a polars frame

Names are resolved when first used, so `import phylocli` is quick and loads no heavy library.
"""

import lazy_loader

from phylocli.core.threads import set_environment

set_environment()

__version__ = "0.1.0"

# The names are in __init__.pyi, once for type checkers and for here.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
