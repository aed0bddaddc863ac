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
from phylocli.train.distributed import World
from phylocli.views import Tokens

ALONE = World()


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
    world: World = ALONE,
) -> Encoded:
    """Return the vectors of at least one sequence.

    Args:
        model: on the device that the result shall be on.
        sequences: token arrays.
        tokens: that go through the encoder at once, padding included; see `chunks_by_length`.
        precision: of the encoder's products.
        cache: compute activations again in the backward pass instead of keeping them, see above.
        keep: give residues, too.
        world: the processes that share the work; each gets the whole result.
    """

    lengths = [len(s) for s in sequences]
    width = max(lengths)
    exact = torch.promote_types(next(model.parameters()).dtype, torch.float32)
    cache = cache and torch.is_grad_enabled()

    def group(batch: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(model.device.type, dtype=precision, enabled=precision != torch.float32):
            residues = model.residues(batch, mask)
            pooled = model.pool(residues, mask).to(exact)
        return (pooled, F.pad(residues.to(exact), (0, 0, 0, width - mask.shape[1]))) if keep else (pooled,)

    shares = world.shares(lengths)
    mine = [sequences[i] for i in shares[world.rank]]
    found: list[tuple[Tensor, ...]] = []
    for at in chunks_by_length([len(s) for s in mine], tokens):
        padded = pad_batch([mine[i] for i in at], model.device)
        found.append(checkpoint(group, *padded, use_reentrant=False) if cache else group(*padded))
    # Shares are in ascending length, and so are groups: rows come as in the shares, one rank's after the other's.
    counts = [len(share) for share in shares]
    place = torch.empty(len(sequences), dtype=torch.int64)
    place[[i for share in shares for i in share]] = torch.arange(len(sequences))
    order = place.to(model.device, non_blocking=True)
    whole = [world.gather(torch.cat(parts), counts)[order] for parts in zip(*found, strict=True)]
    if not keep:
        return Encoded(whole[0])
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return Encoded(whole[0], whole[1], mask.to(model.device, non_blocking=True))
