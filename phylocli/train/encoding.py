"""Sequences to vectors, a group of similar length at a time; with gradient caching, one group's activations at a time.

Gradient caching (Gao, Zhang, Han & Callan 2021, arXiv 2101.06983) takes a contrastive loss over a batch that is far too
large for its activations to fit: encode all without keeping them, find the loss and its gradient with respect to the
vectors, then encode group by group again, now with activations, and send the vectors' gradient through. It is exact: the
second pass has the random state of the first, so dropout is the same. Here each group is one checkpointed function
(Chen et al. 2016, arXiv 1604.06174) of the graph; the backward pass then does just that, in one call, and whatever an
objective makes of vectors, residues or segments is served alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from phylocli.encoders import Model, pad_batch
from phylocli.train.data import chunks_by_length
from phylocli.views import Tokens


@dataclass
class Encoded:
    """What became of N sequences, in their order.

    Attributes:
        vectors: (N, D) float32, or float64 where the weights are.
        residues: (N, L, F) of the same type, where they were asked for.
        mask: which of them there are, (N, L) bool.
    """

    vectors: Tensor
    residues: Tensor | None = None
    mask: Tensor | None = None


def encode(
    model: Model,
    sequences: Sequence[Tokens],
    *,
    tokens: int,
    precision: torch.dtype = torch.float32,
    cache: bool = False,
    keep: bool = False,
) -> Encoded:
    """Return the vectors of at least one sequence.

    Args:
        model: on the device that the result shall be on.
        sequences: token arrays.
        tokens: that go through the encoder at once, padding included; see `chunks_by_length`.
        precision: of the encoder's products.
        cache: compute activations again in the backward pass instead of keeping them, see above.
        keep: give residues, too.
    """

    def group(batch: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        with torch.autocast(model.device.type, dtype=precision, enabled=precision != torch.float32):
            residues = model.residues(batch, mask)
            pooled = model.pool(residues, mask).to(exact)
        return (pooled, residues.to(exact), mask) if keep else (pooled, None, None)

    exact = torch.promote_types(next(model.parameters()).dtype, torch.float32)
    cache = cache and torch.is_grad_enabled()
    groups = chunks_by_length([len(s) for s in sequences], tokens)
    found = []
    for at in groups:
        padded = pad_batch([sequences[i] for i in at], model.device)
        found.append(checkpoint(group, *padded, use_reentrant=False) if cache else group(*padded))
    place = torch.empty(len(sequences), dtype=torch.int64)
    place[[i for at in groups for i in at]] = torch.arange(len(sequences))
    order = place.to(model.device, non_blocking=True)
    vectors = torch.cat([pooled for pooled, _, _ in found])[order]
    if not keep:
        return Encoded(vectors)
    width = max(len(s) for s in sequences)
    residues = torch.cat([F.pad(r, (0, 0, 0, width - r.shape[1])) for _, r, _ in found if r is not None])[order]
    masks = torch.cat([F.pad(m, (0, width - m.shape[1])) for _, _, m in found if m is not None])[order]
    return Encoded(vectors, residues, masks)
