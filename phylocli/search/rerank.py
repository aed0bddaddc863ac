"""Reranking of hits by alignment with the query: of residue embeddings, with phmmer, or both."""

from __future__ import annotations

import logging
import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.config.search import SearchConfig
from phylocli.core.errors import BadInputError
from phylocli.formats import Sequence, Sequences, as_sequences, read_sequences
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.hmmer import LONGEST, SearchOptions, phmmer
from phylocli.search.alignment import Comparison, Path, StandardisedCosine, align_residues, residue_paths
from phylocli.search.database import FloatArray, unit
from phylocli.search.local_alignment import INCLUDED, LocalAlignment
from phylocli.search.residue_plda import features_of, load_residue_plda

if TYPE_CHECKING:
    from phylocli.embed import Embedder
    from phylocli.search.residue_evalues import ResidueEvalues, Scored

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

KEPT_BYTES = 512 << 20
"""Size of the cache of residue embeddings in bytes."""

MOST_CELLS = 10**8
"""Maximum product of the lengths of two proteins that are aligned: memory is about 24 bytes times that."""

ALIGNED = 256
"""Number of hits whose residues are embedded at once."""


def read_residues(
    ids: Iterable[str],
    source: PathLike | Sequences | Mapping[str, str],
    genetic_code: int | None = None,
    *,
    report: bool = True,
) -> dict[str, str]:
    """Return the sequences of the given ids, from a file or from memory.

    Args:
        ids: the ids.
        source: sequences, or a mapping from id to sequence.
        genetic_code: the genetic code for the translation of coding DNA; None: the sequences are proteins.
        report: see `read_sequences`.

    Raises:
        BadInputError: an id is missing, or a letter of a mapping is not a residue.
    """
    wanted = set(ids)
    if isinstance(source, Mapping):
        name, found = "sequences", {item: Sequence(item, source[item]).unaligned() for item in wanted if item in source}
    else:
        if isinstance(source, str | os.PathLike):
            name = str(source)
            given = read_sequences(source, on_duplicate="keep-first", report=report, genetic_code=genetic_code)
        else:
            name, given = "sequences", as_sequences(source, genetic_code=genetic_code, report=report)
        found = {s.id: s.residues for s in given if s.id in wanted}
    missing = wanted - set(found)
    if missing:
        raise BadInputError(
            f"{name} lacks {len(missing):,} of the sequences, first {shorten(min(missing))!r}",
            fix="give the sequences that the table was made from",
        )
    return found


def align(query: str, targets: SequenceOf[str], rows: int) -> tuple[Floats, Floats]:
    """Align a query with its hits by phmmer; return E-values and bit scores, (k,) each, NaN without an alignment.

    phmmer (Eddy 2011, doi:10.1371/journal.pcbi.1002195) is run without its filters, which save time only in large databases.
    Pairs of more than `MOST_CELLS` residues times residues are not aligned.

    Args:
        query: the unaligned query.
        targets: the unaligned sequences of the hits.
        rows: the number of rows of the searched table: the database size for E-values.
    """
    evalues, bits = np.full(len(targets), np.nan), np.full(len(targets), np.nan)
    places = _alignable(query, targets)
    if len(places):
        (hits,) = phmmer([query], [targets[i] for i in places], _options(rows))
        evalues[places[hits.target]], bits[places[hits.target]] = hits.evalue, hits.score
    return evalues, bits


def _alignable(query: str, targets: SequenceOf[str]) -> npt.NDArray[np.int64]:
    """Return the indices of the targets that phmmer aligns with a query."""
    return np.flatnonzero([_fits(query, of) and max(len(query), len(of)) <= LONGEST for of in targets])


def _fits(query: str, target: str) -> bool:
    return 0 < len(query) * len(target) <= MOST_CELLS


def align_domains(query: str, targets: SequenceOf[str], rows: int) -> list[list[LocalAlignment]]:
    """Return the local alignments of a query and each of its hits by phmmer, best first; for the arguments see `align`.

    These are the best domain, and all domains with an independent E-value of at most `INCLUDED`.
    """
    found: list[list[LocalAlignment]] = [[] for _ in targets]
    places = _alignable(query, targets)
    if not len(places):
        return found
    (hits,) = phmmer([query], [targets[i] for i in places], replace(_options(rows), domains=True))
    for index, domains in zip(places[hits.target].tolist(), hits.domains, strict=True):
        kept = [d for rank, d in enumerate(domains) if rank == 0 or d.evalue <= INCLUDED]
        found[index] = [LocalAlignment.of(d.score, d.pairs, query, targets[index]) for d in kept]
    return found


