"""The unchanged sequence: the encoder's own dropout makes the two views differ (SimCSE).

Gao, Yao & Chen, "SimCSE: simple contrastive learning of sentence embeddings", EMNLP 2021. Needs an encoder with dropout in
training mode; otherwise the two views are identical. The evolutionary distance between them is 0.
"""

from __future__ import annotations

import numpy as np

from phylocli.views.base.contracts import Tokens

KIND = "transform"
DISTANCE = "0"


class Dropout:
    """Returns the sequence unchanged."""

    expected_distance = 0.0

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the sequence."""
        return tokens


make = Dropout
