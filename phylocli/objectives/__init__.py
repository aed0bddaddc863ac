"""One objective a file: two batches of true pairs a (N, D), b (N, D) → named terms, of which `loss` is minimised.

>>> from phylocli.critics import build_critic
>>> from phylocli.objectives import Batch, build_objective
>>> objective = build_objective("infonce", build_critic("cosine", 128, {"temperature": 0.1}))
>>> terms = objective(a, b, Batch.of_families(family, clan))
>>> terms["loss"].backward()

Files with a function `bound(scores, negatives)` are estimators of mutual information: the score matrix (N, N) of any
critic, true pairs on the diagonal, gives nats.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from phylocli import registry
from phylocli.errors import UsageError
from phylocli.objectives._masking import Batch


def build_objective(name: str, critic: nn.Module, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return the objective `name` on a critic's scores.

    Raises:
        UsageError: no such objective, or a parameter that it does not have.
    """
    try:
        return registry.load("objectives", name).Objective(critic, **(parameters or {}))
    except TypeError as error:
        raise UsageError(f"the objective {name!r} does not take these parameters", why=str(error)) from error


__all__ = ["Batch", "build_objective"]