def _options(rows: int) -> SearchOptions:
    return SearchOptions(evalue=math.inf, database_size=rows, filters=False)


def in_embedding(residues: FloatArray, embedder: Embedder) -> FloatArray:
    """Map residues to the space of sequence embeddings, as unit vectors (L, D): each is pooled (and whitened) on its own.

    With mean pooling, the embedding of a sequence is the mean of these vectors before scaling.

    Args:
        residues: the output of the encoder, (L, R).
        embedder: the embedder with the model.
    """
    import torch

    model = embedder.model
    with torch.inference_mode():
        alone = torch.from_numpy(residues).to(model.device)[:, None]
        mask = torch.ones(alone.shape[:2], dtype=torch.bool, device=model.device)
        return unit(model.pool(alone, mask, embedder.layer).float().cpu().numpy())


class ResidueScores:
    """Aligns queries with their hits by residue embeddings, which are computed on demand and cached.

    Scores of residue pairs are log odds of the residue PLDA of the model, or, if it has none, standardised cosines in the
    space of sequence embeddings.

    Args:
        embedder: an embedder with the model of the table.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._plda = load_residue_plda(embedder.model)
        self.comparison: Comparison = self._plda or StandardisedCosine()
        if self._plda is None:
            logger.info("the model has no residue PLDA: scoring residues by standardised cosines")
        self._kept: OrderedDict[str, FloatArray] = OrderedDict()
        self._bytes = 0

    def __call__(self, query: str, targets: SequenceOf[str], *, backwards: bool = True) -> tuple[Floats, Floats]:
        """Return the scores of the best local alignments of a query with each target, (k,), in order and backwards; see
        `align_residues`. Those of pairs of more than `MOST_CELLS` residues times residues are NaN."""
        own = self._residues([query])[0]
        found = dict.fromkeys(targets, (math.nan, math.nan))
        distinct = [target for target in found if _fits(query, target)]
        for start in range(0, len(distinct), ALIGNED):
            part = distinct[start : start + ALIGNED]
            scores, chance = align_residues(own, self._residues(part), self.comparison, backwards=backwards)
            found.update(zip(part, zip(scores.tolist(), chance.tolist(), strict=True), strict=True))
        both = np.array([found[target] for target in targets], dtype=np.float64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def paths(self, query: str, targets: SequenceOf[str], least: FloatArray) -> list[list[Path]]:
        """Return the local alignments of a query with each target: the best, and others of at least a score (k,)."""
        own = self._residues([query])[0]
        found: list[list[Path]] = [[] for _ in targets]
        places = np.flatnonzero([_fits(query, target) for target in targets])
        for start in range(0, len(places), ALIGNED):
            part = places[start : start + ALIGNED]
            paths = residue_paths(own, self._residues([targets[i] for i in part]), self.comparison, least[part])
            for index, of in zip(part.tolist(), paths, strict=True):
                found[index] = of
        return found

    def coordinates(self, sequences: SequenceOf[str]) -> list[FloatArray]:
        """Return the coordinates of the residues of each sequence, (L, D), for `comparison`."""
        if self._plda is not None:
            features = features_of(self._embedder, self._plda.layers, sequences, self._plda.heads)
            return [self._plda(values) for values in features]
        return [in_embedding(values, self._embedder) for values in self._embedder.residues(sequences)]

    def _residues(self, targets: SequenceOf[str]) -> list[FloatArray]:
        """Return `coordinates` from the cache; missing sequences are computed."""
        fresh = [t for t in dict.fromkeys(targets) if t not in self._kept]
        for sequence, vectors in zip(fresh, self.coordinates(fresh), strict=True):
            self._kept[sequence] = vectors
            self._bytes += vectors.nbytes
        for sequence in targets:
            self._kept.move_to_end(sequence)
        found = [self._kept[sequence] for sequence in targets]
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found


@dataclass(frozen=True)
class Ranked:
    """The m reranked hits of a query, best first.

    Attributes:
        order: the indices of these hits in the input, (m,).
        scores: their values for columns of `tables.hits_schema()`, (m,) each.
        alignments: the local alignments of each hit, best first.
    """

    order: npt.NDArray[np.int64]
    scores: dict[str, Floats]
    alignments: list[list[LocalAlignment]]


@dataclass(frozen=True)
class Reranking:
    """Aligns, ranks and filters the hits of queries.

    Attributes:
        config: the options of the search.
        by_residues: the aligner of residue embeddings; None: not requested.
        residues: the sequences of all hits by id.
        rows: the number of rows of the table.
    """

    config: SearchConfig
    by_residues: ResidueEvalues | None
    residues: dict[str, str]
    rows: int

    @property
    def evalue(self) -> str:
        """The column of the E-value by which hits are ranked and to which `max_evalue` applies."""
        names = {(False, False): "evalue", (True, False): "residues_evalue", (False, True): "align_evalue"}
        return names.get((self.by_residues is not None, self.config.align), "both_evalue")

    def __call__(self, query: str, vector: FloatArray, targets: list[str]) -> Ranked:
        """Align and rank the hits of a query.

        With phmmer only, hits with an alignment come first, by bit score, then the others by cosine. With residue embeddings
        only, hits are ranked by E-value (or by score without E-values). With both, they are ranked by the smaller of the two
        E-values, doubled to correct for two tests.

        Args:
            query: the unaligned query.
            vector: the unit vector of the query, (D,).
            targets: the ids of the hits, by decreasing cosine.
        """
        sequences = [self.residues[t] for t in targets]
        found, scored = self._scores(query, vector, sequences)
        keys: list[Floats] = [np.arange(len(targets), dtype=np.float64)]  # the last key of np.lexsort decides first
        if scored is not None:
            keys += [-found["residues"], found["residues_evalue"]]
        if self.config.align:
            keys.append(-np.nan_to_num(found["align_bits"], nan=-np.inf))
        if scored is not None and self.config.align:
            keys.append(found["both_evalue"])
        order = np.lexsort(keys)
        if self.config.max_evalue is not None:
            order = order[found[self.evalue][order] <= self.config.max_evalue]
        order = order[: self.config.kept]
        scores = {name: values[order] for name, values in found.items()}
        alignments = self._alignments(query, [sequences[i] for i in order], scored and scored.take(order), scores)
        return Ranked(order, scores, [of[:1] for of in alignments] if self.config.best else alignments)

    def evalues(self, query: str, vector: FloatArray, sequences: list[str]) -> Floats:
        """Return the E-values by which hits are ranked, (k,), NaN without an alignment.

        Args:
            query, vector: see `__call__`.
            sequences: the unaligned sequences of the hits.
        """
        return self._scores(query, vector, sequences)[0][self.evalue]

    def _scores(self, query: str, vector: FloatArray, sequences: list[str]) -> tuple[dict[str, Floats], Scored | None]:
        """Return the columns of `tables.hits_schema()` for hits in their order, (k,) each, and what is behind them."""
        found: dict[str, Floats] = {}
        scored: Scored | None = None
        if self.by_residues is not None:
            scored = self.by_residues(query, vector, sequences)
            found["residues"], found["residues_evalue"] = scored.scores, scored.evalues
        if self.config.align:
            found["align_evalue"], found["align_bits"] = align(query, sequences, self.rows)
        if scored is not None and self.config.align:
            found["both_evalue"] = 2 * np.fmin(found["residues_evalue"], found["align_evalue"])
        return found, scored

    def _alignments(
        self, query: str, targets: list[str], scored: Scored | None, scores: dict[str, Floats]
    ) -> list[list[LocalAlignment]]:
        """Return the local alignments of each hit, by the method with the smaller E-value."""
        by_phmmer = align_domains(query, targets, self.rows) if self.config.align else [[] for _ in targets]
        if self.by_residues is None or scored is None:
            return by_phmmer
        found = self.by_residues.alignments(query, targets, scored)
        if not self.config.align:
            return found
        better = np.isnan(scores["residues_evalue"]) | (scores["align_evalue"] <= scores["residues_evalue"])
        return [theirs if b else ours for b, theirs, ours in zip(better, by_phmmer, found, strict=True)]
