"""Number of floating-point operations of a training step: those of the model, without recomputation."""

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
    """The operations that a model spends on a sequence of L residues, a polynomial in L.

    Everything in an encoder is linear in the number of residues, except attention, which is quadratic. Three lengths
    therefore determine the operations for all lengths; they are counted by PyTorch's own counter on the model: a
    multiplication and an addition are two operations, padding is not counted, and only matrix products and convolutions
    count. The backward pass is that for the trained weights, without recomputation (Chowdhery et al. 2022, arXiv 2204.02311,
    appendix B).

    Attributes:
        forward: coefficients of 1, L and L² for the forward pass.
        both: for forward and backward pass.
    """

    forward: Coefficients
    both: Coefficients

    def of(self, lengths: Sequence[int], *, trained: bool = True) -> float:
        """Return the operations for sequences of these lengths, with (`trained`) or without the backward pass."""
        array = np.asarray(lengths, dtype=np.float64)
        constant, linear, square = self.both if trained else self.forward
        return float(constant * len(array) + linear * array.sum() + square * (array**2).sum())


def count(model: Model) -> Work:
    """Return the operations for the embedding of a sequence; runs three short sequences through a copy of the model."""
    twin = copy.deepcopy(model).cpu().train()  # on the CPU only residues are computed, and each operation has its own kernel
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
    plain = sdpa_kernel(SDPBackend.MATH)  # fused attention computes its scores again in the backward pass
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), plain, FlopCounterMode(display=False) as counter:
        vectors = model(tokens, mask)
        forward = float(counter.get_total_flops())
        if vectors.requires_grad:
            vectors.sum().backward()
    return forward, float(counter.get_total_flops())


def of_batch(work: Work, task: ContrastiveTask, pairs: PairBatch) -> float:
    """Return the operations of the model for a batch; those of head, critic and objective, far fewer, are not counted.

    Momentum copies of the model go forward only.
    """
    total = 0.0 if pairs.labelled is None else work.of([len(s) for s in pairs.labelled.tokens])
    if size := task.requirements.segments:
        total += work.of([len(part) for parts in task.segments(pairs.a, size) for part in parts])
    if task.requirements.views == "none":
        return total
    total += work.of([len(s) for s in pairs.a])
    further = [len(s) for view in task.further_views(pairs) for s in view]
    return total + work.of(further, trained=task.momentum_encoder is None)
