"""Maximum likelihood on trees: branch lengths, shape of Γ, nearest-neighbour interchanges, branch support."""

from phylocli.tree.likelihood.batches import partial_bytes
from phylocli.tree.likelihood.interchange import Interchanged, interchange
from phylocli.tree.likelihood.refine import Refined, branch_derivatives, log_likelihood, refine_trees, site_log_likelihoods
from phylocli.tree.likelihood.support import LocalSupport, local_support

__all__ = [
    "Interchanged",
    "LocalSupport",
    "Refined",
    "branch_derivatives",
    "interchange",
    "local_support",
    "log_likelihood",
    "partial_bytes",
    "refine_trees",
    "site_log_likelihoods",
]
