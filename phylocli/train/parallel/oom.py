"""Out of memory: the step is repeated with smaller chunks, with the same result."""

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
    """A step does not fit in memory, even with the smallest chunks."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device or the machine is out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
    )


def retry_smaller(step: Callable[[], T], undo: Callable[[], None], execution: Execution, longest: int) -> T:
    """Return the result of a step; if memory runs out, repeat it with smaller chunks.

    First gradient caching is enabled, then `max_tokens` is halved until each sequence is encoded separately. The changed
    settings are kept for the rest of the run. Results are the same up to rounding and the random numbers of dropout.

    Args:
        step: computes the step; can be repeated after `undo`.
        undo: restores everything that a step changes except gradients.
        execution: execution settings, changed in place.
        longest: number of residues of the longest sequence of the step.

    Raises:
        OutOfMemoryError: the smallest chunks do not fit, or the run has several processes, which cannot repeat a step.
    """
    while True:
        try:
            return step()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).split("\n", 1)[0]
        # Outside the handler, because the traceback keeps the tensors of the failed attempt alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _shrink(execution, longest, reason)
        undo()


def _shrink(execution: Execution, longest: int, reason: str) -> None:
    """Reduce the memory of the following steps.

    Raises:
        OutOfMemoryError: no further reduction is possible.
    """
    if execution.world.size > 1:
        raise OutOfMemoryError(
            f"process {execution.world.rank} of {execution.world.size} is out of memory",
            why=f"{reason}; with several processes a step cannot be repeated",
            fix="start a new run with --set batch.grad_cache=true and a smaller batch.max_tokens, or fewer batch.pairs",
        )
    if not execution.grad_cache:
        execution.grad_cache = True
        logger.warning(
            f"out of memory; enabling gradient caching (batch.grad_cache), {execution.max_tokens:,} tokens at a time"
        )
        return
    if execution.max_tokens <= longest:
        raise OutOfMemoryError(
            "out of memory with one sequence at a time",
            why=reason,
            fix="use fewer pairs (batch.pairs), shorter crops (view.crop.max_length) or a smaller encoder",
        )
    execution.max_tokens = max(longest, execution.max_tokens // 2)
    logger.warning(f"out of memory; reducing batch.max_tokens to {execution.max_tokens:,}")
