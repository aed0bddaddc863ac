"""HMMER through pyhmmer: building profile HMMs, aligning to them, and searching with sequences or profiles.

Eddy, PLoS Comput. Biol. 7:e1002195 (2011), doi:10.1371/journal.pcbi.1002195; Larralde & Zeller, Bioinformatics 39:btad214
(2023), doi:10.1093/bioinformatics/btad214.

One policy for letters: HMMER gets the 20 amino acids and `X`; any other letter (`B`, `J`, `O`, `U`, `Z`, …) becomes `X`, and
aligned rows get their own letters back. Sequences are named by their index, so HMMER never sees names.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.family import Family

if TYPE_CHECKING:
    from pyhmmer.easel import Alphabet, DigitalMSA, DigitalSequence, DigitalSequenceBlock
    from pyhmmer.plan7 import HMM, Background, Pipeline, TopHits
    from pyhmmer.plan7 import Domain as HMMERDomain

logger = logging.getLogger(__name__)

LONGEST = 100_000
"""Maximum number of residues of a sequence that HMMER searches."""

_UNUSUAL = re.compile("[^ACDEFGHIKLMNPQRSTVWYX]")
_NO_FILTER: dict[str, Any] = {"F1": 1.0, "F2": 1.0, "F3": 1.0, "bias_filter": False}


def plain(sequence: str) -> str:
    """Return a sequence in which every letter except the 20 amino acids is `X`."""
    return _UNUSUAL.sub("X", sequence)


def plain_row(row: str) -> str:
    """Return an aligned row in upper case with `-` for every gap and `X` for every letter except the 20 amino acids."""
    return "".join("-" if c in "-." else plain(c) for c in row.upper())


def restore(row: str, sequence: str) -> str:
    """Return an aligned row with its letters replaced by those of `sequence`; case is kept."""
    if not _UNUSUAL.search(sequence):
        return row
    letters = iter(sequence)
    return "".join(c if c in "-." else next(letters).lower() if c.islower() else next(letters) for c in row)


@functools.cache
def amino() -> Alphabet:
    """Return Easel's alphabet of amino acids."""
    from pyhmmer import easel

    return easel.Alphabet.amino()


def digital(sequence: str, name: str = "query") -> DigitalSequence:
    """Return an unaligned sequence in HMMER's format."""
    from pyhmmer import easel

    return easel.TextSequence(name=name, sequence=plain(sequence)).digitize(amino())


def digital_block(sequences: Iterable[str]) -> DigitalSequenceBlock:
    """Return unaligned sequences in HMMER's format for searches, named by their index."""
    from pyhmmer import easel

    return easel.DigitalSequenceBlock(amino(), [digital(sequence, str(i)) for i, sequence in enumerate(sequences)])


def searchable(sequences: Iterable[str]) -> DigitalSequenceBlock:
    """Return the targets of searches, as `digital_block` does; those of more than `LONGEST` residues are left out."""
    from pyhmmer import easel

    given = list(sequences)
    kept = [digital(sequence, str(i)) for i, sequence in enumerate(given) if len(sequence) <= LONGEST]
    if len(kept) < len(given):
        logger.warning(
            f"{counted(len(given) - len(kept), 'sequence')} of more than {LONGEST:,} residues not searched: HMMER cannot"
        )
    return easel.DigitalSequenceBlock(amino(), kept)


def digital_msa(rows: Iterable[str], match: npt.NDArray[np.bool_] | None = None, name: str = "family") -> DigitalMSA:
    """Return aligned rows in the format of HMMER's builder.

    Args:
        rows: upper-case letters and `-` only, of equal length; see `plain_row`.
        match: which columns are match states, shape (columns,); None lets HMMER decide.
        name: name of the model.

    Raises:
        ValueError: rows of different lengths, or none.
    """
    from pyhmmer import easel

    msa = easel.TextMSA(name=name, sequences=[easel.TextSequence(name=str(i), sequence=row) for i, row in enumerate(rows)])
    if match is not None:
        msa.reference = "".join("x" if column else "." for column in match)
    return msa.digitize(amino())


def build_hmm(family: Family) -> HMM:
    """Return a profile HMM built from an aligned family, as by hmmbuild; `#=GC RF` marks its match columns if present.

    Raises:
        BadInputError: HMMER cannot build a model from it.
    """
    from pyhmmer import plan7

    match = family.match_columns() if family.is_marked else None
    try:
        msa = digital_msa(map(plain_row, family.rows), match, family.accession or family.name or "family")
        builder = plan7.Builder(amino(), architecture="fast" if match is None else "hand")
        hmm, _, _ = builder.build_msa(msa, plan7.Background(amino()))
    except ValueError as error:
        raise BadInputError(
            f"{family.label}: HMMER cannot build a profile HMM from its alignment",
            why=str(error),
            fix="give --hmm FILE, or align de novo with --engine famsa",
        ) from error
    return hmm


