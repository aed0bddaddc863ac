"""Batches of sequences of different lengths, computed without work on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.core.alphabet import PAD


def pad_batch(sequences: Sequence[npt.NDArray[Any]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return arrays as one batch, padded on the right, and the mask (N, L), True on residues.

    Tokens (L,) become (N, L) int64, groups of tokens (L, G) become (N, L, G) for the largest G, and numbers (L, F) become
    (N, L, F) float32.
    """
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    width = int(lengths.max(initial=0))
    mask = np.arange(width)[None, :] < lengths[:, None]
    numbers = len(sequences) > 0 and sequences[0].dtype.kind == "f"
    depth = max((s.shape[1] for s in sequences if s.ndim == 2), default=0)
    tokens = np.full(mask.shape + (depth,) * bool(depth), PAD, dtype=np.float32 if numbers else np.int64)
    if depth and not numbers:  # groups of different sizes
        for row, sequence in zip(tokens, sequences, strict=True):
            row[: len(sequence), : sequence.shape[1]] = sequence
    elif len(sequences):
        tokens[mask] = np.concatenate(sequences)
    return torch.from_numpy(tokens).to(device, non_blocking=True), torch.from_numpy(mask).to(device, non_blocking=True)


class Layout:
    """Positions of the residues of a padded batch in the flat (T, D) form used for computation.

    On the CPU only the residues are kept, one sequence after the other (T = their number), so padding costs nothing. On
    other devices counting them would synchronise host and device, and for `torch.compile` it would be another shape for each
    batch, so padding is kept (T = N · L) and its results are ignored. The same code handles both forms.

    Args:
        mask: (N, L) bool, True on residues, which fill each row from the left.
    """

    def __init__(self, mask: Tensor) -> None:
        self.batch, self.width = mask.shape
        device = mask.device
        lengths = mask.sum(1)
        position = torch.arange(self.width, device=device).expand(self.batch, -1)
        self.rows: Tensor | None = None
        if device.type == "cpu" and not torch.compiler.is_compiling():
            self.rows = mask.reshape(-1).nonzero().squeeze(1)
            self.position = position[mask]
            self.length = torch.repeat_interleave(lengths, lengths)
        else:
            self.position = position.reshape(-1)
            self.length = lengths[:, None].expand(-1, self.width).reshape(-1)
        self._neighbours: dict[tuple[int, ...], Tensor] = {}

    def __len__(self) -> int:
        return len(self.position)

    def flatten(self, x: Tensor) -> Tensor:
        """Return a padded (N, L, …) tensor in flat form (T, …)."""
        flat = x.reshape(self.batch * self.width, *x.shape[2:])
        return flat if self.rows is None else flat.index_select(0, self.rows)

    def unflatten(self, x: Tensor) -> Tensor:
        """Return a flat (T, D) tensor as (N, L, D), zero on padding that was removed."""
        if self.rows is not None:
            x = x.new_zeros(self.batch * self.width, x.shape[1]).index_copy_(0, self.rows, x)
        return x.view(self.batch, self.width, x.shape[1])

    def neighbours(self, offsets: tuple[int, ...]) -> Tensor:
        """Return for each flat row the rows `offsets` residues further along its sequence, shape (T, offsets).

        Beyond either end of the sequence the index is T: one row past the last, which the caller fills with zeros.
        """
        if offsets not in self._neighbours:
            step = torch.tensor(offsets).to(self.position.device, non_blocking=True)
            at = self.position[:, None] + step
            row = torch.arange(len(self), device=self.position.device)[:, None] + step
            self._neighbours[offsets] = torch.where((at >= 0) & (at < self.length[:, None]), row, len(self))
        return self._neighbours[offsets]


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield the indices of `lengths` in batches, shortest first, such that count · longest ≤ `budget` in each.

    An item longer than the budget is in its own batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > budget:  # sorted: this one would be the longest
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
