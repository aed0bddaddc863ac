"""Out of memory: the step is done again with less at once, with the same numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from phylocli.core.errors import PhylocliError
from phylocli.train.parallel.execution import Execution

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The message of the CPU allocator; GPUs have their own error class.
_WORDS = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


class OutOfMemoryError(PhylocliError):
    """A step does not fit, however small its parts are."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device or the machine is out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
    )


def retry_smaller(step: Callable[[], T], undo: Callable[[], None], execution: Execution, longest: int) -> T:
    """Return the result of a step; if memory runs out, repeat it with smaller parts.

    First gradient caching is switched on, then `max_tokens` is halved until each sequence is encoded separately; these
    settings are kept for the rest of the run. The result is that of a step with these settings from the start: the same up
    to rounding, and to dropout, whose random numbers are used in another order.

    Args:
        step: may be done again after `undo`.
        undo: restores all that a step changes besides gradients.
        execution: how the step is computed; changed here.
        longest: residues of the longest sequence of the step.

    Raises:
        OutOfMemoryError: not even the smallest parts fit, or there are other processes, which cannot repeat the step.
    """
    while True:
        try:
            return step()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).split("\n", 1)[0]
        # Not in the handler, because the traceback keeps the tensors of the failed attempt.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _shrink(execution, longest, reason)
        undo()


def _shrink(execution: Execution, longest: int, reason: str) -> None:
    """Compute less at once from here on.

    Raises:
        OutOfMemoryError: that is not possible.
    """
    if execution.world.size > 1:
        raise OutOfMemoryError(
            f"process {execution.world.rank} of {execution.world.size} is out of memory",
            why=f"{reason}; several processes cannot repeat a step",
            fix="start a new run with --set batch.grad_cache=true and a smaller batch.max_tokens, or fewer batch.pairs",
        )
    if not execution.grad_cache:
        execution.grad_cache = True
        logger.warning(
            f"out of memory; caching gradients from here on, {execution.max_tokens:,} tokens at once (batch.grad_cache)"
        )
        return
    if execution.max_tokens <= longest:
        raise OutOfMemoryError(
            "out of memory with one sequence at a time",
            why=reason,
            fix="use fewer pairs (batch.pairs), shorter crops (view.crop.max_length) or a smaller encoder",
        )
    execution.max_tokens = max(longest, execution.max_tokens // 2)
    logger.warning(f"out of memory; {execution.max_tokens:,} tokens at once from here on (batch.max_tokens)")
