"""Number of floating-point operations of the model in a training step, without recomputation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from phylocli.core.alphabet import FIRST_RESIDUE
from phylocli.encoders import pad_batch
from phylocli.models.model import Model
from phylocli.train.data.types import PairBatch
from phylocli.train.task import ContrastiveTask

_LENGTHS = (4, 8, 12)

Coefficients = tuple[float, float, float]


@dataclass(frozen=True)
class Work:
    """The number of operations of a model for a sequence of L residues, as a polynomial in L.

    Attention is quadratic in L and everything else in an encoder is linear, so counts at three lengths determine the
    polynomial. They come from PyTorch's `FlopCounterMode`: a multiply-add is two operations, and only matrix products and
    convolutions are counted, without padding. The backward pass covers the trained weights, without recomputation
    (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).

    Attributes:
        forward: coefficients of 1, L and L² for the forward pass.
        both: coefficients for forward and backward pass together.
    """

    forward: Coefficients
    both: Coefficients

    def of(self, lengths: Sequence[int], *, trained: bool = True) -> float:
        """Return the total number of operations for sequences of these lengths; the backward pass only if `trained`."""
        array = np.asarray(lengths, dtype=np.float64)
        constant, linear, square = self.both if trained else self.forward
        return float(constant * len(array) + linear * array.sum() + square * (array**2).sum())


def count(model: Model) -> Work:
    """Return the number of operations for embedding a sequence, measured on a copy of the model with three sequences."""
    twin = copy.deepcopy(model).cpu().train()  # CPU kernels are not fused and do not compute padding
    if hasattr(twin.encoder, "activation_checkpointing"):
        twin.encoder.activation_checkpointing = False
    pairs = [_count(twin, length) for length in _LENGTHS]
    powers = np.vander(np.array(_LENGTHS, dtype=np.float64), 3, increasing=True)
    (a, d), (b, e), (c, f) = np.linalg.solve(powers, np.array(pairs)).tolist()
    return Work((a, b, c), (d, e, f))


def _count(model: Model, length: int) -> tuple[float, float]:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    tokens, mask = pad_batch([np.full(length, FIRST_RESIDUE, dtype=np.uint8)])
    plain = sdpa_kernel(SDPBackend.MATH)  # fused attention recomputes its scores in the backward pass
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), plain, FlopCounterMode(display=False) as counter:
        vectors = model(tokens, mask)
        forward = float(counter.get_total_flops())
        if vectors.requires_grad:
            vectors.sum().backward()
    return forward, float(counter.get_total_flops())


def of_batch(work: Work, task: ContrastiveTask, pairs: PairBatch) -> float:
    """Return the number of operations of the model for a batch.

    Head, critic and objective are not counted, because they need far fewer. The momentum encoder has no backward pass.
    """
    total = 0.0 if pairs.labelled is None else work.of([len(s) for s in pairs.labelled.tokens])
    if size := task.requirements.segments:
        total += work.of([len(part) for parts in task.segments(pairs.a, size) for part in parts])
    if task.requirements.views == "none":
        return total
    removal = task.requirements.removal
    total += work.of([len(s) - (removal.count(len(s)) if removal else 0) for s in pairs.a])
    further = [len(s) for view in task.further_views(pairs) for s in view]
    return total + work.of(further, trained=task.momentum_encoder is None)
