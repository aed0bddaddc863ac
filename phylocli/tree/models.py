"""Amino-acid substitution models LG, WAG, JTT and Poisson, their transition probabilities, and Γ-distributed site rates.

All matrices are in the order of `alphabet.AMINO_ACIDS`. Time is measured in expected substitutions per site.

Sources of the parameters, which are as published except for the order of the amino acids:

- LG: Le & Gascuel, Mol. Biol. Evol. 25:1307 (2008), doi:10.1093/molbev/msn067
- WAG: Whelan & Goldman, Mol. Biol. Evol. 18:691 (2001), doi:10.1093/oxfordjournals.molbev.a003851
- JTT: Jones, Taylor & Thornton, CABIOS 8:275 (1992), doi:10.1093/bioinformatics/8.3.275
- Poisson: equal exchangeabilities and frequencies, Bishop & Friday (1987)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError, unknown_name

STATES = 20
Array = npt.NDArray[np.float64]

# Exchangeabilities: the lower triangle row by row (C-A, D-A, D-C, E-A, …). Frequencies: A, C, D, …, Y.
_LG_EXCHANGEABILITIES = """
2.489084
0.395144 0.062556
1.038545 0.003499 5.24387
0.253701 1.105251 0.017416 0.018811
2.06604 0.569265 0.844926 0.348847 0.089586
0.358858 0.640543 0.927114 0.423881 0.682139 0.311484
0.14983 0.320627 0.01069 0.044265 1.112727 0.008705 0.108882
0.536518 0.013266 0.282959 1.807177 0.023918 0.296636 0.697264 0.159069
0.395337 0.594007 0.015076 0.069673 2.592692 0.044261 0.366317 4.145067 0.1375
1.124035 0.89368 0.025548 0.173735 1.798853 0.139538 0.442472 4.273607 0.656604 6.312358
0.276818 0.528768 5.076149 0.541712 0.089525 1.437645 4.509238 0.191503 2.145078 0.068427 0.371004
1.177651 0.075382 0.394456 0.419409 0.094464 0.196961 0.508851 0.078281 0.390322 0.24906 0.099849 0.161787
0.969894 0.084808 0.523386 4.128591 0.035855 0.267959 4.813505 0.072854 3.234294 0.582457 1.672569 1.695752 0.624294
0.425093 0.534551 0.123954 0.36397 0.052722 0.390192 2.426601 0.126991 6.326067 0.301848 0.484133 0.751878 0.332533
2.807908
4.727182 2.784478 1.240275 0.611973 0.361819 1.73999 0.990012 0.064105 0.748683 0.182287 0.34696 4.008358 1.338132
1.223828 0.858151
2.139501 1.14348 0.42586 0.604545 0.165001 0.129836 0.584262 1.033739 1.136863 0.302936 2.020366 2.000679 0.571468
1.080136 0.578987 6.472279
2.54787 1.959291 0.037967 0.245034 0.654683 0.076701 0.119013 10.649107 0.185202 1.702745 1.898718 0.083688 0.296501
0.210332 0.170887 0.098369 2.188158
0.180717 0.670128 0.02989 0.077852 2.457121 0.268491 0.597054 0.11166 0.049906 0.619632 0.696175 0.045376 0.095131
0.236199 0.593607 0.248862 0.140825 0.18951
0.218959 1.165532 0.135107 0.120037 7.803902 0.054679 5.306834 0.232523 0.131932 0.299648 0.481306 0.612025 0.089613
0.257336 0.31444 0.400547 0.245841 0.249313 3.151815
"""
_LG_FREQUENCIES = """
0.079066 0.012937 0.053052 0.071586 0.042302 0.057337 0.022355 0.062157 0.0646 0.099081
0.022951 0.041977 0.04404 0.040767 0.055941 0.061197 0.053287 0.069147 0.012066 0.034155
"""

_WAG_EXCHANGEABILITIES = """
1.02704
0.738998 0.0302949
1.58285 0.021352 6.17416
0.210494 0.39802 0.0467304 0.0811339
1.41672 0.306674 0.865584 0.567717 0.049931
0.316954 0.248972 0.930676 0.570025 0.679371 0.24941
0.193335 0.170135 0.039437 0.127395 1.05947 0.0304501 0.13819
0.906265 0.0740339 0.479855 2.58443 0.088836 0.373558 0.890432 0.323832
0.397915 0.384287 0.0848047 0.154263 2.11517 0.0613037 0.499462 3.17097 0.257555
0.893496 0.390482 0.103754 0.315124 1.19063 0.1741 0.404141 4.25746 0.934276 4.85402
0.509848 0.265256 5.42942 0.947198 0.0961621 1.12556 3.95629 0.554236 3.01201 0.131528 0.198221
1.43855 0.109404 0.423984 0.682355 0.161444 0.24357 0.696198 0.0999288 0.556896 0.415844 0.171329 0.195081
0.908598 0.0988179 0.616783 5.46947 0.0999208 0.330052 4.29411 0.113917 3.8949 0.869489 1.54526 1.54364 0.933372
0.551571 0.528191 0.147304 0.439157 0.102711 0.584665 2.13715 0.186979 5.35142 0.497671 0.683162 0.635346 0.679489
3.0355
3.37079 1.40766 1.07176 0.704939 0.545931 1.34182 0.740169 0.31944 0.96713 0.344739 0.493905 3.97423 1.61328 1.02887
1.22419
2.12111 0.512984 0.374866 0.822765 0.171903 0.225833 0.473307 1.45816 1.38698 0.326622 1.51612 2.03006 0.795384
0.857928 0.554413 4.37802
2.00601 1.00214 0.152335 0.588731 0.649892 0.187247 0.118358 7.8213 0.305434 1.80034 2.05845 0.196246 0.314887
0.301281 0.251849 0.232739 1.38823
0.113133 0.71707 0.129767 0.156557 1.52964 0.336983 0.262569 0.212483 0.137505 0.665309 0.515706 0.0719167 0.139405
0.215737 1.16392 0.523742 0.110864 0.365369
0.240735 0.543833 0.325711 0.196303 6.45428 0.103604 3.87344 0.42017 0.133264 0.398618 0.428437 1.086 0.216046 0.22771
0.381533 0.786993 0.291148 0.31473 2.48539
"""
_WAG_FREQUENCIES = """
0.0866279 0.0193078 0.0570451 0.0580589 0.0384319 0.0832518 0.0244313 0.048466 0.0620286 0.086209
0.0195027 0.0390894 0.0457631 0.0367281 0.043972 0.0695179 0.0610127 0.0708956 0.0143859 0.0352742
"""

_JTT_EXCHANGEABILITIES = """
56
81 10
105 5 767
15 78 4 5
179 59 130 119 5
27 69 112 26 40 23
36 17 11 12 89 6 16
35 7 26 181 4 27 45 21
30 23 7 9 248 6 56 229 14
54 31 15 18 43 14 33 479 65 388
54 34 528 58 10 81 391 47 263 12 30
194 14 15 18 17 24 115 10 21 102 16 15
57 9 49 323 4 26 597 9 292 72 43 86 164
58 113 16 29 5 137 328 22 646 38 44 45 74 310
378 223 59 30 92 201 73 40 47 59 29 503 285 53 101
475 42 38 32 12 33 46 245 103 25 226 232 118 51 64 477
298 62 31 45 62 47 11 961 14 180 323 16 23 20 17 38 112
9 115 4 10 53 55 8 9 10 52 24 8 6 18 126 35 12 25
11 209 46 7 536 8 573 32 8 24 18 70 10 24 20 63 21 16 71
"""
_JTT_FREQUENCIES = """
0.076748 0.019803 0.051544 0.06183 0.040126 0.073152 0.022944 0.053761 0.058676 0.091904
0.023826 0.042645 0.050901 0.040752 0.051691 0.068765 0.058565 0.066005 0.014261 0.032102
"""


@dataclass(frozen=True, eq=False)
class SubstitutionModel:
    """A reversible model of amino-acid substitution, normalised to one expected substitution per unit of time.

    With Q = S·diag(π) (off the diagonal), diag(√π) Q diag(1/√π) is symmetric, so Q has real eigenvalues and
    P(t) = right · diag(exp(eigenvalues · t)) · left.

    Attributes:
        name: `lg`, `wag`, `jtt` or `poisson`.
        exchangeabilities: S, symmetric with a zero diagonal, scaled to one expected substitution per unit of time, shape
            (20, 20).
        frequencies: π, the stationary frequencies, shape (20,), summing to 1.
        eigenvalues: eigenvalues of Q, ascending, shape (20,); the last is 0, all others are negative.
        right: right eigenvectors as columns, shape (20, 20).
        left: left eigenvectors as rows, the inverse of `right`, shape (20, 20).
    """

    name: str
    exchangeabilities: Array
    frequencies: Array
    eigenvalues: Array
    right: Array
    left: Array

    @classmethod
    def from_exchangeabilities(cls, name: str, exchangeabilities: Array, frequencies: Array) -> SubstitutionModel:
        """Make a model from symmetric exchangeabilities, shape (20, 20), and frequencies, shape (20,), on any scale."""
        pi = frequencies / frequencies.sum()
        symmetric = (exchangeabilities + exchangeabilities.T) / 2
        np.fill_diagonal(symmetric, 0.0)
        symmetric = symmetric / (pi @ symmetric @ pi)  # expected substitutions per unit of time: Σ π_i s_ij π_j
        rates = symmetric * pi
        np.fill_diagonal(rates, -rates.sum(axis=1))
        root = np.sqrt(pi)
        balanced = root[:, None] * rates / root
        eigenvalues, vectors = np.linalg.eigh((balanced + balanced.T) / 2)
        eigenvalues[-1] = 0.0  # exactly 0, because a rounding error would make P(t) drift at large t
        return cls(name, symmetric, pi, eigenvalues, vectors / root[:, None], vectors.T * root)

    @property
    def rate_matrix(self) -> Array:
        """The rate matrix Q, shape (20, 20): rows sum to 0, and −Σ π_i Q_ii = 1."""
        rates = self.exchangeabilities * self.frequencies
        np.fill_diagonal(rates, -rates.sum(axis=1))
        return rates

    def transition(self, time: npt.ArrayLike) -> Array:
        """Return P(t), the probabilities of the column's amino acid given the row's, shape (*time.shape, 20, 20)."""
        t = np.asarray(time, dtype=np.float64)
        return self._from_spectrum(np.exp(self.eigenvalues * t[..., None]))

    def gamma_transition(self, time: npt.ArrayLike, alpha: float) -> Array:
        """Return P(t) averaged over site rates from Γ(α, 1/α), shape (*time.shape, 20, 20).

        The average is exact, without categories: E[exp(λ r t)] = (1 − λ t/α)^(−α), the moment generating function of Γ. An
        infinite `alpha` means equal rates.
        """
        t = np.asarray(time, dtype=np.float64)
        return self._from_spectrum(gamma_spectrum(self.eigenvalues, t, alpha))

    def _from_spectrum(self, spectrum: Array) -> Array:
        found = (self.right * spectrum[..., None, :]) @ self.left
        return np.maximum(found, 0.0)  # rounding gives −1e-17 for probabilities near 0


def gamma_spectrum(eigenvalues: Array, time: Array, alpha: float) -> Array:
    """Return E[exp(λ r t)] over rates r from Γ(α, 1/α) for each eigenvalue λ, shape (*time.shape, eigenvalues)."""
    exponent = eigenvalues * time[..., None]
    if np.isinf(alpha):
        return np.exp(exponent)
    return np.exp(-alpha * np.log1p(-exponent / alpha))


def discrete_gamma(alpha: float, categories: int = 4) -> Array:
    """Return the mean rate of each of `categories` equally probable classes of Γ(α, 1/α), shape (categories,).

    The mean over all classes is 1. Rates are means of the classes, not medians (Yang, J. Mol. Evol. 39:306 (1994),
    doi:10.1007/BF00160154).

    Raises:
        UsageError: `alpha` is not positive, or `categories` is less than 1.
    """
    from scipy.special import gammainc, gammaincinv

    if not alpha > 0:
        raise UsageError(
            f"the shape α of the Γ distribution must be positive, not {alpha}",
            fix="1 means moderate rate variation; inf equal rates",
        )
    if categories < 1:
        raise UsageError(f"the number of rate categories must be at least 1, not {categories}", fix="4 is usual")
    if np.isinf(alpha):
        return np.ones(categories)
    bounds = gammaincinv(alpha, np.arange(1, categories) / categories)
    below = np.concatenate([[0.0], gammainc(alpha + 1, bounds), [1.0]])
    return np.diff(below) * categories


def _lower_triangle(text: str) -> Array:
    matrix = np.zeros((STATES, STATES))
    matrix[np.tril_indices(STATES, -1)] = [float(word) for word in text.split()]
    return matrix + matrix.T


_NUMBERS = {
    "lg": (_LG_EXCHANGEABILITIES, _LG_FREQUENCIES),
    "wag": (_WAG_EXCHANGEABILITIES, _WAG_FREQUENCIES),
    "jtt": (_JTT_EXCHANGEABILITIES, _JTT_FREQUENCIES),
}

MODELS = ("lg", "wag", "jtt", "poisson")
"""The names of the models."""


@functools.cache
def substitution_model(name: str) -> SubstitutionModel:
    """Return a model by name (case-insensitive).

    Raises:
        UsageError: unknown model.
    """
    key = name.lower()
    if key == "poisson":
        equal = np.ones((STATES, STATES)) - np.eye(STATES)
        return SubstitutionModel.from_exchangeabilities(key, equal, np.ones(STATES) / STATES)
    if key not in _NUMBERS:
        raise unknown_name("unknown substitution model", name, MODELS)
    exchangeabilities, frequencies = _NUMBERS[key]
    pi = np.array([float(word) for word in frequencies.split()])
    return SubstitutionModel.from_exchangeabilities(key, _lower_triangle(exchangeabilities), pi)
