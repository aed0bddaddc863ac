"""Latent vectors of given sequences, and sequences of given latent vectors."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import IO

import torch
from torch import Tensor

from phylocli.core.alphabet import decode_tokens
from phylocli.core.errors import BadInputError
from phylocli.decoders import uniform_numbers
from phylocli.formats import Sequence
from phylocli.formats.sequences import fasta
from phylocli.models.latent_vectors import Tokens
from phylocli.models.model import Model

AT_ONCE = 64
"""Sequences that are sampled and decoded together."""


def tokens_of(sequence: Sequence, model: Model) -> Tokens:
    """Return the tokens of a sequence.

    Raises:
        UsageError: the model has no decoder.
        BadInputError: the sequence is longer than what the decoder can write.
    """
    longest = model.require_decoder().max_length
    if len(sequence.residues) > longest:
        raise BadInputError(
            f"{fasta.shorten(sequence.id)!r} has {len(sequence.residues):,} residues, but the decoder writes at most "
            f"{longest:,}",
            fix="leave it out or shorten it, or train a model with a larger decoder.max_length",
        )
    return model.encode(sequence.residues)


def decoded(model: Model, latents: Tensor, *, temperature: float, seed: int, first: int = 0) -> list[str]:
    """Return the letters of a sequence for each latent vector, (N, Z); a function of the seed and of first + i."""
    decoder = model.require_decoder()
    if temperature:
        uniform = uniform_numbers(len(latents), decoder.draws, seed=seed, first=first)
    else:
        uniform = torch.zeros(1, 1).expand(len(latents), decoder.draws)  # not used
    found = model.decode(latents.to(model.device), uniform, temperature)
    return [decode_tokens(tokens, model.alphabet) for tokens in found]


def write_fasta(sequences: Iterable[Sequence], stream: IO[bytes]) -> int:
    """Write sequences as FASTA, and return their number."""
    count = 0
    for sequence in sequences:
        text = io.StringIO()
        fasta.write([sequence], text)
        stream.write(text.getvalue().encode())
        count += 1
    return count
