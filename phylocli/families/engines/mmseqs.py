"""Clustering of whole sequences with MMseqs2, which must be installed.

Close homologs are grouped by Linclust (Steinegger and Söding 2018, doi:10.1038/s41467-018-04964-5). Their representatives
are then clustered by cascaded clustering with bidirectional coverage (Steinegger and Söding 2017, doi:10.1038/nbt.3988).
Sequences that share only one of their domains are therefore in different clusters, and the members of a cluster are similar
over their whole length.
"""

from __future__ import annotations

import math
import tempfile
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from phylocli import mmseqs
from phylocli.core import console
from phylocli.families.pool import Pool
from phylocli.families.profiles import Builders
from phylocli.families.residue_assignment import Group
from phylocli.families.searching import Hit, Region, Settings

_OTHERWISE = "--engine profile"
SENSITIVITY = "5"
GROUP_IDENTITY = "0.3"
GROUP_COVERAGE = "0.8"
# Maximum number of group representatives per profile; further ones take time and add little information.
_MOST_SEEDS = 64


@dataclass(frozen=True)
class Alignment:
    """The local alignment of a member with the representative of its cluster.

    Attributes:
        score: score in bits.
        evalue: E-value for a search of the whole pool.
        start: first aligned position in the representative, from 0.
        target_start: first aligned position in the member, from 0.
        cigar: `M` for aligned residues, `I` for residues of the representative only, `D` for residues of the member only.
    """

    score: float
    evalue: float
    start: int
    target_start: int
    cigar: str

    def row(self, text: bytes, length: int) -> bytes:
        """Return the member's aligned letter at each position of a representative of this length, `-` for gaps.

        Args:
            text: the whole sequence of the member.
            length: length of the representative.
        """
        row = np.full(length, ord("-"), dtype=np.uint8)
        here, there = mmseqs.aligned_pairs(self.start, self.cigar).T
        row[here] = np.frombuffer(text, dtype=np.uint8)[self.target_start + there]
        return row.tobytes()


@dataclass
class Cluster:
    """A cluster of sequences.

    Attributes:
        representative: index in the pool.
        groups: members of each group of close homologs, by the representative of the group; sorted by index.
        alignments: alignment of each member with the representative, by index.
    """

    representative: int
    groups: dict[int, list[int]] = field(default_factory=dict)
    alignments: dict[int, Alignment] = field(default_factory=dict)

    def size(self, pool: Pool) -> int:
        """Return the number of members, copies of one sequence included."""
        return sum(len(pool.ids[index]) for members in self.groups.values() for index in members)


def describe() -> str:
    """Return the method with program version and options, for the notes of a record."""
    groups = f"linclust --min-seq-id {GROUP_IDENTITY} -c {GROUP_COVERAGE}"
    return f"MMseqs2 {mmseqs.version(_OTHERWISE)} {groups}, cluster -s {SENSITIVITY}"


def group(pool: Pool, settings: Settings, executor: Executor) -> list[Group]:
    """Return the clusters of a pool as families of whole sequences, each with a profile.

    The score and E-value of a member are from MMseqs2's alignment of the member with the representative.

    Raises:
        MissingDependencyError: the program `mmseqs` is not on PATH.
        PhylocliError: MMseqs2 failed.
    """
    clusters = [c for c in cluster(pool, settings) if c.size(pool) >= settings.min_size]  # profiles take most of the rest
    found = executor.map(partial(_profiled, pool, Builders(), settings.coverage), clusters)
    return list(console.progress(found, "profiles", total=len(clusters), unit="families"))


def cluster(pool: Pool, settings: Settings) -> list[Cluster]:
    """Return the clusters of at least two sequences of a pool, sorted by the index of their representative."""
    with tempfile.TemporaryDirectory(prefix="phylocli-mmseqs-") as name:
        run = mmseqs.MMseqs(Path(name), settings.threads, _OTHERWISE)
        run.create("pool", pool.residues)
        run("linclust", "pool", "groups", "tmp", "--min-seq-id", GROUP_IDENTITY, "-c", GROUP_COVERAGE)
        run("createsubdb", "groups", "pool", "heads", threaded=False)
        limits = ["-s", SENSITIVITY, "-e", str(settings.evalue), "-c", str(settings.coverage), "--cov-mode", "0"]
        run("cluster", "heads", "clusters", "tmp", *limits, "--cluster-reassign", "1")
        run("mergeclusters", "pool", "members", "groups", "clusters")
        run("align", "pool", "pool", "members", "alignments", "-a", "-e", "inf")
        for database in ("groups", "members"):
            run("createtsv", "pool", "pool", database, f"{database}.tsv")
        head_of = {member: head for head, member in map(_indices, run.lines("groups.tsv"))}
        clusters: dict[int, Cluster] = {}
        for representative, member in map(_indices, run.lines("members.tsv")):
            found = clusters.setdefault(representative, Cluster(representative))
            found.groups.setdefault(head_of[member], []).append(member)
        columns = "query,target,bits,evalue,qstart,tstart,cigar"
        run("convertalis", "pool", "pool", "alignments", "alignments.tsv", "--format-output", columns)
        for fields in run.lines("alignments.tsv"):
            representative, member = _indices(fields)
            start, target_start = (int(text) - 1 for text in fields[4:6])
            aligned = Alignment(float(fields[2]), float(fields[3]), start, target_start, fields[6])
            clusters[representative].alignments[member] = aligned
    return [clusters[index] for index in sorted(clusters) if sum(map(len, clusters[index].groups.values())) > 1]


def _indices(fields: list[str]) -> tuple[int, int]:
    """Return the pool indices of the two sequences of a row."""
    return int(fields[0]), int(fields[1])


def _profiled(pool: Pool, builders: Builders, coverage: float, cluster: Cluster) -> Group:
    """Return a cluster as a group, with a profile of those group representatives that cover enough of its representative."""
    head = cluster.representative
    length = int(pool.lengths[head])
    heads = sorted(cluster.groups)
    chosen = {head, *(heads[i] for i in np.linspace(0, len(heads) - 1, _MOST_SEEDS).astype(int))}
    known = cluster.alignments
    rows = [known[index].row(pool.letters(index), length) for index in sorted(chosen) if index in known]
    rows = [row for row in rows if length - row.count(b"-") >= coverage * length]
    profile = builders.profile(rows) or builders.profile([pool.letters(head)])
    groups = {member: group for group, members in cluster.groups.items() for member in members}
    whole = []
    for index in [head, *sorted(groups.keys() - {head})]:
        score, evalue = (known[index].score, known[index].evalue) if index in known else (math.nan, math.nan)
        whole.append(Hit(Region(index, 1, int(pool.lengths[index])), score, evalue, 1, 0, b""))
    return Group(profile, whole, groups)
