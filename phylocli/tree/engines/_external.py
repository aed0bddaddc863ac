"""Running tree programs: internal ids in a FASTA file, a Newick back, a time-out that ends the program and its children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.alphabet import AMINO_ACIDS
from phylocli.errors import PhylocliError

_LETTERS = np.frombuffer((AMINO_ACIDS + "-").encode(), dtype=np.uint8)


def write_alignment(states: npt.NDArray[np.uint8], path: Path) -> None:
    """Write rows as FASTA under the names `t0`, `t1`, …, which no program truncates, renames or takes for numbers."""
    letters = _LETTERS[states]
    with path.open("wb") as stream:
        for row, text in enumerate(letters):
            stream.write(b">t%d\n%s\n" % (row, text.tobytes()))


def row_number(name: str) -> str:
    """Return the row number within a name that `write_alignment` gave."""
    return name.removeprefix("t")


def run(program: str, arguments: Sequence[str], *, folder: Path, timeout: float | None) -> tuple[str, str]:
    """Run a program to its end and return (standard output, standard error).

    Raises:
        PhylocliError: it cannot be started, fails, or runs longer than `timeout` seconds.
    """
    name = Path(program).name
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        process = subprocess.Popen(
            [program, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that the whole group can be ended
        )
    except OSError as error:
        raise PhylocliError(f"{name} cannot be started", why=str(error)) from error
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise PhylocliError(
            f"{name} was stopped after {timeout:g} s",
            fix="give it more with --timeout, or use --engine bme",
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        said = [line for line in (err or out).splitlines() if line.strip()]
        raise PhylocliError(f"{name} ended with status {process.returncode}", why=" | ".join(said[-3:]) or None)
    return out, err
