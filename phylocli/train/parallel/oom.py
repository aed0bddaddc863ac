"""When memory runs out in a step: it is done again in smaller parts, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from phylocli.core import console
from phylocli.core.errors import PhylocliError
from phylocli.train.data.types import PairBatch
from phylocli.train.dry_run import put_back, snapshot
from phylocli.train.task import Learner

T = TypeVar("T")

# What the allocator of the CPU says; that of GPUs has an error of its own.
_WORDS = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


class OutOfMemoryError(PhylocliError):
    """A step does not fit, however small its parts are."""


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that a device or the machine has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
    )


def fitted(learner: Learner, batches: Sequence[PairBatch], step: Callable[[], T]) -> T:
    """Return what a step gives; where memory runs out, do it again with less at once.

    First gradients are cached, then `learner.tokens` is halved, until each sequence goes through the encoder alone; that
    holds for the rest of the run. Objective and random state are put back before each try, so the result is that of a
    step with these settings from the start: the same but for rounding, and for dropout, whose numbers are dealt anew.

    Args:
        learner: whose gradients the step computes from none.
        batches: of the step.
        step: may be done again; changes nothing but gradients, what waits for queues, and buffers of the objective.

    Raises:
        OutOfMemoryError: not even the smallest parts fit, or other processes take part, which cannot go back.
    """
    was = snapshot(learner)
    while True:
        try:
            return step()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            reason = str(error).split("\n", 1)[0]
        # Not in the handler: the traceback holds the tensors of the failed try.
        if learner.device.type == "cuda":
            torch.cuda.empty_cache()
        _shrink(learner, max(len(s) for b in batches for view in (b.a, b.b, *b.more) for s in view), reason)
        put_back(learner, was)


def _shrink(learner: Learner, longest: int, reason: str) -> None:
    """Let the learner hold less at once; say so.

    Raises:
        OutOfMemoryError: it cannot.
    """
    if learner.world.size > 1:
        raise OutOfMemoryError(
            f"process {learner.world.rank} of {learner.world.size} is out of memory",
            why=f"{reason}; several processes cannot repeat a step",
            fix="resume with --set batch.cache=true and a smaller batch.tokens in a new run, or fewer batch.pairs",
        )
    if not learner.cache:
        learner.cache = True
        console.warning(f"out of memory; gradients are cached from here on, {learner.tokens:,} tokens at once (batch.cache)")
        return
    if learner.tokens <= longest:
        raise OutOfMemoryError(
            "out of memory with one sequence at a time",
            why=reason,
            fix="take fewer pairs (batch.pairs), shorter crops (view.crop.max_length) or a smaller encoder",
        )
    learner.tokens = max(longest, learner.tokens // 2)
    console.warning(f"out of memory; {learner.tokens:,} tokens at once from here on (batch.tokens)")
