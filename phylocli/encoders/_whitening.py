"""The last step of a model that asks for it: an affine map fitted after training, from features to what is compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Whitening(nn.Module):
    """x ↦ (x - mean) · matrix, in float32.

    Args:
        dimension: number of features D, before and after.

    Attributes:
        mean: (D,), zero until it is fitted.
        matrix: (D, D), the identity until it is fitted.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("matrix", torch.eye(dimension))

    def forward(self, x: Tensor) -> Tensor:
        """Return the whitened vectors, (N, D) float32."""
        with torch.autocast(x.device.type, enabled=False):
            return (x.float() - self.mean) @ self.matrix

    @torch.no_grad()
    def fit(self, vectors: Tensor, family: Tensor, power: float, floor: float = 1e-3) -> None:
        """Fit within-family covariance normalisation.

        Directions in which members of one family differ as much as strangers do say nothing of the family. With the mean μ
        of all vectors and the average covariance W within families, the map is x ↦ (x - μ) · W^(-power): at 1/2 it makes
        that covariance the identity, so that cosine and distance weigh each direction by how little relatives differ in
        it. That is within-class covariance normalisation (Hatch, Kajarekar & Stolcke 2006, Within-class covariance
        normalization for SVM-based speaker recognition, Interspeech), the half of a linear discriminant analysis that
        keeps all dimensions.

        Args:
            vectors: (N, D).
            family: code of each vector's family, (N,). Families of one vector take no part in W.
            power: 0 subtracts the mean only, 0.5 whitens.
            floor: eigenvalues of W count as at least this share of the largest one, so that a direction which few vectors
                know of is not blown up.
        """
        x = vectors.double()
        _, code = family.unique(return_inverse=True)
        count = torch.bincount(code).to(x)
        means = x.new_zeros(len(count), x.shape[1]).index_add_(0, code, x) / count[:, None]
        apart = (x - means[code])[count[code] > 1]
        freedom = (count - 1).clamp(min=0).sum().clamp(min=1)
        values, axes = torch.linalg.eigh(apart.T @ apart / freedom)
        values = values.clamp(min=floor * float(values.max().clamp(min=1e-12)))
        self.mean.copy_(x.mean(0))
        self.matrix.copy_(axes @ torch.diag(values**-power) @ axes.T)
