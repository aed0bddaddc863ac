"""Critics whose scores are log densities of b given a."""

from __future__ import annotations

from torch import Tensor, nn


class Decoder(nn.Module):
    """A critic with scores log q(b | a), and beside it a density m(b) of the same kind that sees no a."""

    def marginal(self, b: Tensor) -> Tensor:
        """Return log m(b), (M,), for b (M, D)."""
        raise NotImplementedError
