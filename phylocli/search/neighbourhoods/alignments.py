"""Neighbours by alignment: each row of a table aligned with its nearest rows, and new proteins likewise.

The cosine of two vectors is a weak sign of homology, an alignment a strong one, but too slow for all pairs. So each row is
aligned with the 50 rows nearest to it, by phmmer, by residue embeddings, or both (`rerank.Reranking`). The E-value of a pair
is the geometric mean of those in both directions, as far as both are known, and 1 / (1 + E) the weight of a neighbour: the
probability that it is homologous, if at most one other row with such an E-value is. Averaged are a protein's K strongest
neighbours, if it is also among theirs, or has an E-value of at most 0.01 with them.
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
from phylocli.config.smooth import Neighbourhood
from phylocli.core import console
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.executors import Work, run_all
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.exact import nearest
from phylocli.search.indices.files import index_path, table_identity
from phylocli.search.local_alignment import INCLUDED
from phylocli.search.rerank import Reranking
from phylocli.search.residue_plda import FILE as RESIDUE_PLDA

if TYPE_CHECKING:
    from phylocli.search.targets import PreparedTable

logger = logging.getLogger(__name__)

ALIGNED = 50
"""Number of nearest rows with which a protein is aligned."""

SAVED = 60.0
"""Seconds after which the alignments so far are saved, so that an interrupted command continues with them."""

FORMAT = 1
"""Version of the files of neighbours; those of another one are made again."""


@dataclass(frozen=True)
class Neighbourhoods:
    """Rows that are aligned with each of m proteins.

    Attributes:
        rows: their numbers in the table, (m, c); -1: none.
        log_evalues: natural logarithms of the E-values, (m, c), at most that of the number of rows n: E = n · p.
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
        config = SearchConfig(align=by != "residues", rerank=None if by == "phmmer" else "residues")
        aligner = None if by == "phmmer" else targets.residue_alignment
        if aligner is not None and (targets.background is None or not targets.background.sequences):
            raise UsageError(
                f"smoothing by {by} needs E-values of residue alignments, which {targets.table.name} does not have",
                why=targets.why_no_evalues or "its model is not one of proteins",
                fix="use --by phmmer (search: --smooth-by phmmer)",
            )
        self._plda = None if aligner is None else targets.embedder.model.folder
        self._reranking = Reranking(config, aligner, self._letters, len(targets.table))

    def rows(self, vectors: FloatArray) -> Neighbourhoods:
        """Return the rows that are nearest to each row, and their E-values, (n, c); from a file beside the table, as far as
        it has them for the same table and sequences. Others are written there, also while they are computed.

        Args:
            vectors: the unit vectors of the table, (n, D).
        """
        table, path, identity = self._table, self._path(), self._identity()
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
        return nearest(vectors, self._table, min(ALIGNED, len(self._table)), leave_out=leave_out).rows

    def _aligned(
        self, names: SequenceOf[str], vectors: FloatArray, letters: SequenceOf[str], rows: IntArray
    ) -> Iterator[FloatArray]:
        """Yield log E of each protein with its rows, (c,)."""
        table, parallel = self._table, self._parallel
        highest = np.log(len(table))

        def pieces() -> Iterator[tuple[str, tuple[str, FloatArray, list[str]]]]:
            for number, name in enumerate(names):
                others = [table.ids[row] for row in rows[number].tolist() if row >= 0]
                yield name, (letters[number], vectors[number], others)

        threads = self._threads or parallel.threads_each
        early = None if parallel.in_process else functools.partial(limit_threads, threads)
        work = Work(functools.partial(_evalues, self._reranking), early, level=console.QUIET, unit="proteins")
        with console.progress_task("aligning neighbours", len(names), "proteins") as bar:
            found = run_all(work, pieces(), jobs=parallel.jobs, cluster=parallel.cluster)
            for number, evalues in enumerate(found):
                values = np.full(rows.shape[1], highest, dtype=np.float32)
                with np.errstate(divide="ignore"):
                    logs = np.log(np.where(np.isnan(evalues), np.inf, evalues))
                values[rows[number] >= 0] = np.clip(logs, -700, highest)
                bar.advance()
                yield values

    def _path(self) -> Path | None:
        """Return the path of the file of neighbours; None if the table is not in a file of the user."""
        name = Path(self._table.name)
        lasting = self._table.files and all(name in (file, file.parent) for file in self._table.files)
        return index_path(self._table, f"{self.by}.neighbours") if lasting else None

    def _identity(self) -> str:
        letters = hashlib.sha256("\n".join(self._letters[name] for name in self._table.ids).encode()).hexdigest()
        fitted = "" if self._plda is None else _digest(self._plda / RESIDUE_PLDA)
        known = {"table": table_identity(self._table), "format": FORMAT, "by": self.by, "aligned": ALIGNED}
        return json.dumps({**known, "sequences": letters, "fitted": fitted}, sort_keys=True)


def _evalues(reranking: Reranking, asked: tuple[str, FloatArray, list[str]]) -> np.ndarray:
    letters, vector, targets = asked
    return reranking.evalues(letters, vector, targets) if targets else np.zeros(0)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _write(path: Path, found: Neighbourhoods, identity: str) -> None:
    arrays = {"rows": found.rows.astype(np.int32), "log_evalues": found.log_evalues}
    try:
        write_arrays(path, arrays, {"neighbours": identity})
    except (OSError, PhylocliError) as error:
        logger.warning(f"{path} cannot be written, so rows are aligned again the next time ({error})")


def _read(path: Path, identity: str) -> Neighbourhoods | None:
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
        logger.info(f"{path} belongs to another table, other sequences or another version, and will be made again")
        return None
    logger.info(f"neighbours by alignment: {path}")
    return Neighbourhoods(arrays["rows"].astype(np.int64), arrays["log_evalues"])
