"""Passes through a learner that leave it as it was: to try again, or to see what it does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from phylocli.objectives.base.memory_bank import Queue
from phylocli.train.data.types import PairBatch
from phylocli.train.parallel.world import ALONE
from phylocli.train.task import Learner


@dataclass
class Snapshot:
    """What a forward pass changes: the random state, and averages of head and objective; queues change after the step."""

    random: Tensor
    random_cuda: Tensor | None
    buffers: list[tuple[Tensor, Tensor]]


def snapshot(learner: Learner) -> Snapshot:
    """Return what a forward pass may change, as it is now."""
    queues = {id(b) for part in learner.objective.modules() if isinstance(part, Queue) for b in part.buffers()}
    buffers = [(b, b.clone()) for part in (learner.head, learner.objective) for b in part.buffers() if id(b) not in queues]
    cuda = torch.cuda.get_rng_state(learner.device) if learner.device.type == "cuda" else None
    return Snapshot(torch.get_rng_state(), cuda, buffers)


@torch.no_grad()
def put_back(learner: Learner, was: Snapshot) -> None:
    """Make a forward pass undone."""
    torch.set_rng_state(was.random)
    if was.random_cuda is not None:
        torch.cuda.set_rng_state(was.random_cuda, learner.device)
    for buffer, value in was.buffers:
        buffer.copy_(value)
    learner.pass_over()


def leaves_out(learner: Learner, pairs: PairBatch, few: int = 8) -> bool:
    """Return whether a step may leave weights without a gradient, tried on a few of these pairs.

    Where segments are asked for it depends on the batch, so the answer is yes.
    """
    if learner.needs.segments:
        return True
    was, world = snapshot(learner), learner.world
    learner.world = ALONE
    some = replace(
        pairs,
        a=pairs.a[:few],
        b=pairs.b[:few],
        more=[view[:few] for view in pairs.more],
        distance=pairs.distance[:few],
        family=pairs.family[:few],
        clan=pairs.clan[:few],
    )
    learner(some)["loss"].backward()
    found = any(p.requires_grad and p.grad is None for p in learner.parameters())
    learner.zero_grad(set_to_none=True)
    learner.world = world
    put_back(learner, was)
    return found
