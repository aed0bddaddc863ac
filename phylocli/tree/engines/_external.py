"""Running of external tree programs, with internal ids and a time limit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import PhylocliError
from phylocli.core.processes import run_program

_LETTERS = np.frombuffer((AMINO_ACIDS + "-").encode(), dtype=np.uint8)


def write_alignment(states: npt.NDArray[np.uint8], path: Path) -> None:
    """Write rows as FASTA with the names `t0`, `t1`, …, which no program truncates, renames or interprets as numbers."""
    letters = _LETTERS[states]
    with path.open("wb") as stream:
        for row, text in enumerate(letters):
            stream.write(b">t%d\n%s\n" % (row, text.tobytes()))


def row_number(name: str) -> str:
    """Return the row number of a name given by `write_alignment`."""
    return name.removeprefix("t")


def run(program: str, arguments: Sequence[str], *, folder: Path, timeout: float | None) -> tuple[str, str]:
    """Run a program and return its standard output and standard error.

    Raises:
        PhylocliError: the program cannot be started, fails, or exceeds `timeout` seconds.
    """
    name = Path(program).name
    try:
        done = run_program([program, *arguments], folder=folder, timeout=timeout, environment={"OMP_NUM_THREADS": "1"})
    except TimeoutError as error:
        raise PhylocliError(str(error), fix="raise --timeout, or use --engine bme") from None
    except OSError as error:
        raise PhylocliError(f"{name} cannot be started", why=str(error), fix="reinstall it, or use --engine bme") from error
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise PhylocliError(
            f"{name} failed with exit status {done.returncode}",
            why=" | ".join(said[-3:]) or None,
            fix="use another engine, for example --engine bme",
        )
    return done.stdout, done.stderr
