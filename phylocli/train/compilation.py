"""Compilation of the encoder with torch.compile, on request."""

from __future__ import annotations

import logging

from phylocli.core.errors import UsageError
from phylocli.train.data.types import PairBatch
from phylocli.train.task import ContrastiveTask

logger = logging.getLogger(__name__)


def compile_encoder(task: ContrastiveTask, pairs: PairBatch) -> None:
    """Compile the encoder of a task in place and run it once; results are the same up to rounding.

    Sequence lengths and batch sizes vary, so shapes are dynamic. The encoder is compiled as a whole: compiling each block
    separately recompiles the same function once per block and exceeds torch's recompilation limit.

    Args:
        task: the task, on its device and with its precision.
        pairs: a batch for the trial run, which leaves the task unchanged.

    Raises:
        UsageError: torch cannot compile the encoder on this machine, or the encoder is sharded among processes.
    """
    if task.execution.sharded:
        raise UsageError("a sharded encoder cannot be compiled", fix="use --set compile=false or --set batch.shard=false")
    logger.info("compiling the encoder; the first steps are slow")
    task.model.encoder.compile(dynamic=True)
    try:
        task.has_unused_parameters(pairs)
    except Exception as error:  # compilers raise errors of many types
        raise UsageError(
            "torch.compile cannot compile the encoder here",
            why=(str(error).strip() or type(error).__name__).splitlines()[0],
            fix="use --set compile=false; on a CPU torch.compile needs a C++ compiler",
        ) from error
