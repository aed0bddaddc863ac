"""Maximum likelihood on a given topology: likelihoods, derivatives, branch lengths and the shape of the Γ distribution."""

from phylocli.tree.likelihood.refine import (
    Refined,
    branch_derivatives,
    log_likelihood,
    partial_bytes,
    refine_trees,
    site_log_likelihoods,
)

__all__ = ["Refined", "branch_derivatives", "log_likelihood", "partial_bytes", "refine_trees", "site_log_likelihoods"]
