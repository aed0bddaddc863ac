"""One objective per file: two batches of positive pairs a (N, D), b (N, D) → named terms, of which `loss` is minimised.

>>> from phylocli.critics import build_critic
>>> from phylocli.objectives import Batch, build_objective
>>> objective = build_objective("infonce", build_critic("cosine", 128, {"temperature": 0.1}))
>>> terms = objective(a, b, Batch.of_families(family, clan))
>>> terms["loss"].backward()

Files with a function `bound(scores, negatives)` are estimators of mutual information: they map the score matrix (N, N) of
any critic, with positive pairs on the diagonal, to nats. Their objectives are `Estimator`s.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from phylocli.core.plugins import OBJECTIVES
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.estimator import Estimator, estimators, needs_decoder
from phylocli.objectives.base.requirements import Removal, Requirements, requirements_of


def build_objective(
    name: str,
    critic: nn.Module,
    parameters: dict[str, Any] | None = None,
    *,
    dimension: int | None = None,
    features: int | None = None,
    letters: int | None = None,
) -> nn.Module:
    """Return the objective `name` on a critic's scores.

    Args:
        name: of a file in this package, or of a plugin.
        critic: scores (N, M) for a (N, D) and b (M, D).
        parameters: the objective's own.
        dimension, features, letters: of a and b, of residues and segments, and of the alphabet; passed to objectives that
        name them as parameters, because they have weights or a queue.

    Raises:
        UsageError: no such objective, an unknown parameter, or a value out of range.
    """
    made = OBJECTIVES.load(name).Objective
    known = inspect.signature(made).parameters
    given = {"dimension": dimension, "features": features, "letters": letters}
    sizes = {key: value for key, value in given.items() if key in known and value is not None}
    return OBJECTIVES.make(name, made, critic, parameters=parameters, **sizes)


__all__ = [
    "Batch",
    "Estimator",
    "Removal",
    "Requirements",
    "build_objective",
    "estimators",
    "needs_decoder",
    "requirements_of",
]
