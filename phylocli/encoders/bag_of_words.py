"""Vectors of the tokens alone, whatever their order: with mean pooling a continuous bag of words (CBOW).

Mikolov, Chen, Corrado & Dean 2013, arXiv 1301.3781; as a text encoder of CLIP's precursors: Joulin et al. 2016, arXiv
1511.02251.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.alphabet import VOCABULARY_SIZE
from phylocli.core.errors import UsageError
from phylocli.encoders.base.batch import Layout
from phylocli.encoders.base.inputs import input_layer

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"width": 64},
    "small": {"width": 128},
    "medium": {"width": 320},
    "large": {"width": 640},
}


class Encoder(nn.Module):
    """One vector per token.

    Args:
        width: features D of a token.
        dropout: fraction of features zeroed, in training only.
        vocabulary: number of tokens.
        inputs: numbers per position, in place of tokens; 0: tokens.

    Raises:
        UsageError: a size below 1.
    """

    PRESETS = PRESETS
    activation_checkpointing = False  # without effect: there are no layers to recompute

    def __init__(
        self, *, width: int = 128, dropout: float = 0.0, vocabulary: int = VOCABULARY_SIZE, inputs: int = 0
    ) -> None:
        super().__init__()
        if min(width, vocabulary) < 1:
            raise UsageError("width and vocabulary must be at least 1")
        self.dimension, self.depth = width, 0
        self.embed = input_layer(width, vocabulary, inputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode tokens; arguments and result as in `convolutional`."""
        layout = Layout(mask)
        return layout.unflatten(self.dropout(self.embed(layout.flatten(tokens))))
