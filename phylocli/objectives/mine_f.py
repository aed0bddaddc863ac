"""MINE-f: MINE from the f-divergence form instead of Donsker–Varadhan's, with a gradient that needs no correction.

    I(a; b) ≥ E_pairs[ s ] - E_negatives[ exp(s - 1) ]

Belghazi et al. 2018, arXiv 1801.04062, section 2.1, after Ruderman et al. 2012, arXiv 1206.4611. There is no logarithm
around the average, so a batch's gradient is right on average as it stands. The same numbers as `nwj`, under the name that
the papers on MINE use.
"""

from __future__ import annotations

from phylocli.objectives.nwj import Objective, bound

__all__ = ["Objective", "bound"]
