"""Mutual information between two homologs as a function of their branch distance: evolution as a noisy channel.

For independent sites under a reversible model, the joint distribution of the two residues of a site at distance t is
π_a P_ab(t), and information adds over sites:

    I(t) = Σ_ab π_a P_ab(t) log ( P_ab(t) / π_b )

With rates r ~ Γ(α, 1/α) that are not observed, P(t) is its average over rates, (1 - λ t/α)^(-α) for each eigenvalue λ,
exactly. With known rates, the information is the average of I(r t), which is larger.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.tree.models import SubstitutionModel

Array = npt.NDArray[np.float64]
NODES = 100
"""Number of nodes of the quadrature over known rates; more than about 150 underflow."""


def log_ratio(model: SubstitutionModel, distance: float, alpha: float = math.inf) -> Array:
    """Return log P_ab(t) / π_b for two residues of one site, shape (20, 20): the pointwise information, and the best critic.

    Args:
        model: the substitution model.
        distance: t, expected substitutions per site.
        alpha: shape of the distribution of rates; infinite: equal rates.
    """
    with np.errstate(divide="ignore"):
        found = np.log(model.gamma_transition(distance, alpha) / model.frequencies)
    return np.asarray(found, dtype=np.float64)


def site_information(
    model: SubstitutionModel, distance: npt.ArrayLike, alpha: float = math.inf, *, known_rates: bool = False
) -> Array:
    """Return the information between the residues of a site in two homologs, in nats, of the distances' shape.

    Args:
        model: the substitution model.
        distance: t, expected substitutions per site, at least 0.
        alpha: shape of the distribution of rates; infinite: equal rates.
        known_rates: the rate of the site is known, as from a large alignment.

    Raises:
        UsageError: a distance that is negative or not finite, or a shape that is not positive.
    """
    t = np.asarray(distance, dtype=np.float64)
    wrong = t[~((t >= 0) & (t < math.inf))]
    if wrong.size:
        raise UsageError(f"a distance must be finite and at least 0, not {wrong.flat[0]:g}")
    if not alpha > 0:
        raise UsageError(f"the shape α must be positive, not {alpha:g}")
    if known_rates and math.isfinite(alpha):
        from scipy.special import roots_genlaguerre

        nodes, weights = roots_genlaguerre(NODES, alpha - 1)
        each = _information(model, model.transition(t[..., None] * nodes / alpha))
        return np.asarray(each @ (weights / weights.sum()), dtype=np.float64)
    return _information(model, model.gamma_transition(t, alpha))


def _information(model: SubstitutionModel, transition: Array) -> Array:
    from scipy.special import xlogy

    joint = model.frequencies[:, None] * transition
    found = xlogy(joint, transition / model.frequencies).sum(axis=(-2, -1))
    return np.maximum(np.asarray(found, dtype=np.float64), 0.0)  # rounding gives −1e-15 at long distances


def distance_of_information(model: SubstitutionModel, nats: float, alpha: float = math.inf) -> float:
    """Return the distance at which a site shares this much information; 0 if two equal residues share less.

    Raises:
        UsageError: nats that are not positive, which only an infinite distance has.
    """
    from scipy.optimize import brentq

    if not nats > 0:
        raise UsageError(f"no finite distance has {nats:g} nats", fix="give a positive number")
    if site_information(model, 0.0, alpha) <= nats:
        return 0.0
    high = 1.0
    while site_information(model, high, alpha) > nats:
        high *= 2
    return float(brentq(lambda t: float(site_information(model, t, alpha)) - nats, 0.0, high))
