"""Encoding of sequences in groups of similar length, optionally with gradient caching.

Gradient caching (Gao, Zhang, Han & Callan 2021, arXiv 2101.06983) computes a contrastive loss over a batch whose
activations do not fit in memory: encode all sequences without storing activations, compute the loss and its gradient with
respect to the vectors, then encode each group again with activations and backpropagate the gradient of its vectors. The
gradient is exact: the second pass restores the random state of the first, so dropout masks are the same. Each group is a
checkpointed function (Chen et al. 2016, arXiv 1604.06174), so a single backward call does all of this, whether the
objective uses vectors, residues or segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from phylocli.encoders import pad_batch
from phylocli.models.model import Model
from phylocli.train.data.types import chunks_by_length
from phylocli.train.parallel.execution import Execution
from phylocli.train.parallel.world import ALONE, World

Keep = Literal["vectors", "residues", "both"]


@dataclass
class Encoded:
    """The embeddings of N sequences, in input order.

    Attributes:
        vectors: pooled embeddings, (N, D) float32, or float64 if the weights are float64; None unless requested.
        residues: residue embeddings, (N, L, F) of the same type; None unless requested.
        mask: True for residues, False for padding, (N, L); None unless residues were requested.
    """

    vectors: Tensor | None = None
    residues: Tensor | None = None
    mask: Tensor | None = None

    def of_vectors(self) -> Tensor:
        """Return the vectors."""
        assert self.vectors is not None
        return self.vectors

    def of_residues(self) -> tuple[Tensor, Tensor]:
        """Return the residues and their mask."""
        assert self.residues is not None and self.mask is not None
        return self.residues, self.mask


def encode(
    model: Model,
    sequences: Sequence[npt.NDArray[Any]],
    execution: Execution,
    *,
    keep: Keep = "vectors",
    world: World = ALONE,
) -> Encoded:
    """Return the pooled embeddings, the residue embeddings, or both, of one or more sequences.

    Args:
        model: the model; the result is on its device.
        sequences: arrays of tokens, or of numbers.
        execution: execution settings. With a sharded encoder, all processes make the same number of encoder calls.
        keep: which embeddings to return; with residues only, pooling is skipped.
        world: the processes that share the work; each receives the complete result.
    """
    lengths = [len(s) for s in sequences]
    width = max(lengths)
    max_tokens, precision, sharded = execution.max_tokens, execution.precision, execution.sharded
    exact = torch.promote_types(next(model.parameters()).dtype, torch.float32)
    cache = execution.grad_cache and torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters())

    def group(batch: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        # Sharded weights are used once per pass, so caching their bf16 copies would only cost memory.
        bf16 = torch.autocast(model.device.type, precision, enabled=precision != torch.float32, cache_enabled=not sharded)
        with bf16:
            residues = model.residues(batch, mask)
            vectors = () if keep == "residues" else (model.pool(residues, mask).to(exact),)
        return vectors if keep == "vectors" else (*vectors, F.pad(residues.to(exact), (0, 0, 0, width - mask.shape[1])))

    parts = world.partition(lengths)
    mine = [sequences[i] for i in parts[world.rank]]
    groups = chunks_by_length([len(s) for s in mine], max_tokens)
    if sharded:
        rounds = max(len(chunks_by_length([lengths[i] for i in part], max_tokens)) for part in parts)
        groups += [groups[0][:1]] * (rounds - len(groups))  # padding groups: truncated below, so they have no gradient
    found: list[tuple[Tensor, ...]] = []
    for at in groups:
        padded = pad_batch([mine[i] for i in at], model.device)
        found.append(_cached(group, *padded, whole_pass=sharded) if cache else group(*padded))
    # Parts and groups are sorted by length, so gathered rows are ordered by rank, then by part: restore the input order.
    counts = [len(part) for part in parts]
    place = torch.empty(len(sequences), dtype=torch.int64)
    place[[i for part in parts for i in part]] = torch.arange(len(sequences))
    order = place.to(model.device, non_blocking=True)
    whole = [world.gather(torch.cat(rows)[: len(mine)], counts)[order] for rows in zip(*found, strict=True)]
    if keep == "vectors":
        return Encoded(whole[0])
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    vectors = whole[0] if keep == "both" else None
    return Encoded(vectors, whole[-1], mask.to(model.device, non_blocking=True))


def _cached(group: Callable[..., tuple[Tensor, ...]], *inputs: Tensor, whole_pass: bool) -> tuple[Tensor, ...]:
    """Return the outputs of a group of sequences, whose activations are recomputed in the backward pass.

    Args:
        group: the function that encodes the group.
        inputs: its inputs.
        whole_pass: whether to recompute the group in a separate forward and backward pass. Sharded weights require this,
            because they are gathered for a pass and released at its end. Otherwise activations are recomputed as needed.
    """
    if not whole_pass:
        return checkpoint(group, *inputs, use_reentrant=False)
    anchor = torch.ones((), requires_grad=True)  # a reentrant checkpoint has a gradient only if one of its inputs has one
    return checkpoint(lambda _, *rest: group(*rest), anchor, *inputs, use_reentrant=True)
