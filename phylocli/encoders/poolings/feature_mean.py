"""The average over residues of learned features (expanded mean pooling)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.encoders.base.averaging import mean_of


class Pooling(nn.Module):
    """The average over residues of learned features: mean of gelu(W·x + b), with any number of features.

    The average of D values carries little information about a sequence; with more features it approaches a bag of learned
    motifs. The encoder itself stays narrow and fast.
    """

    def __init__(self, dimension: int, features: int = 512) -> None:
        super().__init__()
        if features < 1:
            raise UsageError(f"the pooling cannot have {features} features", fix="give at least one feature")
        self.dimension = features
        self.expand = nn.Linear(dimension, features)

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, features)."""
        return mean_of(lambda x: F.gelu(self.expand(x)), residues, mask)
