"""From queries and a table to hits: nearest rows, E-values, reranking."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.config.search import SearchConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import TableFormat, TableWriter, hits_schema
from phylocli.search.approximate import open_graph
from phylocli.search.background import FEWEST, Background, background_of, background_of_table
from phylocli.search.combined_evalues import CombinedEvalues
from phylocli.search.database import FloatArray, open_table
from phylocli.search.exact import Neighbours, nearest
from phylocli.search.queries import MODEL, Queries, embedder_of, read_queries
from phylocli.search.rerank import ResidueScores, align, read_residues

if TYPE_CHECKING:
    import polars as pl

    from phylocli.embed import Embedder
    from phylocli.embed.inputs import Sequences

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

WRITTEN = 1024
"""Queries whose hits are written at once."""


@dataclass(frozen=True)
class _Reranking:
    """How hits are aligned, and how many of them are kept.

    Attributes:
        aligned: by phmmer.
        combined: by residue embeddings, with E-values.
        residues: sequences of the rows that were hit, by id.
        rows: of the table.
        k: hits that are kept.
        max_evalue: hits with a larger E-value of residues, or of both alignments, are not.
    """

    aligned: bool
    combined: CombinedEvalues | None
    residues: dict[str, str]
    rows: int
    k: int
    max_evalue: float | None

    def __bool__(self) -> bool:
        return self.aligned or self.combined is not None

    def __call__(
        self, query: str, vector: FloatArray, targets: list[str], cosines: FloatArray
    ) -> tuple[npt.NDArray[np.int64], dict[str, Floats]]:
        """Return the order of one query's hits, best first, and the scores that make it, in that order.

        With phmmer alone, what it aligns comes first, by bits, the rest as it was. With residue embeddings alone, the order
        is that of their E-values (of their scores where there are none). With both, it is that of the smaller of the two
        E-values, doubled, for two tests.

        Args:
            query: sequence.
            vector: its unit vector (D,).
            targets: ids of its hits.
            cosines: of its hits (k,).
        """
        found: dict[str, Floats] = {}
        keys: list[Floats] = [np.arange(len(targets), dtype=np.float64)]  # the last key of np.lexsort decides first
        sequences = [self.residues[t] for t in targets]
        kept = np.ones(len(targets), dtype=np.bool_)
        if self.combined is not None:
            found["residues"], found["residues_evalue"] = self.combined(query, vector, sequences, cosines)
            keys += [-found["residues"], found["residues_evalue"]]
        if self.aligned:
            found["align_evalue"], found["align_bits"] = align(query, sequences, self.rows)
            keys.append(-np.nan_to_num(found["align_bits"], nan=-np.inf))
        if self.combined is not None and self.aligned:
            found["both_evalue"] = 2 * np.fmin(found["residues_evalue"], found["align_evalue"])
            keys.append(found["both_evalue"])
        if self.combined is not None and self.max_evalue is not None:
            kept = found["both_evalue" if self.aligned else "residues_evalue"] <= self.max_evalue
        order = np.lexsort(keys)
        order = order[kept[order]][: self.k]
        return order, {name: values[order] for name, values in found.items()}


def search(
    queries: PathLike | EmbeddingTable | Sequences,
    targets: PathLike | EmbeddingTable,
    config: SearchConfig | None = None,
    *,
    model: PathLike | None = None,
    sequences: PathLike | Sequences | None = None,
    **options: Any,
) -> pl.DataFrame:
    """Return the nearest rows of a table for every query.

    Args:
        queries: sequences (letters, `Sequence`s, pairs, or the path of a file of them), which the table's own model embeds,
            or a table of embeddings of that model.
        targets: embeddings to search in: an `EmbeddingTable`, Parquet or a folder of parts (streamed), or any table that
            `read_embeddings` reads.
        config: options; or give them as keywords.
        model: name or folder of the table's model; None finds it by the fingerprint that the table carries.
        sequences: of the targets, for `rerank` and `align`.
        **options: fields of `SearchConfig`.

    Returns:
        Columns of `tables.hits_schema()`: `query`, `target`, `rank`, `cosine`, `evalue`, and those of reranking.

    Raises:
        UsageError: options that do not fit together, a model that is not the table's.
        BadInputError: tables of different models, residues instead of sequences, ids without a sequence, `max_evalue` where
            there are no E-values.
        MissingDependencyError: `approximate` without usearch.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> hits = phylocli.search("examples/globins.fasta", table, number=3)
        >>> hits.columns
        ['query', 'target', 'rank', 'cosine', 'evalue']
        >>> hits["target"][0] == hits["query"][0]  # a protein finds itself first
        True
    """
    import polars as pl

    found = _Search(queries, targets, SearchConfig.of(config, options), model, sequences)
    return pl.concat([found.empty(), *found.frames()])


def search_file(
    queries: PathLike | None,
    table: PathLike,
    output: PathLike | None = None,
    config: SearchConfig | None = None,
    *,
    model: PathLike | None = None,
    sequences: PathLike | None = None,
    format: TableFormat | None = None,
    **options: Any,
) -> int:
    """Write the nearest rows of a table for every query; return the number of rows written.

    Arguments and errors are those of `search`.

    Args:
        queries: `-`/None is standard input.
        output: table of `tables.hits_schema()`; `-`/None is standard output.
        format: of the output; None takes it from the suffix.

    Examples:
        >>> phylocli.load_model("default").embed("examples/globins.fasta").write("globins.parquet")
        >>> phylocli.search_file("examples/globins.fasta", "globins.parquet", "hits.tsv", number=3, exclude_self=True)
        135
    """
    config = SearchConfig.of(config, options)
    found = _Search(STDIO if queries is None else queries, table, config, model, sequences)
    with TableWriter(output, found.schema, format) as writer:
        for frame in found.frames():
            writer.write(frame)
    parameters = {**config.to_parameters(), "table": str(table), "model": found.table.metadata.get("phylocli.model")}
    write_sidecar(output, "search", parameters)
    if output is not None and str(output) != STDIO:
        logger.info(f"{writer.rows:,} hits: {output}")
    return writer.rows


class _Search:
    """A search that is prepared: the nearest rows are found, with E-values; `frames` reranks them.

    Attributes:
        table: that is searched.
        schema: of the hits.
    """

    def __init__(
        self,
        queries: PathLike | EmbeddingTable | Sequences,
        targets: PathLike | EmbeddingTable,
        config: SearchConfig,
        model: PathLike | None,
        sequences: PathLike | Sequences | None,
    ) -> None:
        limit_threads(config.threads)
        if config.approximate and isinstance(targets, EmbeddingTable):
            raise UsageError("an approximate search needs a table in a file", fix="write the table, and give its path")
        if config.reranks and sequences is None:
            raise UsageError("Reranking needs the target sequences", fix="add --sequences FASTA")
        options = config.column_options
        self.table = open_table(targets, options)
        self.queries, embedder = read_queries(queries, self.table, model=model, device=config.device, options=options)
        if config.reranks and (self.queries.letters is None or embedder is None):
            raise UsageError("Reranking needs the query sequences", fix="give the queries as FASTA")
        rows = len(self.table)
        logger.info(f"{len(self.queries.ids):,} queries against {rows:,} rows")
        own = _own_rows(self.queries, self.table) if config.exclude_self else None
        width = max(config.number, config.candidates or config.number)
        self._found = (
            open_graph(self.table, threads=config.threads or 1).nearest(
                self.queries.vectors, width, leave_out=own, threads=config.threads
            )
            if config.approximate
            else nearest(self.queries.vectors, self.table, width, leave_out=own)
        )
        background = _background(self.table, embedder, model, config.device)
        if background is None and config.max_evalue is not None:
            raise BadInputError(
                "there are no E-values to compare with --max-evalue",
                why=f"{self.table.name} has fewer than {FEWEST:,} rows, and its model has no background proteins",
                fix="leave --max-evalue out, or name the model that made the table with --model",
            )
        self._evalues = _evalues(background, self.queries, self._found, rows)
        if config.max_evalue is not None and config.rerank is None:
            self._found.rows[self._evalues > config.max_evalue] = -1
        residues: dict[str, str] = {}
        combined: CombinedEvalues | None = None
        if sequences is not None and config.reranks:
            residues = read_residues({self.table.ids[row] for row in np.unique(self._found.rows) if row >= 0}, sequences)
            if config.rerank is not None and embedder is not None:
                known = background if background is not None and background.sequences else None
                combined = CombinedEvalues(ResidueScores(embedder), known, rows)
        self._reranking = _Reranking(config.align, combined, residues, rows, config.number, config.max_evalue)
        self.schema = hits_schema(residues=combined is not None, aligned=config.align)

    def empty(self) -> pl.DataFrame:
        """Return a frame of hits without rows."""
        return self._frame({name: [] for name in self.schema.names})

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the hits of `WRITTEN` queries at a time, in the order of the queries."""
        queries, found, reranking = self.queries, self._found, self._reranking
        noun = "reranking" if reranking else "writing"
        with console.progress_task(noun, len(queries.ids), unit="queries") as bar:
            for start in range(0, len(queries.ids), WRITTEN):
                columns: dict[str, list[Any]] = {name: [] for name in self.schema.names}
                for query in range(start, min(start + WRITTEN, len(queries.ids))):
                    kept = np.flatnonzero(found.rows[query] >= 0)
                    more: dict[str, Floats] = {}
                    if reranking and len(kept):
                        assert queries.letters is not None
                        targets = [self.table.ids[row] for row in found.rows[query, kept]]
                        cosines = found.cosines[query, kept]
                        order, more = reranking(queries.letters[query], queries.vectors[query], targets, cosines)
                        kept = kept[order]
                    columns["query"] += [queries.ids[query]] * len(kept)
                    columns["target"] += [self.table.ids[row] for row in found.rows[query, kept]]
                    columns["rank"] += range(1, len(kept) + 1)
                    columns["cosine"] += found.cosines[query, kept].astype(np.float64).round(6).tolist()
                    columns["evalue"] += [_short(value) for value in self._evalues[query, kept]]
                    for name in self.schema.names[5:]:
                        columns[name] += [_short(value) for value in more.get(name, np.zeros(0))]
                    bar.advance()
                yield self._frame(columns)

    def _frame(self, columns: dict[str, list[Any]]) -> pl.DataFrame:
        import polars as pl

        types = {"rank": pl.Int32, "query": pl.String, "target": pl.String}
        return pl.DataFrame(columns, schema={name: types.get(name, pl.Float64) for name in self.schema.names})


