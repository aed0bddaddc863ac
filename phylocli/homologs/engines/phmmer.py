"""Homologs by HMMER: phmmer, and hmmsearch with the profile of what was found after the first round, as jackhmmer does."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

from phylocli.config.homologs import HomologsConfig
from phylocli.core.threads import available_cores
from phylocli.formats.sequences.fasta import Sequence
from phylocli.hmmer import Hits, SearchOptions, build_hmm, hmmsearch, phmmer, searchable
from phylocli.homologs.alignments import Homolog, chosen, family_of

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM

AT_ONCE = 100
"""Queries of one search: alignments of all are in memory."""

PROFILE = 1_000
"""Maximum number of homologs in the profile of the next round."""


def describe(config: HomologsConfig) -> str:
    """Return the method with its version, for the notes of a record."""
    from importlib.metadata import version

    return f"{'phmmer' if config.rounds == 1 else 'hmmsearch'} (pyhmmer {version('pyhmmer')})"


def search(queries: Iterator[SequenceOf[str]], database: SequenceOf[str], config: HomologsConfig) -> Iterator[list[Homolog]]:
    """Yield the homologs of each query, best first; see `homologs.find`."""
    targets = searchable(database)
    options = SearchOptions(evalue=config.evalue, threads=config.threads or available_cores(), domains=True)
    for batch in queries:
        found = [_homologs(hits, database, config.evalue) for hits in phmmer(batch, targets, options)]
        for _ in range(1, config.rounds):
            profiles = [_profile(query, homologs, config) for query, homologs in zip(batch, found, strict=True)]
            found = [_homologs(hits, database, config.evalue) for hits in hmmsearch(profiles, targets, options)]
        yield from found


def _homologs(hits: Hits, database: SequenceOf[str], limit: float) -> list[Homolog]:
    """Return the best local alignment of a query with each hit of at most an E-value."""
    found = []
    for target, evalue, domains in zip(hits.target.tolist(), hits.evalue.tolist(), hits.domains, strict=True):
        if evalue > limit or not domains or not len(domains[0].pairs):
            continue
        pairs = domains[0].pairs.copy()
        start, last = int(pairs[0, 1]), int(pairs[-1, 1])
        pairs[:, 1] -= start
        found.append(Homolog(target, start, database[target][start : last + 1], pairs, evalue))
    return found


def _profile(query: str, homologs: list[Homolog], config: HomologsConfig) -> HMM:
    kept = chosen(query, homologs, number=PROFILE, coverage=config.coverage)
    return build_hmm(family_of(Sequence("query", query), kept, [str(i) for i in range(len(kept))]))
