"""Ending a run on request: the current step is finished, a checkpoint saved, and the command to resume is printed."""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from phylocli.core.errors import EXIT_INTERRUPTED, EXIT_OK, PhylocliError
from phylocli.train.parallel.world import World

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(PhylocliError):
    """The run was stopped on request and saved a checkpoint."""

    def __init__(self, what: str, why: str | None = None, fix: str | None = None, exit_code: int = EXIT_INTERRUPTED) -> None:
        super().__init__(what, why, fix)
        self.exit_code = exit_code


class Stop:
    """The request to stop the run, if there was any.

    Args:
        again: a second ^C interrupts at once.
    """

    def __init__(self, again: bool = True) -> None:
        self.signal: signal.Signals | None = None
        self.again = again

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal."""
        # Batch systems and torchrun pass SIGTERM on to processes that had it already.
        if self.signal is not None and self.again and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def agreed(self, world: World) -> bool:
        """Return whether any process was asked to stop; all of them call this at the same point."""
        number = int(world.highest(self.signal or 0)[0])
        if number:
            self.signal = signal.Signals(number)
        return number > 0

    def as_error(self, folder: Path, step: int, steps: int) -> Stopped:
        """Return the error that ends the run, after a checkpoint of `step` is saved."""
        # A batch system that ends a job by SIGTERM should find that all is well.
        code = EXIT_OK if self.signal is signal.SIGTERM else EXIT_INTERRUPTED
        return Stopped(
            f"stopped after step {step} of {steps}; a checkpoint is saved",
            fix=f"resume with: phylocli train --resume -o {shlex.quote(str(folder))}",
            exit_code=code,
        )


@contextlib.contextmanager
def stop_signals(*, again: bool = True) -> Iterator[Stop]:
    """Let SIGINT, SIGTERM and SIGHUP end the run after the step that is being done.

    What is ignored stays ignored: `nohup` protects from SIGHUP, and a shell its background jobs from ^C.

    Args:
        again: a second ^C interrupts at once. Not for torchrun's processes, which get one from the terminal and one from it.
    """
    stop = Stop(again)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    wanted = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    old = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
