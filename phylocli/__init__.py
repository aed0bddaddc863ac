"""phylocli: protein families, their trees, and embeddings learned from evolution.

Every stage of the command line is one function here:

>>> import phylocli
>>> families = phylocli.read_families("examples/families.sto")
>>> trees = phylocli.infer_trees(phylocli.align_families(families))
>>> pairs = phylocli.sample_pairs(trees, min_dist=0.5)  # a polars frame
>>> table = phylocli.load_model("default").embed(["MKTAYIAKQR", "MKVLA"])  # .numpy() (N, D), .to_polars(), .write(path)
>>> report = phylocli.probe(table, labels)  # doctest: +SKIP

Names are loaded when first used, so `import phylocli` is fast and imports no heavy library.
"""

import lazy_loader

from phylocli.core.threads import set_environment

set_environment()

__version__ = "0.1.0"

# The names are in __init__.pyi, once for type checkers and for here.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
