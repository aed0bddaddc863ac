"""Smoothing of embeddings: each vector is averaged with its reciprocal nearest neighbours, without labels or training.

A protein's vector is a noisy copy of what its family shares; the mean of near relatives has less of the noise, as a profile
has less than a sequence. For rows x of a table and k neighbours, one round is

    x'ᵢ = unit(xᵢ + Σ_{j ∈ N(i), i ∈ N(j)} max(0, cos(xᵢ, xⱼ)) xⱼ),   N(i): the k nearest other rows of i.

Only reciprocal neighbours are averaged, so that a row without relatives, which is among the nearest of nobody, stays what it
is. For rows of a table it is known as database-side feature augmentation (Arandjelović & Zisserman 2012,
doi:10.1109/CVPR.2012.6248018), for queries as average query expansion (Chum et al. 2007, doi:10.1109/ICCV.2007.4408891);
weights by the cosine: Radenović et al. 2019, doi:10.1109/TPAMI.2018.2846566; reciprocal neighbours: Zhong et al. 2017,
doi:10.1109/CVPR.2017.389.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.config.smooth import SmoothConfig
from phylocli.core.errors import UsageError
from phylocli.core.threads import limit_threads
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.streams import PathLike
from phylocli.search.database import FloatArray, IntArray, open_table, unit
from phylocli.search.exact import SCALE, Neighbours, nearest
from phylocli.search.queries import MODEL, SMOOTHING, table_queries

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]

_ROWS = 16_384
"""Rows that are averaged at a time."""


def smooth_embeddings(
    embeddings: PathLike | EmbeddingTable | None,
    among: PathLike | EmbeddingTable | None = None,
    config: SmoothConfig | None = None,
    **options: Any,
) -> EmbeddingTable:
    """Average each embedding with its reciprocal nearest neighbours, within a table or in another one.

    Smoothed vectors are compared with smoothed vectors only: smooth the table to be searched, and the queries among the same
    table. Time is O(n² D) a round; the vectors of a table (n, D) are in memory twice.

    Args:
        embeddings: an `EmbeddingTable`, or anything that `read_embeddings` reads.
        among: the table with the neighbours, of the same model; None: `embeddings` itself. A vector is smoothed as a further
            row of that table would be, without a change of the others; one that equals a row, as that row.
        config: options; may also be given as keywords.
        **options: fields of `SmoothConfig`.

    Returns:
        A table with the same rows, of unit vectors (n, D). Its metadata has a fingerprint of its own, by which it is
        compared with tables of the same smoothing only.

    Raises:
        UsageError: a table has been smoothed before.
        BadInputError: an input is not a table of embeddings, or the tables are of different models.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> smoothed = phylocli.smooth_embeddings(table, neighbours=5)
        >>> len(smoothed) == len(table), smoothed.dimension
        (True, 1024)
        >>> query = phylocli.load_model("default").embed(["MVLSPADKTNVKAAW"])
        >>> queries = phylocli.smooth_embeddings(query, table, neighbours=5)
        >>> phylocli.search(queries, smoothed, number=1)["target"][0][:3]
        'HBA'
    """
    config = SmoothConfig.of(config, options)
    limit_threads(config.threads)
    table = open_table("-" if embeddings is None else embeddings, config.column_options)
    source = table if among is None else open_table(among, config.column_options)
    asked = None if among is None else table_queries(table, source)
    smoothing = Smoothing(source, config.neighbours, config.rounds)
    found = smoothing.vectors if asked is None else smoothing(asked.vectors)
    return replace(
        table, vectors=found, files=[], unit=True, metadata={**table.metadata, **smoothing.metadata(source.metadata)}
    )


class Smoothing:
    """A table whose rows have been smoothed, and among which other vectors can be smoothed.

    Args:
        table: embeddings of n proteins with D features.
        neighbours: number k of nearest neighbours.
        rounds: number of rounds.

    Attributes:
        vectors: the smoothed unit vectors of the table, (n, D).

    Raises:
        UsageError: the table has been smoothed before.
    """

    def __init__(self, table: EmbeddingTable, neighbours: int, rounds: int = 2) -> None:
        self.neighbours, self.rounds = neighbours, rounds
        if SMOOTHING in table.metadata:
            raise UsageError(
                f"{table.name} has been smoothed before",
                fix="give the table as 'embed' wrote it; for more, raise rounds",
            )
        self.vectors = unit(table.numpy())
        self._digest = hashlib.sha256("\n".join(table.ids).encode() + self.vectors.tobytes()).hexdigest()
        self._before: list[tuple[FloatArray, FloatArray]] = []  # of each round: vectors, and cosine with the k-th neighbour
        rows = np.arange(len(table))
        for number in range(rounds):
            logger.info(f"smoothing {len(table):,} embeddings, round {number + 1} of {rounds}")
            found = nearest(self.vectors, _table(self.vectors), neighbours, leave_out=rows)
            reciprocal = _reciprocal(found.rows)
            logger.info(f"reciprocal neighbours: {reciprocal.sum(1).mean():.1f} on average")
            self._before.append((self.vectors, found.cosines[:, -1]))
            self.vectors = _averaged(self.vectors, self.vectors, found, reciprocal)

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Return unit vectors (m, D), smoothed as further rows of the table would be; those of rows, as the rows were."""
        known, row = np.zeros(len(vectors), dtype=bool), np.zeros(len(vectors), dtype=np.int64)
        for number, (before, least) in enumerate(self._before):
            found = nearest(vectors, _table(before), self.neighbours)
            if number == 0:
                known, row = found.cosines[:, 0] > 1 - 1.5 / SCALE, found.rows[:, 0]
            vectors = _averaged(vectors, before, found, (found.rows >= 0) & (found.cosines >= least[found.rows]))
        vectors[known] = self.vectors[row[known]]
        return vectors

    def metadata(self, of: dict[str, str]) -> dict[str, str]:
        """Return the metadata of smoothed tables, given that of the table before: settings, and a fingerprint."""
        model = of.get(MODEL, "")
        settings = {"neighbours": self.neighbours, "rounds": self.rounds, "among": self._digest, "model": model}
        text = json.dumps(settings)
        return {SMOOTHING: text, MODEL: hashlib.sha256(text.encode()).hexdigest()}


def _table(vectors: FloatArray) -> EmbeddingTable:
    return EmbeddingTable("vectors", [""] * len(vectors), vectors.shape[1], vectors=vectors, unit=True)


def _reciprocal(rows: IntArray) -> Mask:
    """Return whether row i is among the neighbours of its neighbour j; (n, k) as `rows`, where -1 is no neighbour."""
    n = len(rows)
    own = np.arange(n)[:, None]
    pairs = (own * n + rows)[rows >= 0]
    return np.isin(rows * n + own, pairs) & (rows >= 0)


def _averaged(vectors: FloatArray, others: FloatArray, found: Neighbours, used: Mask) -> FloatArray:
    """Return the means of vectors (m, D) with those of their neighbours among `others` that are used, (m, k), by cosine."""
    weights = np.where(used, np.maximum(found.cosines, 0), 0).astype(np.float32)
    averaged = np.empty_like(vectors)
    for start in range(0, len(vectors), _ROWS):
        part = slice(start, start + _ROWS)
        total = vectors[part].copy()
        for column in range(weights.shape[1]):
            total += weights[part, column, None] * others[found.rows[part, column]]
        averaged[part] = unit(total)
    return averaged
