"""The first layer of encoders: vectors of tokens, of groups of tokens, or of numbers."""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.alphabet import PAD


class TokenEmbedding(nn.Embedding):
    """Vectors of tokens; for groups of tokens, such as the n-grams of a word, their mean."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return vectors (…, D), from tokens (T,), or from groups (T, G) filled up with padding."""
        found = super().forward(tokens)
        if tokens.ndim == 1:
            return found
        known = (tokens != PAD)[..., None].to(found.dtype)
        return (found * known).sum(-2) / known.sum(-2).clamp(min=1)


def input_layer(width: int, vocabulary: int, inputs: int) -> nn.Module:
    """Return the first layer of an encoder: on flat tokens (T,) or (T, G), or, if not 0, on numbers (T, `inputs`)."""
    return nn.Linear(inputs, width) if inputs else TokenEmbedding(vocabulary, width)
