"""Maximum likelihood on a given topology: likelihoods, derivatives, branch lengths, shape of Γ and support of branches."""

from phylocli.tree.likelihood.batches import partial_bytes
from phylocli.tree.likelihood.refine import Refined, branch_derivatives, log_likelihood, refine_trees, site_log_likelihoods
from phylocli.tree.likelihood.support import LocalSupport, local_support

__all__ = [
    "LocalSupport",
    "Refined",
    "branch_derivatives",
    "local_support",
    "log_likelihood",
    "partial_bytes",
    "refine_trees",
    "site_log_likelihoods",
]
