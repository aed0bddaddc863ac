"""The likelihood as a function of the length of a single branch, and Newton steps on the length."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from phylocli.tree.likelihood.forest import MAX_LENGTH, MIN_LENGTH
from phylocli.tree.models import STATES, SubstitutionModel

_LEAST = {torch.float32: 1e-15, torch.float64: 1e-100}  # minimum probability, prevents underflow of products of two
_FLOOR = {torch.float32: 1e-12, torch.float64: 1e-200}  # minimum site likelihood, which may be negative by rounding
_BITS = {torch.float32: (torch.int32, 23, 127), torch.float64: (torch.int64, 52, 1023)}  # word, exponent position, bias
_AT_ONCE = 128  # number of branches per block of transition probabilities in the fast path
_REACH = 5.0  # maximum factor by which a step changes a length


class Meeting(NamedTuple):
    """Coefficients of the likelihood at branches: that of a site is 2^exponent Σ_c share_c Σ_k product_ck exp(λ_k r_c t).

    If every site has a single rate (`Forest.divided`), categories contain different sites, and there is no sum over c.

    Attributes:
        product: product of the partial likelihoods of both sides, projected on the eigenvectors, shape (branches,
            categories, 20, patterns).
        share: scaling factor of each category relative to the largest, shape (branches, categories, patterns); None with a
            single rate per site.
        exponent: exponent of the power of two common to all categories of a site, shape (branches, patterns), or with a
            single rate per site, shape (branches, categories · patterns).
    """

    product: torch.Tensor
    share: torch.Tensor | None
    exponent: torch.Tensor

    @classmethod
    def of(cls, product: torch.Tensor, exponents: torch.Tensor, *, divided: bool) -> Meeting:
        """Make the coefficients from products and the sums of both sides' exponents, (branches, categories, patterns)."""
        if divided:
            return cls(product, None, exponents.flatten(1))
        highest = exponents.amax(dim=1, keepdim=True)
        return cls(product, torch.exp2(exponents - highest), highest.squeeze(1))


class Fitted(NamedTuple):
    """Lengths after Newton steps, and derivatives and likelihoods before the first step, in float64.

    Attributes:
        length: fitted lengths, shape (branches,).
        slope: derivative of the log likelihood with respect to the initial length, shape (branches,).
        site: initial likelihood of each site times the number of categories, without `Meeting.exponent`, shape (branches,
            patterns).
    """

    length: torch.Tensor
    slope: torch.Tensor
    site: torch.Tensor

    def log_sites(self, meeting: Meeting, rates: torch.Tensor) -> torch.Tensor:
        """Return the log likelihoods of the sites before the first step, shape (branches, patterns)."""
        found = torch.log(self.site) + meeting.exponent.double() * math.log(2)
        return found if meeting.share is None else found - math.log(rates.shape[1])


class Branches:
    """Transition probabilities and length optimisation of branches under a substitution model.

    Args:
        model: the substitution model.
        device: the device to compute on.
        dtype: type of partial likelihoods and transition probabilities.
        quick: whether to compute transition probabilities in `dtype` instead of double precision.
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
        """Return P(r_c t), shape (branches, categories, 20, 20), for t, (branches,), and r, (branches, categories)."""
        time = length[:, None] * rates
        if self._quick:
            return self._quick_transitions(time)
        spectrum = torch.exp(time[..., None] * self.eigenvalues)
        found = torch.matmul((self._right * spectrum[..., None, :]).reshape(-1, STATES), self._left)
        return found.clamp_(min=_LEAST[self._dtype]).to(self._dtype).view(*time.shape, STATES, STATES)

    def _quick_transitions(self, time: torch.Tensor) -> torch.Tensor:
        """Return P(t) computed as 1 + (P(t) − 1) in the precision of partials, which halves time; errors are below 1e-6."""
        found = torch.empty((*time.shape, STATES, STATES), device=time.device, dtype=self._dtype)
        for start in range(0, len(time), _AT_ONCE):  # blocks that fit in the CPU caches
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
        """Optimise lengths by Newton steps.

        Args:
            meeting: coefficients of the likelihood.
            length: initial lengths, shape (branches,).
            rates: rates of the categories, shape (branches, categories).
            weights: weights of the patterns, shape (branches, patterns).
            free: which lengths are optimised, shape (branches,).
            steps: number of steps; 0 only evaluates the likelihood.
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
    """Divide partials, (…, 20, patterns), in place by the power of two above their maximum, and return its exponent.

    Exponents are read from and written to the bits of the floating-point numbers, which is faster than frexp and ldexp.
    """
    word, shift, bias = _BITS[partials.dtype]
    largest = partials.amax(dim=-2)
    exponent = (largest.view(word) >> shift) - (bias - 1)
    partials *= ((bias - exponent) << shift).view(partials.dtype).unsqueeze(-2)
    return exponent.to(partials.dtype)


def _step(length: torch.Tensor, slope: torch.Tensor, curvature: torch.Tensor) -> torch.Tensor:
    """Return the next lengths: a Newton step if the likelihood is concave, otherwise a step uphill, within bounds."""
    uphill = torch.where(slope > 0, length * _REACH, length / _REACH)
    newton = length - slope / curvature
    target = torch.where(curvature < 0, newton, uphill)
    highest = (length * _REACH).clamp(min=0.01)
    return torch.minimum(torch.maximum(target, length / _REACH), highest).clamp(MIN_LENGTH, MAX_LENGTH)
