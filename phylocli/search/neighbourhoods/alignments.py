"""Neighbours by alignment: each row of a table aligned with its nearest rows, and new proteins likewise.

The cosine of two vectors is a weak sign of homology, an alignment a strong one, but too slow for all pairs. So each row is
aligned with the 50 rows nearest to it, by phmmer, by residue embeddings, or both (`rerank.Reranking`). The E-value of a pair
is the geometric mean of those in both directions, as far as both are known, and its weight 1 / (1 + E): near 1 where no
unrelated row is expected to align as well, near 0 where many are. Averaged are a protein's K strongest neighbours, if it is
also among theirs, or has an E-value of at most 0.01 with them. E-values are those for a table of at least 1,000 rows: in a
small one, unrelated rows would have small E-values.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phylocli.config.parallel import ParallelConfig
from phylocli.config.search import SearchConfig
from phylocli.config.smooth import MOST, Neighbourhood
from phylocli.core import console
from phylocli.core.alphabet import is_nucleotide_sequence
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.executors import Work, run_all
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import display_name
from phylocli.formats.tables.parts import is_parts
from phylocli.search.background import SEQUENCES
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.exact import nearest
from phylocli.search.indices.files import index_path
from phylocli.search.local_alignment import INCLUDED
from phylocli.search.rerank import Reranking
from phylocli.search.residue_plda import FILE as RESIDUE_PLDA

if TYPE_CHECKING:
    from phylocli.search.targets import PreparedTable

logger = logging.getLogger(__name__)

SMALLEST = 1_000
"""Minimum number of rows to which E-values refer."""

SAVED = 60.0
"""Seconds after which the alignments so far are saved, so that an interrupted command continues with them."""

FORMAT = 1
"""Version of the files of neighbours; those of another one are made again."""


@dataclass(frozen=True)
class Neighbourhoods:
    """Rows that are aligned with each of m proteins.

    Attributes:
        rows: their numbers in the table, (m, c); -1: none.
        log_evalues: natural logarithms of the E-values, (m, c): E = n · p for n rows, and for 1,000 if there are fewer.
    """

    rows: IntArray
    log_evalues: FloatArray


@dataclass(frozen=True)
class Strongest:
    """The k strongest neighbours of each row, with their weights.

    Attributes:
        rows: their numbers, (n, k); -1: none.
        weights: 1 / (1 + E), or 0 for those that are not averaged, (n, k).
        limits: maximum log E with which a protein is averaged with a row, (n,): that of the k-th neighbour of the row, or
            of E = 0.01 if that is larger; infinity with fewer neighbours.
    """

    rows: IntArray
    weights: FloatArray
    limits: FloatArray


def strongest(found: Neighbourhoods, k: int) -> Strongest:
    """Return the neighbours of each row by the mean of log E in both directions.

    Args:
        found: the rows that are aligned with each row of the table, (n, c).
        k: number of neighbours. A row may have more than c, since others are aligned with it.
    """
    n = len(found.rows)
    known = found.rows.ravel() >= 0
    here, there = (of.ravel()[known] for of in (np.broadcast_to(np.arange(n)[:, None], found.rows.shape), found.rows))
    values = found.log_evalues.ravel()[known].astype(np.float64)
    pairs, index = np.unique(np.concatenate([here * n + there, there * n + here]), return_inverse=True)
    mean = np.bincount(index, np.concatenate([values, values])) / np.bincount(index)
    row, other = np.divmod(pairs, n)
    order = np.lexsort((other, mean, row))
    row, other, mean = row[order], other[order], mean[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    limits = np.full(n, np.inf)
    limits[row[rank == k - 1]] = np.maximum(mean[rank == k - 1], np.log(INCLUDED))
    kept = rank < k
    row, other, mean, rank = row[kept], other[kept], mean[kept], rank[kept]
    width = int(rank.max()) + 1 if len(rank) else 0
    rows, weights = np.full((n, width), -1, dtype=np.int64), np.zeros((n, width), dtype=np.float32)
    rows[row, rank] = other
    weights[row, rank] = np.where(mean <= limits[other], weight(mean), 0)
    return Strongest(rows, weights, limits.astype(np.float32))


def weight(log_evalues: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + E)."""
    found: np.ndarray = 1 / (1 + np.exp(np.minimum(log_evalues, 80)))
    return found


