"""phylocli: protein families, their trees, and embeddings learned from evolution.

Every stage of the command line is a function of this package:

>>> import phylocli
>>> families = phylocli.read_families("examples/families.sto")
>>> trees = phylocli.infer_trees(phylocli.align_families(families))
>>> pairs = phylocli.sample_pairs(trees, min_dist=0.5)  # a polars frame
>>> table = phylocli.load_model("default").embed(["MKTAYIAKQR", "MKVLA"])  # .numpy() (N, D), .to_polars(), .write(path)
>>> report = phylocli.probe(table, labels)  # doctest: +SKIP

Names are loaded on first use, so `import phylocli` is fast and imports no heavy library.
"""

import sys
from typing import Any

import lazy_loader

from phylocli.core.threads import set_environment

set_environment()

__version__ = "0.1.0"

# The names are defined in __init__.pyi, for type checkers and for this module.
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# `phylocli.probe` and `phylocli.search` are callable packages (core.callable_module); functions of these names would hide
# them.
globals().pop("__lazy_shadowed__", None)


def __getattr__(name: str) -> Any:
    value = _load(name)
    package = sys.modules.get(f"{__name__}.{name}")
    if package is None:
        return value
    globals()[name] = package
    return package
