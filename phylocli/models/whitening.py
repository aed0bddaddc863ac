"""An optional last step of a model: an affine map fitted after training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Whitening(nn.Module):
    """x ↦ (x - mean) · matrix, in float32.

    Args:
        features: number F of input features.
        dimension: number D of output features; 0: as many.

    Attributes:
        mean: (F,), zero before `fit`.
        matrix: (F, D), identity before `fit`.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, features: int, dimension: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("matrix", torch.eye(features, dimension or features))

    @property
    def dimension(self) -> int:
        """Number of features after the map."""
        return self.matrix.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the whitened vectors, (N, D) float32."""
        with torch.autocast(x.device.type, enabled=False):
            return (x.float() - self.mean) @ self.matrix

    @torch.no_grad()
    def fit(
        self,
        vectors: Tensor,
        family: Tensor,
        power: float,
        floor: float = 1e-3,
        blocks: Sequence[int] | None = None,
        nuisance: Tensor | None = None,
    ) -> None:
        """Fit within-family covariance normalisation and, if the map has fewer output features, a discriminant analysis.

        Directions in which members of one family differ as much as unrelated sequences carry no information about the
        family. With the mean μ of all vectors and the average within-family covariance W, the map is x ↦ (x - μ) ·
        W^(-power). With power 1/2 it makes that covariance the identity, so that cosine and distance weight each direction
        by how little homologs differ in it. This is within-class covariance normalisation (Hatch, Kajarekar & Stolcke 2006,
        Within-class covariance normalization for SVM-based speaker recognition, Interspeech), the half of a linear
        discriminant analysis that keeps all dimensions. The other half, for fewer output features: the axes of the mapped
        vectors along which family means differ most.

        Args:
            vectors: (N, F).
            family: family code of each vector, (N,). Families with one vector do not contribute to W.
            power: 0 subtracts the mean only, 0.5 whitens.
            floor: eigenvalues of W are at least this fraction of the largest one, so that directions with little variance
                are not amplified.
            blocks: numbers of features, F in total, from different sources: blocks are scaled to equal variance first,
                because of the floor.
            nuisance: a covariance, (F, F), that is added to W: of variation that is not to count although members of a
                family share it, such as composition (as in nuisance attribute projection, Solomonoff, Campbell &
                Boardman 2005, Advances in channel compensation for SVM speaker recognition, ICASSP, but without removing
                any direction).
        """
        x = vectors.double()
        mean = x.mean(0)
        scale = torch.ones_like(mean)
        if blocks:
            spreads = [part.mean().clamp(min=1e-12) for part in x.std(0).split(list(blocks))]
            scale = torch.cat([spread.reciprocal().expand(n) for spread, n in zip(spreads, blocks, strict=True)])
        x = (x - mean) * scale
        _, code = family.unique(return_inverse=True)
        count = torch.bincount(code).to(x)
        means = x.new_zeros(len(count), x.shape[1]).index_add_(0, code, x) / count[:, None]
        apart = (x - means[code])[count[code] > 1]
        freedom = (count - 1).clamp(min=0).sum().clamp(min=1)
        within = apart.T @ apart / freedom
        if nuisance is not None:
            within += scale[:, None] * nuisance.double() * scale
        values, axes = torch.linalg.eigh(within)
        values = values.clamp(min=floor * float(values.max().clamp(min=1e-12)))
        matrix = axes @ torch.diag(values**-power) @ axes.T
        if self.dimension < len(matrix):
            matrix @= torch.linalg.eigh(torch.cov((means @ matrix).T)).eigenvectors.flip(1)[:, : self.dimension]
        self.mean.copy_(mean)
        self.matrix.copy_(scale[:, None] * matrix)
