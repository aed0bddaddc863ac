"""A memory bank: vectors of earlier steps with the codes of their families and clans; part of every checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch

EMPTY = -1


class MemoryBank(nn.Module):
    """A first-in-first-out queue of the last `size` vectors.

    Vectors added during a step are pending until `flush`, so a batch is never contrasted with its own vectors, even if it is
    computed in several parts. Pending vectors are not saved: checkpoints are written between steps.

    Args:
        size: number of vectors.
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
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def __len__(self) -> int:
        return len(self.vectors)

    def filled(self) -> Tensor:
        """Return which slots hold a vector, (size,) bool."""
        return self.family != EMPTY

    def negatives(self, batch: Batch) -> Tensor:
        """Return the vectors that are negatives of the batch's pairs, (N, size) bool: filled slots, no homologs."""
        return batch.negatives_among(self.family, self.clan) & self.filled()

    def add(self, vectors: Tensor, batch: Batch) -> None:
        """Keep vectors (N, D) of a batch pending until the end of the step; a bank of size 0 keeps none."""
        if len(self):
            self._pending.append((vectors.detach(), batch.family, batch.clan))

    @torch.no_grad()
    def flush(self) -> None:
        """Replace the oldest vectors by the pending ones."""
        for pending in self._pending:
            vectors, family, clan = (part[-len(self) :] for part in pending)
            at = (self.place + torch.arange(len(vectors), device=vectors.device)) % len(self)
            self.vectors[at] = vectors.to(self.vectors.dtype)
            self.family[at], self.clan[at] = family, clan
            self.place.copy_((self.place + len(vectors)) % len(self))
        self._pending.clear()

    def discard_pending(self) -> None:
        """Drop the pending vectors."""
        self._pending.clear()
