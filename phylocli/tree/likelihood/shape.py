"""Estimation of the shape of the Γ distribution and the scale of all branch lengths without further passes over the tree.

For given relative lengths, the likelihood of a site depends only on its rate r. A pass over the tree evaluates it at the
rates of all categories. A site with k changes on a tree of length L has a likelihood of about r^k exp(−rL), so its logarithm
is approximately a + k log r + b r + c r². Fitted to the four categories, this predicts the log likelihood at any other shape
and scale to a few tenths of a unit. Shape and scale are optimised on this approximation between passes.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from phylocli.tree.likelihood.pruning import mixture
from phylocli.tree.models import discrete_gamma

ALPHA_BOUNDS = (0.05, 50.0)
"""Minimum and maximum of the fitted shape; at 50 the rates of all sites are nearly equal."""

_REACH = (0.5, 0.35)  # maximum change of log α and of the log scale per pass, to limit extrapolation
_HALVINGS = 7  # number of halvings of the search step, down to less than 0.01
_LEAST_RATE = 1e-12  # minimum rate; lower rates give the same likelihoods
_TABLE = 240  # number of shapes whose rates are tabulated for the search


def exact_rates(alpha: torch.Tensor, categories: int) -> torch.Tensor:
    """Return the category rates of each tree, shape (trees, categories), given `alpha`, shape (trees,)."""
    rates = np.stack([discrete_gamma(shape, categories) for shape in alpha.tolist()])
    return torch.from_numpy(rates).to(alpha.device)


@functools.cache
def _log_rates(categories: int) -> np.ndarray:
    """Return log rates at shapes equally spaced in log α, shape (_TABLE, categories)."""
    shapes = np.geomspace(*ALPHA_BOUNDS, _TABLE)
    return np.log(np.maximum(np.stack([discrete_gamma(shape, categories) for shape in shapes]), _LEAST_RATE))


def fit_shape(
    log_likelihoods: torch.Tensor, weights: torch.Tensor, alpha: torch.Tensor, *, fit_scale: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maximum-likelihood shapes, and the corresponding scale factors of all lengths, shape (trees,) each.

    Args:
        log_likelihoods: log likelihood of each pattern at the rate of each category, shape (trees, categories, patterns).
        weights: weights of the patterns, shape (trees, patterns).
        alpha: current shapes, which determine the rates, shape (trees,).
        fit_scale: whether to fit the scale of lengths as well; otherwise the factors are 1.
    """
    device, categories = alpha.device, log_likelihoods.shape[1]
    table = torch.from_numpy(_log_rates(categories)).to(device, non_blocking=True)
    low, high = np.log(ALPHA_BOUNDS[0]), np.log(ALPHA_BOUNDS[1])
    centre = torch.log(alpha).clamp(low, high)
    known = _basis(exact_rates(alpha, categories).clamp(min=_LEAST_RATE), categories)
    coefficients = torch.linalg.solve(known, log_likelihoods).unsqueeze(1)  # (trees, 1, categories, patterns)
    place = torch.zeros((len(alpha), 2), dtype=torch.float64, device=device)
    reach = torch.tensor((_REACH[0], _REACH[1] if fit_scale else 0.0), dtype=torch.float64).to(device, non_blocking=True)
    around = torch.tensor([0.0, -1.0, 1.0], dtype=torch.float64)
    stencil = torch.cartesian_prod(around, around).to(device, non_blocking=True)
    step = reach.clone()
    for _ in range(2 * _HALVINGS):
        step = step / np.sqrt(2)
        candidates = (place[:, None] + stencil * step).clamp(-reach, reach)  # (trees, 9, 2)
        shapes = (centre[:, None] + candidates[..., 0]).clamp(low, high)
        at = (shapes - low) / (high - low) * (len(table) - 1)
        whole = at.floor().clamp(max=len(table) - 2)
        part = (at - whole).unsqueeze(-1)
        index = whole.long()
        wanted = table[index] * (1 - part) + table[index + 1] * part + candidates[..., 1:]  # (trees, 9, categories)
        values = torch.matmul(_basis(torch.exp(wanted), categories), coefficients)
        total = (mixture(values) * weights[:, None]).sum(dim=-1)
        place = candidates[torch.arange(len(place), device=device), total.argmax(dim=1)]
    return torch.exp((centre + place[:, 0]).clamp(low, high)), torch.exp(place[:, 1])


def _basis(rates: torch.Tensor, terms: int) -> torch.Tensor:
    """Return the basis functions log r, 1, r, r², … of rates, shape (*rates.shape, terms)."""
    powers = rates.unsqueeze(-1) ** torch.arange(terms - 1, dtype=rates.dtype, device=rates.device)
    return torch.cat([torch.log(rates).unsqueeze(-1), powers], dim=-1)
