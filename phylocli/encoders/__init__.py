"""One architecture per file: tokens (N, L) → residues (N, L, D); `encoders.poolings` reduce these to one vector.

The model, an encoder with its pooling, is `phylocli.models.Model`.
"""

from __future__ import annotations

from phylocli.encoders.base.batch import pad_batch, token_batches
from phylocli.encoders.poolings import build_pooling

__all__ = ["build_pooling", "pad_batch", "token_batches"]
