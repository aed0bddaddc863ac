"""Homologs by MMseqs2, which must be installed: a search with sequences, or with profiles after the first round."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from pathlib import Path

from phylocli import mmseqs
from phylocli.config.homologs import HomologsConfig
from phylocli.core.threads import available_cores
from phylocli.homologs.alignments import Homolog

SENSITIVITY = "5.7"
PROFILES = "0.1"
"""Maximum E-value of what is in the profile of the next round, the program's default."""

MOST = 300
"""Maximum number of hits of a query, the program's default, unless more homologs are asked for."""

AT_ONCE = 5_000
"""Queries of one search: each search makes an index of the database, which takes as long as many queries."""

_OTHERWISE = "--engine phmmer"
_COLUMNS = "query,target,evalue,qstart,tstart,cigar,taln"


def describe(config: HomologsConfig) -> str:
    """Return the method with the program's version, for the notes of a record.

    Raises:
        MissingDependencyError: the program is not on PATH.
    """
    profiles = f" --e-profile {PROFILES}" if config.rounds > 1 else ""
    return f"MMseqs2 {mmseqs.version(_OTHERWISE)} -s {SENSITIVITY}{profiles}"


def search(queries: Iterator[SequenceOf[str]], database: SequenceOf[str], config: HomologsConfig) -> Iterator[list[Homolog]]:
    """Yield the homologs of each query: those of the first round, best first, then what each further round adds, likewise;
    see `homologs.find`."""
    with tempfile.TemporaryDirectory(prefix="phylocli-mmseqs-") as name:
        run = mmseqs.MMseqs(Path(name), config.threads or available_cores(), _OTHERWISE)
        run.create("database", database)
        limits = ["-s", SENSITIVITY, "-e", f"{config.evalue:g}", "--max-seqs", str(max(MOST, config.number)), "-a"]
        for number, batch in enumerate(queries):
            query, result = f"query{number}", f"result{number}"
            run.create(query, batch)
            rounds = ["--num-iterations", str(config.rounds), "--e-profile", PROFILES, "--remove-tmp-files", "1"]
            run("search", query, "database", result, "tmp", *limits, *rounds)
            run("convertalis", query, "database", result, f"{result}.tsv", "--format-output", _COLUMNS)
            found: list[list[Homolog]] = [[] for _ in batch]
            for asked, target, evalue, start, target_start, cigar, letters in run.lines(f"{result}.tsv"):
                pairs, residues = mmseqs.aligned_pairs(int(start) - 1, cigar), letters.replace("-", "").upper()
                found[int(asked)].append(Homolog(int(target), int(target_start) - 1, residues, pairs, float(evalue)))
            for path in itertools.chain(Path(name).glob(f"{query}*"), Path(name).glob(f"{result}*")):
                path.unlink()
            yield from found