class NeighbourAligner:
    """Aligns the rows of a table, and further proteins, with the rows that are nearest to them.

    Args:
        targets: the table, with its model for residue embeddings.
        by: the method.
        residues: the unaligned sequences of the rows, by id.
        parallel: processes or workers that align.
        threads: number of threads of each.

    Attributes:
        by: the method.

    Raises:
        UsageError: there is no distribution of chance scores for the E-values of residue alignments.
        BadInputError: a sequence consists of nucleotides.
    """

    def __init__(
        self,
        targets: PreparedTable,
        by: Neighbourhood,
        residues: Mapping[str, str],
        parallel: ParallelConfig,
        threads: int = 0,
    ) -> None:
        self.by = by
        self._table, self._parallel, self._threads = targets.table, parallel, threads
        self._letters = dict(residues)
        for name, letters in self._letters.items():
            if is_nucleotide_sequence(letters):
                raise BadInputError(
                    f"{shorten(name)} consists of nucleotides, but proteins are aligned",
                    fix="give the protein sequences (search: or add --translate)",
                )
        config = SearchConfig(align=by != "residues", rerank=None if by == "phmmer" else "residues")
        aligner = None if by == "phmmer" else targets.residue_alignment
        if aligner is not None and not aligner.has_evalues:
            raise UsageError(
                f"smoothing by {by} needs E-values of residue alignments, which {targets.table.name} does not have",
                why=targets.why_no_evalues or "no unrelated proteins are known for its model",
                fix="use --by phmmer (search: --smooth-by phmmer)",
            )
        self._model = None if aligner is None else targets.embedder.model
        self._reranking = Reranking(config, aligner, {}, len(targets.table))

    def rows(self, vectors: FloatArray) -> Neighbourhoods:
        """Return the rows that are nearest to each row, and their E-values, (n, c); from a file beside the table, as far as
        it has them for the same table and sequences. Others are written there, also while they are computed.

        Args:
            vectors: the unit vectors of the table, (n, D).
        """
        table, path, identity = self._table, self._path(), self._identity(vectors)
        found = None if path is None else _read(path, identity)
        if found is None:
            near = self._nearest(vectors, np.arange(len(table)))
            found = Neighbourhoods(near, np.full(near.shape, np.nan, dtype=np.float32))
        missing = np.flatnonzero(np.isnan(found.log_evalues).any(axis=1))
        letters = [self._letters[table.ids[row]] for row in missing.tolist()]
        names = [table.ids[row] for row in missing.tolist()]
        saved = time.monotonic()
        for row, values in zip(missing, self._aligned(names, vectors[missing], letters, found.rows[missing]), strict=True):
            found.log_evalues[row] = values
            if path is not None and time.monotonic() > saved + SAVED:
                _write(path, found, identity)
                saved = time.monotonic()
        if path is not None and len(missing):
            _write(path, found, identity)
        return found

    def __call__(self, names: SequenceOf[str], vectors: FloatArray, letters: SequenceOf[str]) -> Neighbourhoods:
        """Return the rows that are nearest to each protein, and their E-values, (m, c).

        Args:
            names: ids, for messages.
            vectors: unit vectors, (m, D).
            letters: the unaligned sequences.
        """
        rows = self._nearest(vectors, None)
        return Neighbourhoods(rows, np.array(list(self._aligned(names, vectors, letters, rows)), dtype=np.float32))

    def _nearest(self, vectors: FloatArray, leave_out: IntArray | None) -> IntArray:
        return nearest(vectors, self._table, min(MOST, len(self._table)), leave_out=leave_out).rows

    def _aligned(
        self, names: SequenceOf[str], vectors: FloatArray, letters: SequenceOf[str], rows: IntArray
    ) -> Iterator[FloatArray]:
        """Yield log E of each protein with its rows, (c,)."""
        table, parallel = self._table, self._parallel
        highest = np.log(max(len(table), SMALLEST))
        raised = highest - np.log(len(table))

        def pieces() -> Iterator[tuple[str, tuple[str, FloatArray, list[str]]]]:
            for number, name in enumerate(names):
                others = [self._letters[table.ids[row]] for row in rows[number].tolist() if row >= 0]
                yield name, (letters[number], vectors[number], others)

        threads = self._threads or parallel.threads_each
        early = None if parallel.in_process else functools.partial(limit_threads, threads)
        work = Work(functools.partial(_evalues, self._reranking), early, level=console.QUIET, unit="proteins")
        options = {"title": "aligning neighbours", "total": len(names)} if len(names) else {}
        found = run_all(work, pieces(), jobs=parallel.jobs, cluster=parallel.cluster, **options)
        for number, evalues in enumerate(found):
            values = np.full(rows.shape[1], highest, dtype=np.float32)
            with np.errstate(divide="ignore"):
                logs = np.log(np.where(np.isnan(evalues), np.inf, evalues)) + raised
            values[rows[number] >= 0] = np.clip(logs, -700, highest)
            yield values

    def _path(self) -> Path | None:
        """Return the path of the file of neighbours; None if the table is not a file or folder of the user."""
        name = Path(self._table.name)
        if str(name) != display_name(name) or not (name.is_file() or is_parts(name)):
            return None
        files = self._table.files
        if files and not any(name.absolute() in (file.absolute(), file.absolute().parent) for file in files):
            return None  # the temporary table of sequences, which has their name
        return index_path(self._table, f"{self.by}.neighbours")

    def _identity(self, vectors: FloatArray) -> str:
        """Return what the E-values depend on."""
        known: dict[str, object] = {"format": FORMAT, "by": self.by, "aligned": MOST}
        known["ids"] = _digest("\n".join(self._table.ids).encode())
        known["vectors"] = _digest(np.ascontiguousarray(vectors).data)
        known["sequences"] = _digest("\n".join(self._letters[name] for name in self._table.ids).encode())
        if self._model is not None:
            known |= {"model": self._model.fingerprint, "background": _digest(SEQUENCES.read_bytes())}
            fitted = None if self._model.folder is None else self._model.folder / RESIDUE_PLDA
            known["fitted"] = _digest(fitted.read_bytes()) if fitted is not None and fitted.is_file() else ""
        return json.dumps(known, sort_keys=True)


