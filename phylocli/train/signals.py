"""Stopping a run by a signal: the current step is finished, a checkpoint is saved, and the resume command is printed."""

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
    """A signal stopped the run, which saved a checkpoint."""

    def __init__(self, what: str, why: str | None = None, fix: str | None = None, exit_code: int = EXIT_INTERRUPTED) -> None:
        super().__init__(what, why, fix)
        self.exit_code = exit_code


class Stop:
    """A signal handler that records a request to stop.

    Args:
        again: whether a second ^C interrupts immediately.

    Attributes:
        signal: the signal received; None before.
    """

    def __init__(self, again: bool = True) -> None:
        self.signal: signal.Signals | None = None
        self.again = again

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Record the signal."""
        # Only a second ^C interrupts: batch systems and torchrun may send SIGTERM to a process twice.
        if self.signal is not None and self.again and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def agreed(self, world: World) -> bool:
        """Return whether any process received a signal. Collective: all processes must call it."""
        number = int(world.highest(self.signal or 0)[0])
        if number:
            self.signal = signal.Signals(number)
        return number > 0

    def as_error(self, folder: Path, step: int, steps: int) -> Stopped:
        """Return the error that ends the run after the checkpoint of `step` is saved."""
        # SIGTERM is how batch systems end a job in time; a saved run is then a success.
        code = EXIT_OK if self.signal is signal.SIGTERM else EXIT_INTERRUPTED
        return Stopped(
            f"stopped after step {step} of {steps}; a checkpoint is saved",
            fix=f"resume with: phylocli train --resume -o {shlex.quote(str(folder))}",
            exit_code=code,
        )


@contextlib.contextmanager
def stop_signals(*, again: bool = True) -> Iterator[Stop]:
    """Handle SIGINT, SIGTERM and SIGHUP within the block by stopping after the current step.

    Signals that the process ignores stay ignored, such as SIGHUP under `nohup` and SIGINT in a shell's background jobs.

    Args:
        again: whether a second ^C interrupts immediately. Must be False under torchrun, whose processes receive ^C twice:
            from the terminal and from torchrun.
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
