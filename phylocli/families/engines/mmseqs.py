"""Clusters of whole sequences by an installed MMseqs2.

Steinegger and Söding (2017), doi:10.1038/nbt.3988: cascaded clustering with bidirectional coverage, so that sequences that
share only one of their domains are in different clusters. Whole sequences are clustered: a multi-domain protein is in the
family of similar proteins, and never in those of its domains.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from phylocli.core import console
from phylocli.core.errors import MissingDependencyError, PhylocliError
from phylocli.core.processes import run_program
from phylocli.families.pool import Pool
from phylocli.families.residue_assignment import Group
from phylocli.families.searching import Hit, Region, Searcher, Settings, rows_of

logger = logging.getLogger(__name__)

PROGRAM = "mmseqs"
# Most sensitive: seven times slower than the default, and still fast.
_SENSITIVITY = "7.5"


def describe() -> str:
    """Return the method and its version, for the notes of a record."""
    version = run_program([_program(), "version"]).stdout.strip()
    return f"MMseqs2 {version or 'of unknown version'} cluster -s {_SENSITIVITY}"


def group(pool: Pool, settings: Settings, executor: Executor) -> list[Group]:
    """Return the clusters of a pool as families of whole sequences, each with a profile of those that align well.

    Raises:
        MissingDependencyError: no program `mmseqs` on PATH.
        PhylocliError: MMseqs2 failed.
    """
    clusters = cluster(pool, settings)
    searcher = Searcher(pool, settings)
    found = executor.map(partial(_profiled, searcher), clusters)
    return list(console.progress(found, "profiles", total=len(clusters), unit="families"))


def cluster(pool: Pool, settings: Settings) -> list[list[int]]:
    """Return clusters of two or more sequences of the pool, the representative first."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="phylocli-mmseqs-") as folder:
        source = Path(folder, "pool.fasta")
        with source.open("w", encoding="ascii") as stream:
            # Numbers as names: nothing that the user wrote reaches the program.
            stream.writelines(f">{i}\n{text}\n" for i, text in enumerate(pool.residues))
        command = [program, "easy-cluster", str(source), str(Path(folder, "out")), str(Path(folder, "tmp"))]
        command += ["-s", _SENSITIVITY, "-e", str(settings.evalue), "-c", str(settings.coverage), "--cov-mode", "0"]
        command += ["--cluster-reassign", "1", "--threads", str(settings.threads), "-v", "1"]
        logger.debug(f"running {' '.join(command)}")
        done = run_program(command)
        table = Path(folder, "out_cluster.tsv")
        if done.returncode != 0 or not table.is_file():
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PhylocliError(
                f"MMseqs2 failed with status {done.returncode}",
                why=said[-1] if said else None,
                fix="run it again with -v to see the command, or use --engine profile",
            )
        clusters: dict[int, list[int]] = {}
        for line in table.read_text(encoding="ascii").splitlines():
            head, member = map(int, line.split("\t"))
            clusters.setdefault(head, []).append(member)
    return [
        [head, *sorted(m for m in members if m != head)] for head, members in sorted(clusters.items()) if len(members) > 1
    ]


def _program() -> str:
    found = shutil.which(PROGRAM)
    if found is None:
        raise MissingDependencyError(
            "the engine 'mmseqs' needs MMseqs2, which is not on PATH",
            fix="conda install -c bioconda mmseqs2, or apt install mmseqs2, or use --engine profile",
        )
    return found


def _profiled(searcher: Searcher, members: list[int]) -> Group:
    """Return a cluster with the profile of its representative and those members that align to it, and everybody's score."""
    pool = searcher.pool
    head = members[0]
    seed = Region(head, 1, int(pool.lengths[head]))
    hits = searcher.by_sequence(seed, members)
    rows = rows_of(hits, seed.length, searcher.settings.coverage) or [pool.letters(head)]
    profile = searcher.builders.profile(rows) or searcher.builders.profile([pool.letters(head)])
    best: dict[int, Hit] = {}
    for hit in searcher.by_profile(profile, members) if profile is not None else ():
        best.setdefault(hit.region.sequence, hit)
    whole = []
    for index in members:
        region = Region(index, 1, int(pool.lengths[index]))
        found = best.get(index)
        score, evalue = (found.score, found.evalue) if found else (math.nan, math.nan)
        whole.append(Hit(region, score, evalue, 1, 0, b""))
    return Group(profile, whole)
