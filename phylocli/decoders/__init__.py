"""One decoder per file: latent vectors z (N, Z) → a distribution q(x | z) over sequences of all lengths.

A decoder is the other half of an autoencoder: it is trained by the objective `hybrid`, is saved with the model, and
reconstructs and generates sequences.

>>> from phylocli.decoders import build_decoder, uniform_numbers
>>> decoder = build_decoder("convolutional", 128)
>>> nats = decoder.log_likelihood(z, tokens, mask)  # (N,)
>>> sequences = decoder.sample(z, uniform_numbers(len(z), decoder.draws, seed=0))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from phylocli.core.alphabet import AMINO_ACIDS, NUCLEOTIDES
from phylocli.core.plugins import DECODERS
from phylocli.decoders.base.gaussian import GaussianDecoder
from phylocli.decoders.base.sampling import uniform_numbers
from phylocli.decoders.base.sequence_decoder import SequenceDecoder

LETTERS = {"protein": len(AMINO_ACIDS), "dna": len(NUCLEOTIDES)}
"""Number of letters that are decoded, by alphabet; all others are missing data."""


def build_decoder(
    name: str, latent: int, parameters: Mapping[str, Any] | None = None, *, alphabet: str = "protein"
) -> SequenceDecoder:
    """Return the decoder `name` for latent vectors of `latent` features, with random weights.

    Raises:
        UsageError: no such decoder, an unknown parameter, or a value out of range.
    """
    made = DECODERS.load(name).Decoder
    decoder = DECODERS.make(name, made, latent, parameters=dict(parameters or {}), letters=LETTERS[alphabet])
    return cast(SequenceDecoder, decoder)


__all__ = ["GaussianDecoder", "SequenceDecoder", "build_decoder", "uniform_numbers"]
