"""Smoothing of embeddings: each vector is averaged with its reciprocal nearest neighbours, without labels or training.

A protein's vector is a noisy copy of what its family shares; the mean of near relatives has less of the noise, as a profile
has less than a sequence. For rows x of a table and k neighbours, one round is

    x'ᵢ = unit(xᵢ + Σ_{j ∈ N(i), i ∈ N(j)} max(0, cos(xᵢ, xⱼ)) xⱼ),   N(i): the k nearest other rows of i.

Only reciprocal neighbours are averaged, so that a row without relatives, which is among the nearest of nobody, stays what it
is. Neighbours may also be those by the E-values E of alignments, with weights 1 / (1 + E) instead of the cosine, the same in
each round (`alignments`).

For rows of a table it is known as database-side feature augmentation (Arandjelović & Zisserman 2012,
doi:10.1109/CVPR.2012.6248018), for queries as average query expansion (Chum et al. 2007, doi:10.1109/ICCV.2007.4408891);
weights by the cosine: Radenović et al. 2019, doi:10.1109/TPAMI.2018.2846566; reciprocal neighbours: Zhong et al. 2017,
doi:10.1109/CVPR.2017.389.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.config.smooth import SmoothConfig
from phylocli.core.errors import UsageError
from phylocli.core.threads import limit_threads
from phylocli.formats import Sequences
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.embeddings.table import checked_vectors
from phylocli.formats.streams import STDIO, PathLike, at_rest
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.models.device import choose_device
from phylocli.search.database import FloatArray, IntArray, open_table, unit
from phylocli.search.exact import SCALE, Block, Neighbours, best_rows, nearest
from phylocli.search.neighbourhoods.alignments import NeighbourAligner, strongest, weight
from phylocli.search.queries import MODEL, SMOOTHING, table_queries
from phylocli.search.rerank import read_residues
from phylocli.search.targets import PreparedTable

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]

_ROWS = 16_384
"""Rows that are averaged at a time."""


def smooth_embeddings(
    embeddings: PathLike | EmbeddingTable | None,
    among: PathLike | EmbeddingTable | None = None,
    config: SmoothConfig | None = None,
    *,
    sequences: PathLike | Sequences | Mapping[str, str] | None = None,
    among_sequences: PathLike | Sequences | Mapping[str, str] | None = None,
    model: PathLike | None = None,
    **options: Any,
) -> EmbeddingTable:
    """Average each embedding with its reciprocal nearest neighbours, within a table or in another one.

    Smoothed vectors are compared with smoothed vectors only: smooth the table to be searched, and the queries among the same
    table. Time is O(n² D) per round. The vectors of the table (n, D) are in memory about five times, with `among` once
    more for each further round. Neighbours by alignment (`by`) of a table in a file are kept in a file beside it.

    Args:
        embeddings: an `EmbeddingTable`, or anything that `read_embeddings` reads.
        among: the table with the neighbours, of the same model; None: `embeddings` itself. A vector is smoothed as a further
            row of that table would be, without a change of the others; one that equals a row (cosine 1), as that row.
        config: options; may also be given as keywords.
        sequences: the sequences of `embeddings`, or a mapping from id to sequence, for neighbours by alignment.
        among_sequences: those of `among`.
        model: name or folder of the model, for residue embeddings; None: found by the fingerprint in the table.
        **options: fields of `SmoothConfig`.

    Returns:
        A table with the same rows, of unit vectors (n, D). Its metadata has a fingerprint of its own, by which it is
        compared with tables of the same smoothing only.

    Raises:
        UsageError: a table has been smoothed before, both are standard input, or alignments are asked for without
            sequences.
        BadInputError: an input is not a table of embeddings, values are not finite, the tables are of different models, or
            a sequence is missing.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> smoothed = phylocli.smooth_embeddings(table, neighbours=5)
        >>> len(smoothed) == len(table), smoothed.dimension
        (True, 1024)
        >>> query = phylocli.load_model("default").embed(["MVLSPADKTNVKAAW"])
        >>> queries = phylocli.smooth_embeddings(query, table, neighbours=5)
        >>> phylocli.search(queries, smoothed, number=1)["target"][0][:3]
        'HBA'
        >>> by_alignment = phylocli.smooth_embeddings(table, by="phmmer", sequences="examples/globins.fasta")
        >>> len(by_alignment)
        45
    """
    config = SmoothConfig.of(config, options)
    limit_threads(config.threads)
    embeddings = STDIO if embeddings is None else embeddings
    if [str(source) for source in (embeddings, among, sequences, among_sequences)].count(STDIO) > 1:
        raise UsageError("standard input cannot be two inputs", fix="name files for all but one of them")
    if among is None and among_sequences is not None:
        raise UsageError("there is no other table for among_sequences", fix="add --among TABLE, or give --sequences")
    with contextlib.ExitStack() as stack:
        table = _opened(stack, embeddings, config.column_options)
        source = table if among is None else _opened(stack, among, config.column_options)
        asked = None if among is None else table_queries(table, source)
        refuse_smoothed(source)
        letters, aligner = None, None
        if config.aligns:
            of_source = sequences if asked is None else among_sequences
            aligner = _aligner(source, of_source, config, model, "sequences" if asked is None else "among_sequences")
            if asked is not None and sequences is not None:
                known = read_residues(table.ids, sequences)
                letters = [known[name] for name in table.ids]
            elif asked is not None and (matching_rows(asked.vectors, source) < 0).any():
                raise UsageError(
                    f"neighbours by alignment need the sequences of {table.name}, as some are not in {source.name}",
                    fix="add --sequences FASTA",
                )
        elif sequences is not None or among_sequences is not None:
            raise UsageError("sequences are for neighbours by alignment", fix="add --by both, or leave the sequences out")
        else:
            config = config.undivided(
                UsageError("--jobs and --cluster divide alignments only", fix="add --by both, or give --threads instead")
            )
        smoothing = Smoothing(source, config.kept, config.rounds, keep=asked is not None, aligner=aligner)
        found = smoothing.vectors if asked is None else smoothing(asked.vectors, letters=letters, names=table.ids)
        metadata = {**table.metadata, **smoothing.metadata}
        return replace(table, vectors=found, files=[], unit=True, metadata=metadata, lengths=_lengths(table))


def _aligner(
    table: EmbeddingTable,
    sequences: PathLike | Sequences | Mapping[str, str] | None,
    config: SmoothConfig,
    model: PathLike | None,
    argument: str,
) -> NeighbourAligner:
    if sequences is None:
        raise UsageError(
            f"neighbours by alignment need the sequences of {table.name}",
            fix=f"add --{argument.replace('_', '-')} FASTA",
        )
    if not config.in_process and config.by != "phmmer" and choose_device(config.device).type != "cpu":
        raise UsageError("--jobs and --cluster align on processors only", fix="give --device cpu, or leave them out")
    prepared = PreparedTable(table, model=model, device=config.device)
    return NeighbourAligner(prepared, config.by, read_residues(table.ids, sequences), config, config.threads)


def refuse_smoothed(table: EmbeddingTable) -> None:
    """Raise a UsageError if a table has been smoothed."""
    if SMOOTHING in table.metadata:
        raise UsageError(
            f"{table.name} has been smoothed before",
            fix="give the table as 'embed' wrote it: for more, raise the rounds; to search it, leave out --smooth",
        )


def matching_rows(vectors: FloatArray, table: EmbeddingTable) -> IntArray:
    """Return the row of a table that equals each unit vector, (m, D), to a cosine of 1, or -1; (m,)."""
    found = nearest(vectors, table, 1)
    return np.where(found.cosines[:, 0] > 1 - 1.5 / SCALE, found.rows[:, 0], -1)


def _opened(stack: contextlib.ExitStack, source: PathLike | EmbeddingTable, options: ColumnOptions) -> EmbeddingTable:
    if isinstance(source, EmbeddingTable):
        return open_table(source, options)
    return open_table(stack.enter_context(at_rest(source)), options)  # a pipe, too, with its metadata


def _lengths(table: EmbeddingTable) -> list[int] | None:
    import polars as pl

    if table.lengths is not None or not all("length" in pl.read_parquet_schema(path) for path in table.files):
        return table.lengths
    found = [length for path in table.files for length in pl.read_parquet(path, columns=["length"])["length"].to_list()]
    return None if not found or None in found else found


class Smoothing:
    """A table whose rows have been smoothed, and among which other vectors can be smoothed.

    Args:
        table: embeddings of n proteins with D features.
        neighbours: number k of nearest neighbours; all others, if there are fewer.
        rounds: number of rounds.
        keep: keep the vectors of each round, which are needed to smooth others.
        aligner: aligns neighbours; None: neighbours are those by cosine.

    Attributes:
        vectors: the smoothed unit vectors of the table, (n, D).
        metadata: of smoothed tables: settings, and a fingerprint. It depends on the model and the ids of the table, not on
            the order of the rows or the last digits.

    Raises:
        UsageError: the table has been smoothed before.
        BadInputError: a value is not finite.
    """

    def __init__(
        self,
        table: EmbeddingTable,
        neighbours: int,
        rounds: int = 2,
        *,
        keep: bool = True,
        aligner: NeighbourAligner | None = None,
    ) -> None:
        refuse_smoothed(table)
        vectors = checked_vectors(table.numpy(), table.name, lambda row: table.ids[row])
        self.vectors = vectors if table.unit else unit(vectors)
        self._table, self._neighbours, self._aligner = table, min(neighbours, len(table)), aligner
        self._before: list[tuple[FloatArray, FloatArray]] = []
        """Of each round: vectors, and for each row the minimum cosine, or maximum log E, of its neighbours."""
        if aligner is None:
            self._average_by_cosine(rounds, keep)
        else:
            self._average_by_alignment(aligner, rounds, keep)
        ids = hashlib.sha256("\n".join(sorted(table.ids)).encode()).hexdigest()
        settings: dict[str, object] = {"neighbours": neighbours, "rounds": rounds}
        settings |= {"model": table.metadata.get(MODEL, ""), "among": ids}
        if aligner is not None:
            settings["by"] = aligner.by
        text = json.dumps(settings)
        self.metadata = {SMOOTHING: text, MODEL: hashlib.sha256(text.encode()).hexdigest()}

    def _average_by_cosine(self, rounds: int, keep: bool) -> None:
        n, k = len(self._table), self._neighbours
        count, rows = min(k, n - 1), np.arange(n)
        for number in range(rounds):
            logger.info(f"smoothing {n:,} embeddings, round {number + 1} of {rounds}")
            found = nearest(self.vectors, _table(self.vectors), max(count, 1), leave_out=rows)
            reciprocal = _reciprocal(found.rows)
            logger.info(f"reciprocal neighbours: {reciprocal.sum(1).mean():.1f} on average")
            if keep:  # with fewer rows than neighbours, each is among the nearest of each
                least = found.cosines[:, -1] if count == k else np.full(n, -np.inf, dtype=np.float32)
                self._before.append((self.vectors, least))
            self.vectors = _averaged(self.vectors, self.vectors, found.rows, _weights(found, reciprocal))

    def _average_by_alignment(self, aligner: NeighbourAligner, rounds: int, keep: bool) -> None:
        found = strongest(aligner.rows(self.vectors), self._neighbours)
        logger.info(f"neighbours by alignment: {(found.weights > 0.5).sum(1).mean():.1f} with E < 1 on average")
        for _ in range(rounds):
            if keep:
                self._before.append((self.vectors, found.limits))
            self.vectors = _averaged(self.vectors, self.vectors, found.rows, found.weights)

    def __call__(
        self,
        vectors: FloatArray,
        letters: SequenceOf[str] | None = None,
        names: SequenceOf[str] | None = None,
    ) -> FloatArray:
        """Return unit vectors (m, D), smoothed as further rows of the table would be.

        Args:
            vectors: unit vectors (m, D). One that equals a row of the table becomes what the row became.
            letters: the unaligned sequences, for neighbours by alignment; None: all vectors are those of rows.
            names: their ids, for messages.
        """
        row = matching_rows(vectors, _table(self._before[0][0]))
        new = np.flatnonzero(row < 0)
        found = vectors.copy() if self._aligner is not None else self._by_cosine(vectors)
        if self._aligner is not None and len(new):
            assert letters is not None, "all vectors are those of rows"
            chosen = [letters[number] for number in new.tolist()]
            called = [str(number + 1) if names is None else names[number] for number in new.tolist()]
            found[new] = self._by_alignment(self._aligner, vectors[new], chosen, called)
        return np.where((row >= 0)[:, None], self.vectors[row], found)

    def _by_cosine(self, vectors: FloatArray) -> FloatArray:
        for before, least in self._before:
            found = nearest(vectors, _table(before), self._neighbours)
            used = (found.rows >= 0) & (found.cosines >= least[found.rows])
            vectors = _averaged(vectors, before, found.rows, _weights(found, used))
        return vectors

    def _by_alignment(
        self, aligner: NeighbourAligner, vectors: FloatArray, letters: SequenceOf[str], names: SequenceOf[str]
    ) -> FloatArray:
        found, limits = aligner(names, vectors, letters), self._before[0][1]
        order: IntArray = np.argsort(found.log_evalues, axis=1, kind="stable")[:, : self._neighbours]
        rows = np.take_along_axis(found.rows, order, axis=1)
        values = np.take_along_axis(found.log_evalues, order, axis=1)
        weights = np.where((rows >= 0) & (values <= limits[rows]), weight(values), 0).astype(np.float32)
        for before, _ in self._before:
            vectors = _averaged(vectors, before, rows, weights)
        return vectors

    def nearest(
        self, queries: FloatArray, smoothed: FloatArray, k: int, *, leave_out: IntArray | None, least: FloatArray | None
    ) -> Neighbours:
        """Return the k nearest rows by the cosine of the smoothed vectors; the cosines are these.

        Args:
            queries: unit vectors (m, D).
            smoothed: the same, smoothed.
            k: number of neighbours.
            leave_out: for each query, the row to exclude, or -1; (m,).
            least: for each query, the minimum cosine before smoothing, (m,); None: no minimum. Rows below it are returned
                after all others, if at all.
        """
        if least is None:
            return nearest(smoothed, _table(self.vectors), k, leave_out=leave_out)
        plain, averaged = _table(self._before[0][0]), _table(self.vectors)
        of_queries = [torch.from_numpy(values) for values in (queries, smoothed, least[:, None] - np.float32(1 / SCALE))]

        def blocks(of: slice) -> Iterator[Block]:
            asked = [values[of] for values in of_queries]
            for (start, before), (_, after) in zip(plain.blocks(), averaged.blocks(), strict=True):
                scores = functools.partial(_scores, asked, torch.from_numpy(before), torch.from_numpy(after))
                yield start, len(before), scores

        return best_rows(len(queries), len(plain), k, blocks, leave_out)


def _scores(asked: list[Tensor], before: Tensor, after: Tensor, part: slice) -> Tensor:
    """Return the cosines after smoothing, (q, rows); -1 where that before is too small."""
    queries, smoothed, least = (values[part] for values in asked)
    return (smoothed @ after.T).masked_fill_(queries @ before.T < least, -1.0)


def _table(vectors: FloatArray) -> EmbeddingTable:
    return EmbeddingTable("vectors", [""] * len(vectors), vectors.shape[1], vectors=vectors, unit=True)


def _reciprocal(rows: IntArray) -> Mask:
    """Return whether row i is among the neighbours of its neighbour j; (n, k) as `rows`, where -1 is no neighbour."""
    n = len(rows)
    own = np.arange(n)[:, None]
    pairs = (own * n + rows)[rows >= 0]
    return np.isin(rows * n + own, pairs) & (rows >= 0)


def _weights(found: Neighbours, used: Mask) -> FloatArray:
    """Return the weights of neighbours, (m, k): their cosines, or 0 for those that are not used."""
    return np.where(used, np.maximum(found.cosines, 0), 0).astype(np.float32)


def _averaged(vectors: FloatArray, others: FloatArray, rows: IntArray, weights: FloatArray) -> FloatArray:
    """Return the weighted means of vectors (m, D), with weight 1, and rows of `others`, (m, k), as unit vectors."""
    averaged = np.empty_like(vectors)
    for start in range(0, len(vectors), _ROWS):
        part = slice(start, start + _ROWS)
        total = vectors[part].copy()
        for column in range(weights.shape[1]):
            total += weights[part, column, None] * others[rows[part, column]]
        averaged[part] = unit(total)
    return averaged