def _evalues(reranking: Reranking, asked: tuple[str, FloatArray, list[str]]) -> np.ndarray:
    letters, vector, targets = asked
    return reranking.evalues(letters, vector, targets) if targets else np.zeros(0)


def _digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _write(path: Path, found: Neighbourhoods, identity: str) -> None:
    """Write what is known, with what another run has found meanwhile."""
    theirs = _read(path, identity, report=False)
    if theirs is not None and np.array_equal(theirs.rows, found.rows):  # those at the edge differ between machines
        unknown = np.isnan(found.log_evalues)
        found.log_evalues[unknown] = theirs.log_evalues[unknown]
    arrays = {"rows": found.rows.astype(np.int32), "log_evalues": found.log_evalues}
    try:
        write_arrays(path, arrays, {"neighbours": identity})
    except (OSError, PhylocliError) as error:
        logger.warning(f"{path} cannot be written, so rows are aligned again the next time ({error})")


def _read(path: Path, identity: str, *, report: bool = True) -> Neighbourhoods | None:
    """Return the neighbours of a file, NaN for rows that have not been aligned; None without a file, or one that is damaged
    or of something else."""
    if not path.is_file():
        return None
    try:
        arrays, metadata = read_arrays(path, fix="remove it")
    except BadInputError as error:
        logger.warning(f"{error.what}: it will be made again")
        return None
    if metadata.get("neighbours") != identity:
        if report:
            logger.warning(
                f"{path} belongs to another table, model or version, or to other sequences: it will be made again"
            )
        return None
    if report:
        logger.info(f"neighbours by alignment: {path}")
    return Neighbourhoods(arrays["rows"].astype(np.int64), arrays["log_evalues"])
