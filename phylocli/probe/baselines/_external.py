"""Baselines that run an external search program."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from phylocli.core import alphabet
from phylocli.core.errors import MissingDependencyError, PhylocliError
from phylocli.core.processes import run_program
from phylocli.probe.baselines._hits import Hits, Search

logger = logging.getLogger(__name__)

Commands = Callable[[str, str, str, str, str, int], list[list[str]]]


def external_search(program: str, commands: Commands, install: str) -> Search:
    """Return a search that runs an external program.

    Args:
        program: name of the program on PATH.
        commands: returns the command lines, given the program, the files of queries, targets and hits, a scratch folder and
            the number of targets.
        install: the command that installs the program, for the error.

    Raises:
        MissingDependencyError: the program is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise MissingDependencyError(
            f"the baseline needs the program {program!r}, which is not on PATH", fix=f"{install}, or omit this baseline"
        )

    def search(queries: list[str], targets: list[str]) -> list[Hits]:
        with tempfile.TemporaryDirectory(prefix="phylocli-search-") as folder:
            query, target, out = (Path(folder, name) for name in ("query.fasta", "target.fasta", "hits.tsv"))
            for file, sequences in ((query, queries), (target, targets)):
                text = "".join(f">{i}\n{alphabet.degap(s).upper()}\n" for i, s in enumerate(sequences))
                file.write_text(text, encoding="ascii")
            for command in commands(path, str(query), str(target), str(out), folder, len(targets)):
                logger.debug(f"running {' '.join(command)}")
                done = run_program(command)
                if done.returncode != 0:
                    said = (done.stderr or done.stdout).strip().splitlines()
                    raise PhylocliError(
                        f"{program} failed with status {done.returncode}",
                        why=said[-1] if said else None,
                        fix="correct what the program reports, or omit this baseline (--baselines)",
                    )
            rows: list[list[tuple[int, float]]] = [[] for _ in queries]
            if out.is_file():
                for line in out.read_text(encoding="ascii").splitlines():
                    row, hit, bits = line.split("\t")
                    rows[int(row)].append((int(hit), float(bits)))
        return [
            (np.array([t for t, _ in found], dtype=np.int64), np.array([b for _, b in found], dtype=np.float32))
            for found in rows
        ]

    return search
