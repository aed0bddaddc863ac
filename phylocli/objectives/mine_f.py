"""MINE-f: MINE with the f-divergence form instead of Donsker–Varadhan's, whose gradient needs no correction.

    I(a; b) ≥ E_pairs[ s ] - E_negatives[ exp(s - 1) ]

Belghazi et al. 2018, arXiv 1801.04062, section 2.1, after Ruderman et al. 2012, arXiv 1206.4611. There is no logarithm
around the average, so the gradient of a batch is unbiased. Identical to `nwj`, under the name used in the papers on MINE.
"""

from __future__ import annotations

from phylocli.objectives.nwj import Objective, bound

__all__ = ["Objective", "bound"]
