"""Runs on several processes started by torchrun: each encodes a part of the batch, and rank 0 writes the output.

A batch is a function of seed and step, so every process has all sequences of it. Each process encodes a part of them and
gathers the vectors of the others. Head and objective therefore have the same inputs as in a single process: negatives,
memory banks, codes and moving averages cover the whole batch and are equal in all processes. In the backward pass each
process uses the gradient of its own vectors, and DistributedDataParallel sums the gradients of the encoder. Every process
computes the loss, which is cheap compared with the encoder.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from phylocli.core import console
from phylocli.core.errors import PhylocliError, UsageError

T = TypeVar("T")
K = TypeVar("K")


class ElsewhereError(PhylocliError):
    """Another process of the run failed; that process reports the reason."""


@dataclass(frozen=True)
class World:
    """The processes of a run and the communication between them. With a single process, no method communicates.

    Attributes:
        rank: rank of this process.
        size: number of processes.
        group: process group for data in host memory (gloo); None for a single process.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which writes files and messages."""
        return self.rank == 0

    def partition(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return the indices of the sequences that each process encodes, in ascending length.

        Sequences are distributed by length, so that all processes have about the same number of residues.
        """
        order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
        return [order[rank :: self.size] for rank in range(self.size)]

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the rows of all processes, (Σ counts, …), ordered by rank. Differentiable.

        Args:
            rows: the rows of this process, (counts[rank], …).
            counts: number of rows of each process.
        """
        return rows if self.size == 1 else _Gather.apply(rows, tuple(counts), self.rank)

    def highest(self, *values: float) -> list[float]:
        """Return the maximum of each value over the processes."""
        if self.size == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.group)
        return found.tolist()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is True in any process."""
        return bool(self.highest(flag)[0])

    def check_same(self, what: str, content: Callable[[], bytes]) -> None:
        """Check that some content is the same in all processes.

        Args:
            what: description of the content, for the message.
            content: returns the content; not called with a single process.

        Raises:
            UsageError: the content differs (raised in all processes).
        """
        if self.size == 1:
            return
        check = zlib.crc32(content())
        high, low = self.highest(check, -check)
        if high != -low:
            raise UsageError(f"the processes have different {what}", fix="give all of them the same inputs and settings")

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all processes, ordered by rank; values are plain data and tensors."""
        return [value] if self.size == 1 else [self._broadcast(value, rank) for rank in range(self.size)]

    def from_main(self, value: T) -> T:
        """Return the value of rank 0; it consists of plain data and tensors."""
        return value if self.size == 1 else self._broadcast(value, 0)

    def broadcast_tensors(self, values: dict[K, Tensor]) -> Iterator[tuple[K, Tensor]]:
        """Yield the tensors of rank 0 in all processes, one at a time; `values` is ignored on other ranks."""
        for name in self.from_main(list(values)):
            yield name, self.from_main(values.get(name))  # type: ignore[misc]  # None on other ranks, where it is ignored

    def on_main(self, make: Callable[[], T]) -> T:
        """Call a function on rank 0 only and return its result, plain data and tensors, in all processes.

        Raises:
            ElsewhereError: rank 0 failed (raised in the other processes).
        """
        if self.size == 1:
            return make()
        if not self.main:
            found = self._broadcast(None, 0)
            if "failed" in found:
                raise ElsewhereError(f"rank {self.rank} stops, because rank 0 failed")
            return found["made"]
        try:
            made = make()
        except BaseException:
            self._broadcast({"failed": True}, 0)
            raise
        self._broadcast({"made": made}, 0)
        return made

    def _broadcast(self, value: Any, source: int) -> Any:
        packed = io.BytesIO()
        if self.rank == source:
            torch.save(value, packed)
        size = torch.tensor(len(packed.getvalue()))
        dist.broadcast(size, source, group=self.group)
        content = torch.empty(int(size), dtype=torch.uint8)
        if self.rank == source:
            content.copy_(torch.frombuffer(bytearray(packed.getvalue()), dtype=torch.uint8))
        dist.broadcast(content, source, group=self.group)
        return value if self.rank == source else torch.load(io.BytesIO(content.numpy().tobytes()), weights_only=True)


ALONE = World()
"""A single process."""


class _Gather(torch.autograd.Function):
    """All-gather of rows; the backward pass returns the gradient of this process's rows.

    Every process computes the whole loss, so it has the complete gradient of its own rows. DistributedDataParallel divides
    the sum of gradients by the number of processes; the backward pass multiplies by it to compensate.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.counts, ctx.rank = counts, rank
        most = max(counts)
        own = rows.new_zeros(most, *rows.shape[1:])
        own[: len(rows)] = rows
        parts = [torch.empty_like(own) for _ in counts]
        dist.all_gather(parts, own)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        first = sum(ctx.counts[: ctx.rank])
        own = gradients[0][first : first + ctx.counts[ctx.rank]]
        return own * len(ctx.counts), None, None


def stream(*numbers: int) -> int:
    """Return a seed derived from several numbers, such as the seed of the run, a step and a rank."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def local(value: Tensor) -> Tensor:
    """Return this process's shard of a DTensor (a view), or the tensor itself if it is not sharded."""
    own: Tensor = value.to_local() if hasattr(value, "to_local") else value
    return own


def launched() -> bool:
    """Return whether torchrun or a compatible launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def device_name(name: str) -> str:
    """Return the name of this process's device; each of several processes on a machine uses the GPU of its local rank.

    Raises:
        UsageError: several processes cannot use the device, or there are fewer GPUs than processes.
    """
    if not launched():
        return name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cuda", "cpu"):
        raise UsageError(f"several processes cannot train on {name!r}", fix="choose auto, cuda or cpu")
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "cuda" and place >= torch.cuda.device_count():
        raise UsageError(
            f"process {place} of this machine has no GPU: there are {torch.cuda.device_count()}",
            fix="start as many processes as there are GPUs (torchrun --nproc-per-node), or use --device cpu",
        )
    return f"cuda:{place}" if name == "cuda" else name


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the process group of this run for the block; ranks other than 0 print no messages.

    Args:
        device: the device of this process.
    """
    if not launched():
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ours = not dist.is_initialized()
    if ours:
        on_gpu = device.type == "cuda"
        dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
    try:
        world = World(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo"))
        with contextlib.nullcontext() if world.main else console.at_level(console.SILENT):
            yield world
    finally:
        if ours:
            dist.destroy_process_group()


def replicated(module: nn.Module, *, find_unused: bool) -> nn.Module:
    """Wrap a module in DistributedDataParallel, which averages gradients over the processes in the backward pass.

    Args:
        module: a module with the same weights in all processes.
        find_unused: whether a step may leave some weights without a gradient; they are then searched for in each step.
    """
    # Do not broadcast buffers: they are already equal in all processes, and memory banks are large.
    name = "forward_sync_buffers"
    if name not in inspect.signature(nn.parallel.DistributedDataParallel).parameters:
        name = "broadcast_buffers"  # its name before torch 2.13
    options: dict[str, Any] = {name: False, "find_unused_parameters": find_unused}
    return nn.parallel.DistributedDataParallel(module, **options)


@contextlib.contextmanager
def unsynchronised(module: nn.Module, when: bool) -> Iterator[None]:
    """Accumulate gradients locally within the block if `when`, without averaging them over the processes."""
    with module.no_sync() if when and isinstance(module, nn.parallel.DistributedDataParallel) else contextlib.nullcontext():
        yield
