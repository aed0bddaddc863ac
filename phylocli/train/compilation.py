"""Compilation of the encoder with torch.compile, on request."""

from __future__ import annotations

import logging

from phylocli.core.errors import UsageError
from phylocli.train.data.types import PairBatch
from phylocli.train.task import ContrastiveTask

logger = logging.getLogger(__name__)


def compile_encoder(task: ContrastiveTask, pairs: PairBatch) -> None:
    """Compile the encoder of a task in place, and try it; results are the same up to rounding.

    Lengths and numbers of residues differ from batch to batch, so shapes are left open. The encoder is compiled as a whole:
    its blocks one by one are as many compilations of one function, more than torch allows.

    Args:
        task: on its device, with its precision.
        pairs: to try it on; the task is left as it was.

    Raises:
        UsageError: it cannot be compiled here, or is cut among processes.
    """
    if task.execution.sharded:
        raise UsageError("a sharded encoder cannot be compiled", fix="use --set compile=false or --set batch.shard=false")
    logger.info("compiling the encoder; the first steps are slow")
    task.model.encoder.compile(dynamic=True)
    try:
        task.leaves_weights_out(pairs)
    except Exception as error:  # compilers and their environment raise many kinds of errors
        raise UsageError(
            "torch.compile cannot compile the encoder here",
            why=(str(error).strip() or type(error).__name__).splitlines()[0],
            fix="use --set compile=false; on a CPU torch.compile needs a C++ compiler",
        ) from error