def _own_rows(queries: Queries, table: EmbeddingTable) -> npt.NDArray[np.int64]:
    at = {name: row for row, name in enumerate(table.ids)}
    return np.array([at.get(name, -1) for name in queries.ids], dtype=np.int64)


def _background(table: EmbeddingTable, embedder: Embedder | None, model: PathLike | None, device: str) -> Background | None:
    """Return the background of the table's model; rows of the table are used where there is none, None if they are few."""
    if embedder is None and MODEL in table.metadata:
        try:
            embedder = embedder_of(table, model, device)
        except PhylocliError as error:
            if model is not None:
                raise
            logger.info(f"{error}: its background of unrelated proteins cannot be used")
    found = background_of(embedder) if embedder is not None else None
    if found is not None:
        return found
    found = background_of_table(table)
    logger.warning(
        "no background of unrelated proteins for the model of this table: "
        + (
            f"no E-values, for it has fewer than {FEWEST:,} rows"
            if found is None
            else "E-values are estimated from its own rows, and too large where many of them are related"
        )
    )
    return found


def _evalues(background: Background | None, queries: Queries, found: Neighbours, rows: int) -> Floats:
    """Return the E-values of cosines (n, k): NaN where there is no background, all rows where there is no hit."""
    if background is None:
        return np.full(found.cosines.shape, np.nan)
    log_p = background.log_p_values(queries.vectors, found.cosines)
    return np.where(np.isfinite(found.cosines), rows * np.exp(log_p), rows)


def _short(value: float) -> float | None:
    """Return a number with four significant digits, or None for NaN."""
    return None if np.isnan(value) else float(f"{value:.4g}")
