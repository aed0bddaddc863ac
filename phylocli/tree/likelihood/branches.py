"""One branch, everything else given: its likelihood as a function of its length, and Newton steps on that."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from phylocli.tree.likelihood.forest import MAX_LENGTH, MIN_LENGTH
from phylocli.tree.models import STATES, SubstitutionModel

_LEAST = {torch.float32: 1e-15, torch.float64: 1e-100}  # of a probability: prevents underflow of a product of two
_FLOOR = {torch.float32: 1e-12, torch.float64: 1e-200}  # of a site's likelihood, due to rounding
_BITS = {torch.float32: (torch.int32, 23, 127), torch.float64: (torch.int64, 52, 1023)}  # word, exponent position, bias
_AT_ONCE = 128  # branches whose transition probabilities are computed together in the fast path
_REACH = 5.0  # maximum factor by which a step changes a length


class Meeting(NamedTuple):
    """The data at branches: a site's likelihood is Σ_c share_c Σ_k product_ck exp(λ_k r_c t), times a power of two.

    If every site has one rate (`Forest.divided`), the categories contain different sites, and there is no sum over c.

    Attributes:
        product: of both sides' partials, projected on the eigenvectors, shape (branches, categories, 20, patterns).
        share: the categories' powers of two on one scale, shape (branches, categories, patterns); None: one rate per site.
        exponent: of the power of two that all of a site has in common, shape (branches, patterns), or of all sites of all
            categories, shape (branches, categories · patterns).
    """

    product: torch.Tensor
    share: torch.Tensor | None
    exponent: torch.Tensor

    @classmethod
    def of(cls, product: torch.Tensor, exponents: torch.Tensor, *, divided: bool) -> Meeting:
        """Return the meeting of sides with these exponents in sum, shape (branches, categories, patterns)."""
        if divided:
            return cls(product, None, exponents.flatten(1))
        highest = exponents.amax(dim=1, keepdim=True)
        return cls(product, torch.exp2(exponents - highest), highest.squeeze(1))


class Fitted(NamedTuple):
    """Lengths after Newton steps, and the values before the first step, all float64.

    Attributes:
        length: shape (branches,).
        slope: derivative of the log likelihood by the length before, shape (branches,).
        site: likelihood of each site before, times categories and without `Meeting.exponent`, shape (branches, patterns).
    """

    length: torch.Tensor
    slope: torch.Tensor
    site: torch.Tensor

    def log_sites(self, meeting: Meeting, rates: torch.Tensor) -> torch.Tensor:
        """Return the sites' log likelihoods before the first step, shape (branches, patterns)."""
        found = torch.log(self.site) + meeting.exponent.double() * math.log(2)
        return found if meeting.share is None else found - math.log(rates.shape[1])


