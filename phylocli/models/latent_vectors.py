"""Latent vectors of whole sequences, and the likelihoods of sequences given latent vectors, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.encoders import pad_batch, token_batches
from phylocli.models.model import Model

Tokens = npt.NDArray[np.uint8]

MAX_TOKENS = 8192
"""Residues that are computed at once, padding included."""


@torch.no_grad()
def latent_vectors(model: Model, sequences: Sequence[Tokens]) -> Tensor:
    """Return the latent vectors of sequences, (N, Z) float32 on the CPU, in their order.

    Args:
        model: on the device to use.
        sequences: tokens, of (L,) each.
    """
    found = torch.zeros(len(sequences), model.blocks[0])
    for at in token_batches([len(tokens) for tokens in sequences], MAX_TOKENS):
        tokens, mask = pad_batch([sequences[i] for i in at], model.device)
        found[at] = model.latents(model.residues(tokens, mask), mask).float().cpu()
    return found


@torch.no_grad()
def log_likelihoods(model: Model, latents: Tensor, sequences: Sequence[Tokens]) -> npt.NDArray[np.float64]:
    """Return log q(x | z) in nats of each sequence given its latent vector, (N,).

    Args:
        model: with a decoder, on the device to use.
        latents: (N, Z).
        sequences: tokens, of (L,) each.

    Raises:
        UsageError: the model has no decoder, or a sequence is longer than its maximum.
    """
    found = np.zeros(len(sequences))
    for at in token_batches([len(tokens) for tokens in sequences], MAX_TOKENS):
        tokens, mask = pad_batch([sequences[i] for i in at], model.device)
        nats = model.log_likelihood(latents[at].to(model.device), tokens, mask)
        found[at] = nats.double().cpu().numpy()
    return found