def align_to(hmm: HMM, sequences: Sequence[str], *, threads: int = 0) -> tuple[list[str], str]:
    """Return the rows of sequences aligned to a profile HMM (hmmalign), in order, and the `RF` line over match columns.

    Args:
        hmm: of proteins.
        sequences: residues in upper case, without gaps.
        threads: CPU threads; 0 uses all cores.
    """
    import pyhmmer

    msa: Any = pyhmmer.hmmalign(hmm, digital_block(sequences), cpus=threads, all_consensus_cols=True)
    rows = [""] * len(sequences)
    for name, row in zip(msa.names, msa.alignment, strict=True):
        rows[int(name)] = restore(row, sequences[int(name)])
    return rows, "".join("." if c in ".~-" else "x" for c in msa.reference)


@dataclass(frozen=True)
class SearchOptions:
    """Options of a HMMER search.

    Attributes:
        evalue: maximum E-value of sequences and domains, for reporting and inclusion; infinite reports everything.
        database_size: number of sequences for E-values; None: that of the targets.
        filters: use HMMER's acceleration filters (MSV, Viterbi, Forward, bias); False scores every target completely.
        threads: CPU threads; 0 uses all cores.
        seed: of HMMER's random numbers; results do not depend on threads.
        domains: also return the alignments of each hit.
    """

    evalue: float = 10.0
    database_size: int | None = None
    filters: bool = True
    threads: int = 1
    seed: int = 42
    domains: bool = False

    def pipeline(self, background: Background | None = None) -> Pipeline:
        """Return HMMER's search pipeline with these options."""
        from pyhmmer import plan7

        return plan7.Pipeline(amino(), background, **self._options())

    def _options(self) -> dict[str, Any]:
        thresholds = dict.fromkeys(("E", "incE", "domE", "incdomE"), self.evalue)
        return {**thresholds, "Z": self.database_size, "seed": self.seed, **({} if self.filters else _NO_FILTER)}


class Domain(NamedTuple):
    """A local alignment of a query with a target.

    Attributes:
        score: bits of the domain alone.
        evalue: of the domain, as if it were the whole hit (HMMER's independent E-value).
        pairs: positions of the aligned residues in query (or profile) and target, counted from 0; shape (pairs, 2).
    """

    score: float
    evalue: float
    pairs: npt.NDArray[np.int64]


class Hits(NamedTuple):
    """The hits of one query, best first.

    Attributes:
        target: index of each target, shape (hits,).
        score: bits, shape (hits,).
        evalue: of the whole sequence, shape (hits,).
        domains: of each hit, best first; empty if not requested.
    """

    target: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    evalue: npt.NDArray[np.float64]
    domains: list[list[Domain]]


def phmmer(
    queries: Iterable[str], targets: Iterable[str] | DigitalSequenceBlock, options: SearchOptions = SearchOptions()
) -> Iterator[Hits]:
    """Search sequences with sequences; yield the hits of each query, in the order of the queries.

    Targets of several searches may be given as the result of `searchable`.
    """
    import pyhmmer

    asked: Any = digital_block(queries)
    found = pyhmmer.phmmer(asked, _block(targets), cpus=options.threads, **options._options())
    return (_hits(hits, options.domains) for hits in found)


def hmmsearch(
    hmms: Iterable[HMM], targets: Iterable[str] | DigitalSequenceBlock, options: SearchOptions = SearchOptions()
) -> Iterator[Hits]:
    """Search sequences with profile HMMs; yield the hits of each profile, in the order of the profiles; see `phmmer`."""
    import pyhmmer

    asked: Any = list(hmms)
    found = pyhmmer.hmmsearch(asked, _block(targets), cpus=options.threads, **options._options())
    return (_hits(hits, options.domains) for hits in found)


def _block(targets: Iterable[str] | DigitalSequenceBlock) -> Any:
    from pyhmmer import easel

    return targets if isinstance(targets, easel.DigitalSequenceBlock) else searchable(targets)


def _hits(found: TopHits, domains: bool) -> Hits:
    rows = [(int(hit.name), hit.score, hit.evalue) for hit in found]
    target, score, evalue = zip(*rows, strict=True) if rows else ((), (), ())
    parts = [sorted(map(_domain, hit.domains), key=lambda d: -d.score) for hit in found] if domains else []
    return Hits(np.array(target, dtype=np.int64), np.array(score, dtype=float), np.array(evalue, dtype=float), parts)


def _domain(found: HMMERDomain) -> Domain:
    """Return a domain: columns with a residue in both are its pairs."""
    alignment = found.alignment
    ours, theirs = (np.array(list(row)) for row in (alignment.hmm_sequence, alignment.target_sequence))
    ours, theirs = ours != ".", theirs != "-"
    at = alignment.hmm_from - 1 + np.cumsum(ours) - 1, alignment.target_from - 1 + np.cumsum(theirs) - 1
    return Domain(found.score, found.i_evalue, np.stack(at, axis=1)[ours & theirs].astype(np.int64))
