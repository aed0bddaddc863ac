"""MMseqs2: commands of the program, which must be installed (Steinegger & Söding 2017, doi:10.1038/nbt.3988)."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import MissingDependencyError, PhylocliError
from phylocli.core.processes import run_program

logger = logging.getLogger(__name__)

PROGRAM = "mmseqs"


@dataclass(frozen=True)
class MMseqs:
    """Runs commands of MMseqs2 in a folder.

    Attributes:
        folder: where the program runs and writes its databases.
        threads: number of threads.
        otherwise: the option that does without the program, for messages.
    """

    folder: Path
    threads: int
    otherwise: str

    def __call__(self, *words: str, threaded: bool = True) -> None:
        """Run a command of the program.

        Raises:
            MissingDependencyError: the program is not on PATH.
            PhylocliError: the command failed.
        """
        command = [program(self.otherwise), *words, "-v", "1", *(["--threads", str(self.threads)] if threaded else [])]
        logger.debug(f"running {' '.join(command)}")
        done = run_program(command, folder=self.folder)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PhylocliError(
                f"MMseqs2 failed with status {done.returncode} in '{words[0]}'",
                why=said[-1] if said else None,
                fix=f"run it again with -v to see the command, or use {self.otherwise}",
            )

    def create(self, name: str, sequences: Iterable[str]) -> None:
        """Make a database of proteins, named by their index, so that no special characters in ids reach the program."""
        with (self.folder / f"{name}.fasta").open("w", encoding="ascii") as stream:
            stream.writelines(f">{i}\n{text}\n" for i, text in enumerate(sequences))
        self("createdb", f"{name}.fasta", name, "--dbtype", "1", threaded=False)
        (self.folder / f"{name}.fasta").unlink()  # the database has a copy

    def lines(self, file: str) -> Iterator[list[str]]:
        """Yield the fields of each line of a table."""
        with (self.folder / file).open(encoding="ascii") as stream:
            for line in stream:
                yield line.rstrip("\n").split("\t")


def program(otherwise: str) -> str:
    """Return the path of the program.

    Args:
        otherwise: the option that does without it.

    Raises:
        MissingDependencyError: it is not on PATH.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise MissingDependencyError(
            "the engine 'mmseqs' needs MMseqs2, which is not on PATH",
            fix=f"conda install -c bioconda mmseqs2, or apt install mmseqs2, or use {otherwise}",
        )
    return found


def version(otherwise: str) -> str:
    """Return the version that the program prints."""
    return run_program([program(otherwise), "version"]).stdout.strip() or "of unknown version"


def aligned_pairs(start: int, cigar: str) -> npt.NDArray[np.int64]:
    """Return the aligned positions in the query, and in the target from its first aligned residue; (n, 2).

    Args:
        start: first aligned position of the query, from 0.
        cigar: `M` for aligned residues, `I` for residues of the query only, `D` for residues of the target only.
    """
    parts, here, there = [], start, 0
    for number, operation in re.findall(r"(\d+)([MID])", cigar):
        size = int(number)
        if operation == "M":
            parts.append(np.arange(size)[:, None] + [here, there])
        here += size if operation != "D" else 0
        there += size if operation != "I" else 0
    return np.concatenate(parts).astype(np.int64)