class Branches:
    """The model's part in everything that happens on branches.

    Args:
        model: the substitution model.
        device: where to compute.
        dtype: of partials and transition probabilities.
        quick: whether transition probabilities are computed in `dtype` too, and not in double precision.
    """

    def __init__(self, model: SubstitutionModel, device: torch.device, dtype: torch.dtype, *, quick: bool = False) -> None:
        self.eigenvalues = torch.from_numpy(model.eigenvalues).to(device)
        self.frequencies = torch.from_numpy(model.frequencies).to(device)
        self.project = torch.from_numpy(model.left).to(device, dtype)
        self._right = torch.from_numpy(model.right).to(device)
        self._left = torch.from_numpy(model.left).to(device)
        self._quick_right = self._right.to(dtype)
        self._dtype = dtype
        self._quick = quick

    def transitions(self, length: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
        """Return P(r_c t), shape (branches, categories, 20, 20), for t (branches,), r (branches, categories)."""
        time = length[:, None] * rates
        if self._quick:
            return self._quick_transitions(time)
        spectrum = torch.exp(time[..., None] * self.eigenvalues)
        found = torch.matmul((self._right * spectrum[..., None, :]).reshape(-1, STATES), self._left)
        return found.clamp_(min=_LEAST[self._dtype]).to(self._dtype).view(*time.shape, STATES, STATES)

    def _quick_transitions(self, time: torch.Tensor) -> torch.Tensor:
        """Return P(t) as 1 and P(t) − 1, in the precision of the partials: half the time, and errors below 1e-6."""
        found = torch.empty((*time.shape, STATES, STATES), device=time.device, dtype=self._dtype)
        for start in range(0, len(time), _AT_ONCE):  # fits in the caches
            part = found[start : start + _AT_ONCE]
            growth = torch.expm1(time[start : start + _AT_ONCE, :, None] * self.eigenvalues).to(self._dtype)
            torch.matmul(
                (self._quick_right * growth[..., None, :]).view(-1, STATES), self.project, out=part.view(-1, STATES)
            )
            part.diagonal(dim1=-2, dim2=-1).add_(1.0)
            part.clamp_(min=_LEAST[self._dtype])
        return found

    def fit(
        self,
        meeting: Meeting,
        length: torch.Tensor,
        rates: torch.Tensor,
        weights: torch.Tensor,
        free: torch.Tensor,
        steps: int,
    ) -> Fitted:
        """Take Newton steps on lengths.

        Args:
            meeting: the data at the branches.
            length: start values, shape (branches,).
            rates: of the categories, shape (branches, categories).
            weights: of the patterns, shape (branches, patterns).
            free: which lengths may move, shape (branches,).
            steps: number of steps; 0 keeps the lengths.
        """
        speed = rates[..., None] * self.eigenvalues  # (branches, categories, 20)
        flat = meeting.product.flatten(0, 1)
        slopes, sites = length, weights
        for step in range(max(steps, 1)):
            decay = torch.exp(speed * length[:, None, None])
            moved = decay * speed
            spectra = torch.stack([decay, moved, moved * speed], dim=2).flatten(0, 1).to(flat.dtype)
            terms = torch.bmm(spectra, flat).view(*rates.shape, 3, -1)
            if meeting.share is None:
                terms = terms.transpose(1, 2).flatten(2)
            else:
                terms *= meeting.share.unsqueeze(2)
                terms = terms.sum(dim=1)
            site, first, second = terms.double().unbind(dim=1)
            site = site.clamp(min=_FLOOR[self._dtype])
            slope_of_site = first / site
            slope = (weights * slope_of_site).sum(dim=1)
            curvature = (weights * (second / site - slope_of_site.square())).sum(dim=1)
            if step == 0:
                slopes, sites = slope, site
            if not steps:
                break
            length = torch.where(free, _step(length, slope, curvature), length)
        return Fitted(length, slopes, sites)


def rescale(partials: torch.Tensor) -> torch.Tensor:
    """Divide partials (…, 20, patterns), in place, by the power of two above their largest; return its exponent.

    Exponents are read from the bits of the numbers, and powers of two written there: frexp and ldexp take longer.
    """
    word, shift, bias = _BITS[partials.dtype]
    largest = partials.amax(dim=-2)
    exponent = (largest.view(word) >> shift) - (bias - 1)
    partials *= ((bias - exponent) << shift).view(partials.dtype).unsqueeze(-2)
    return exponent.to(partials.dtype)


def _step(length: torch.Tensor, slope: torch.Tensor, curvature: torch.Tensor) -> torch.Tensor:
    """Return the next lengths: a Newton step if the likelihood is concave, else a step uphill, both within bounds."""
    uphill = torch.where(slope > 0, length * _REACH, length / _REACH)
    newton = length - slope / curvature
    target = torch.where(curvature < 0, newton, uphill)
    highest = (length * _REACH).clamp(min=0.01)
    return torch.minimum(torch.maximum(target, length / _REACH), highest).clamp(MIN_LENGTH, MAX_LENGTH)
