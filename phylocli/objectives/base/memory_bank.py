"""A queue of vectors of earlier steps, with the codes by which kin are told; part of every checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.objectives.base.masking import Batch
from phylocli.objectives.base.requirements import may_contrast

EMPTY = -1


class Queue(nn.Module):
    """The last `size` vectors that were put in.

    What is put in during a step waits until `flush`, so that a batch never meets its own vectors, however many parts it was
    computed in. Waiting vectors are not saved: checkpoints are written between steps.

    Args:
        size: vectors.
        dimension: features D of a vector.
    """

    vectors: Tensor
    family: Tensor
    clan: Tensor
    place: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dimension))
        self.register_buffer("family", torch.full((size,), EMPTY))
        self.register_buffer("clan", torch.full((size,), EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def __len__(self) -> int:
        return len(self.vectors)

    def filled(self) -> Tensor:
        """Return which places hold a vector, (size,) bool."""
        return self.family != EMPTY

    def negatives(self, batch: Batch) -> Tensor:
        """Return which of the queue's vectors are negatives of the batch's pairs, (N, size) bool: there, and no kin."""
        return may_contrast(batch, self.family, self.clan) & self.filled()

    def put(self, vectors: Tensor, batch: Batch) -> None:
        """Let vectors (N, D) of a batch wait for the end of the step."""
        self._waiting.append((vectors.detach(), batch.family, batch.clan))

    @torch.no_grad()
    def flush(self) -> None:
        """Take in what waits; the oldest leave."""
        for waiting in self._waiting:
            vectors, family, clan = (part[-len(self) :] for part in waiting)
            at = (self.place + torch.arange(len(vectors), device=vectors.device)) % len(self)
            self.vectors[at] = vectors.to(self.vectors.dtype)
            self.family[at], self.clan[at] = family, clan
            self.place.copy_((self.place + len(vectors)) % len(self))
        self._waiting.clear()

    def clear(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
