"""Sequences to vectors, a group of similar length at a time; with gradient caching, one group's activations at a time.

Gradient caching (Gao, Zhang, Han & Callan 2021, arXiv 2101.06983) takes a contrastive loss over a batch that is far too
large for its activations to fit: encode all without keeping them, find the loss and its gradient with respect to the
vectors, then encode group by group again, now with activations, and send the vectors' gradient through. It is exact: the
second pass has the random state of the first, so dropout is the same. Here each group is one checkpointed function
(Chen et al. 2016, arXiv 1604.06174) of the graph; the backward pass then does just that, in one call, and whatever an
objective makes of vectors, residues or segments is served alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from phylocli.encoders import pad_batch
from phylocli.models.model import Model
from phylocli.train.data.types import chunks_by_length
from phylocli.train.parallel.execution import Execution
from phylocli.train.parallel.world import ALONE, World
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
    model: Model, sequences: Sequence[Tokens], execution: Execution, *, keep_residues: bool = False, world: World = ALONE
) -> Encoded:
    """Return the vectors of at least one sequence.

    Args:
        model: on the device that the result shall be on.
        sequences: token arrays.
        execution: how. If sharded, all processes go through the encoder equally often.
        keep_residues: return the residues, too.
        world: the processes that share the work; each gets the whole result.
    """
    lengths = [len(s) for s in sequences]
    width = max(lengths)
    max_tokens, precision, sharded = execution.max_tokens, execution.precision, execution.sharded
    exact = torch.promote_types(next(model.parameters()).dtype, torch.float32)
    cache = execution.grad_cache and torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters())

    def group(batch: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        # Each weight is used once, so that there is nothing to win by keeping its bf16 copy until the end.
        bf16 = torch.autocast(model.device.type, precision, enabled=precision != torch.float32, cache_enabled=not sharded)
        with bf16:
            residues = model.residues(batch, mask)
            pooled = model.pool(residues, mask).to(exact)
        return (pooled, F.pad(residues.to(exact), (0, 0, 0, width - mask.shape[1]))) if keep_residues else (pooled,)

    parts = world.partition(lengths)
    mine = [sequences[i] for i in parts[world.rank]]
    groups = chunks_by_length([len(s) for s in mine], max_tokens)
    if sharded:
        rounds = max(len(chunks_by_length([lengths[i] for i in part], max_tokens)) for part in parts)
        groups += [groups[0][:1]] * (rounds - len(groups))  # what is done again is cut off below, and has no gradient
    found: list[tuple[Tensor, ...]] = []
    for at in groups:
        padded = pad_batch([mine[i] for i in at], model.device)
        found.append(_cached(group, *padded, whole_pass=sharded) if cache else group(*padded))
    # Parts are in ascending length, and so are groups: rows come as in the parts, one rank's after the other's.
    counts = [len(part) for part in parts]
    place = torch.empty(len(sequences), dtype=torch.int64)
    place[[i for part in parts for i in part]] = torch.arange(len(sequences))
    order = place.to(model.device, non_blocking=True)
    whole = [world.gather(torch.cat(rows)[: len(mine)], counts)[order] for rows in zip(*found, strict=True)]
    if not keep_residues:
        return Encoded(whole[0])
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return Encoded(whole[0], whole[1], mask.to(model.device, non_blocking=True))


def _cached(group: Callable[..., tuple[Tensor, ...]], *inputs: Tensor, whole_pass: bool) -> tuple[Tensor, ...]:
    """Return what a group of sequences becomes; its activations are computed again in the backward pass.

    Args:
        group: encodes it.
        inputs: of the group.
        whole_pass: do that as a forward and a backward pass of its own, as weights in parts need it: they are put together
            for a pass, and let go at its end. Otherwise activations come back one by one as the graph asks for them.
    """
    if not whole_pass:
        return checkpoint(group, *inputs, use_reentrant=False)
    anchor = torch.ones((), requires_grad=True)  # without an input that has a gradient, this kind gives none to its output
    return checkpoint(lambda _, *rest: group(*rest), anchor, *inputs, use_reentrant=True)
