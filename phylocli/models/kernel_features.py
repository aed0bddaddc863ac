"""Kernel means of residues: the distribution of a sequence's residue vectors instead of their average only.

The kernel mean embedding of a set of vectors (Smola, Gretton, Song & Schölkopf 2007, doi:10.1007/978-3-540-75225-7_5) is the
average of k(x, ·) over its members; the product of two of them is the average of k over all pairs of residues, one from each
sequence. With a Gaussian kernel it distinguishes sets that have the same mean. Random Fourier features give a finite
approximation (Rahimi & Recht 2007, Random features for large-scale kernel machines, NeurIPS):

    k(x, y) = exp(-½ w² |x - y|²) ≈ 2/D Σ cos(x · f + b) cos(y · f + b),   f from N(0, w² I), b uniform in [0, 2π).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.encoders.base.averaging import mean_of


class KernelMean(nn.Module):
    """The average over residues of cos(x · frequencies + phases), in float32.

    Args:
        dimension: features R of a residue.
        features: number D of random Fourier features.

    Attributes:
        frequencies: (R, D), zero before `fit`.
        phases: (D,), zero before `fit`.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, dimension: int, features: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(dimension, features))
        self.register_buffer("phases", torch.zeros(features))

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, R) with mask (N, L) to (N, D) float32."""
        with torch.autocast(residues.device.type, enabled=False):
            return mean_of(lambda x: torch.cos(F.linear(x.float(), self.frequencies.T, self.phases)), residues, mask)

    @torch.no_grad()
    def fit(self, mean: Tensor, axes: Tensor, width: float, seed: int) -> None:
        """Sample the frequencies of a Gaussian kernel on (x - mean) · axes.

        Args:
            mean: of residues, (R,).
            axes: axes on which residues are compared, (R, d).
            width: w of the kernel above, per unit of an axis.
            seed: random seed.
        """
        rng = np.random.default_rng(seed)
        drawn = torch.from_numpy(rng.normal(size=(axes.shape[1], len(self.phases))))
        frequencies = axes.double().cpu() @ (width * drawn)
        phases = torch.from_numpy(rng.uniform(0, 2 * math.pi, len(self.phases))) - mean.double().cpu() @ frequencies
        self.frequencies.copy_(frequencies)
        self.phases.copy_(phases.remainder(2 * math.pi))
