"""Queries and a table → a table of hits."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import TableFormat, TableWriter, hits_schema
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.search.approximate import open_graph
from phylocli.search.background import FEWEST, Background, background_of, background_of_table
from phylocli.search.combined_evalues import CombinedEvalues
from phylocli.search.database import FloatArray, open_table
from phylocli.search.exact import Neighbours, nearest
from phylocli.search.queries import MODEL, Queries, embedder_of, read_queries
from phylocli.search.rerank import ResidueScores, align, read_residues

if TYPE_CHECKING:
    from phylocli.embed import Embedder

Floats = npt.NDArray[np.float64]

WRITTEN = 1024
"""Queries whose hits are written at once."""


@dataclass(frozen=True)
class _Reranking:
    """How hits are aligned, and how many of them are kept then.

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
        E-values, doubled, for there were two chances.

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


def search_file(
    queries: PathLike | None,
    table: PathLike,
    output: PathLike | None = None,
    *,
    k: int = 20,
    model: PathLike | None = None,
    max_evalue: float | None = None,
    leave_out_self: bool = False,
    rerank: str | None = None,
    aligned: bool = False,
    candidates: int | None = None,
    sequences: PathLike | None = None,
    features: str | SequenceOf[str] | None = None,
    id_column: str | SequenceOf[str] | None = None,
    approximate: bool = False,
    device: str = "auto",
    threads: int = 0,
    format: TableFormat | None = None,
) -> int:
    """Write the nearest rows of a table for every query; return the number of rows written.

    Args:
        queries: sequences (FASTA, Stockholm, FASTQ, GenBank), which the table's own model embeds, or a table of embeddings
            of that model; `-`/None is standard input.
        table: embeddings of what is searched: Parquet or a folder of parts (streamed), or any table that probe reads.
        output: table of `tables.hits_schema()`; `-`/None is standard output.
        k: hits of a query.
        model: name or folder of the table's model; None finds it by the fingerprint that the table carries.
        max_evalue: leave out hits with a larger E-value, that of the residues where `rerank` asks for it, that of both
            alignments where both are asked for.
        leave_out_self: a row with the query's own id is no hit.
        rerank: `residues`: align the hits by their residues' embeddings (`align_residues`) and order them by the E-values
            of that; None leaves them.
        aligned: align the hits with phmmer and order them by its bit score; with `rerank`, by the better of both E-values.
        candidates: nearest rows that are aligned, of which the best k are hits; None is k.
        sequences: of the table's rows, for `rerank` and `aligned`.
        features: columns of the tables that hold features, or patterns with `*`.
        id_column: columns of ids, where the tables call them something unusual.
        approximate: through a graph beside the table, which is built at first use (needs usearch).
        device: to embed on.
        threads: CPU threads; 0 takes all.
        format: of the output; None takes it from the suffix.

    Raises:
        UsageError: options that do not fit together, a model that is not the table's.
        BadInputError: tables of different models, residues instead of sequences, ids without a sequence, `max_evalue` where
            there are no E-values.
        MissingDependencyError: `approximate` without usearch.
    """

    limit_threads(threads)
    if k < 1:
        raise UsageError("k must be at least 1", fix="for example -k 20")
    if rerank not in (None, "residues"):
        raise UsageError(f"there is no reranking by {rerank!r}", fix="use --rerank residues, or --align")
    if (rerank or aligned) and sequences is None:
        raise UsageError("reranking needs the target sequences", fix="add --sequences FASTA")
    if candidates is not None and not (rerank or aligned):
        raise UsageError("--candidates needs --rerank residues or --align", fix="add one of them, or use -k alone")
    options = ColumnOptions.of(id_column, features)
    searched = open_table(table, options)
    asked, embedder = read_queries(queries, searched, model=model, device=device, options=options)
    if (rerank or aligned) and (asked.letters is None or embedder is None):
        raise UsageError("reranking needs the query sequences", fix="give the queries as FASTA")
    console.info(f"{len(asked.ids):,} queries against {len(searched):,} rows")
    own = _own_rows(asked, searched) if leave_out_self else None
    width = max(k, candidates or k)
    found = (
        open_graph(searched, threads=threads or 1).nearest(asked.vectors, width, leave_out=own, threads=threads)
        if approximate
        else nearest(asked.vectors, searched, width, leave_out=own)
    )
    background = _background(searched, embedder, model, device)
    if background is None and max_evalue is not None:
        raise BadInputError(
            "there are no E-values to compare with --max-evalue",
            why=f"{searched.name} has fewer than {FEWEST:,} rows, and its model has no background of unrelated proteins",
            fix="leave --max-evalue out, or name the model that made the table with --model",
        )
    evalues = _evalues(background, asked, found, len(searched))
    if max_evalue is not None and not rerank:
        found.rows[evalues > max_evalue] = -1
    residues: dict[str, str] = {}
    combined: CombinedEvalues | None = None
    if sequences is not None and (rerank or aligned):
        residues = read_residues({searched.ids[row] for row in np.unique(found.rows) if row >= 0}, sequences)
        if rerank and embedder is not None:
            known = background if background is not None and background.sequences else None
            combined = CombinedEvalues(ResidueScores(embedder), known, len(searched))
    reranking = _Reranking(aligned, combined, residues, len(searched), k, max_evalue)
    written = _write(asked, searched, found, evalues, reranking, output, format)
    parameters: dict[str, Any] = {
        "table": str(table),
        "model": searched.metadata.get("phylocli.model"),
        "k": k,
        "max_evalue": max_evalue,
        "leave_out_self": leave_out_self,
        "rerank": rerank,
        "align": aligned,
        "candidates": candidates,
        "approximate": approximate,
    }
    write_sidecar(output, "search", parameters)
    if output is not None and str(output) != STDIO:
        console.info(f"{written:,} hits: {output}")
    return written


def _own_rows(queries: Queries, table: EmbeddingTable) -> npt.NDArray[np.int64]:
    at = {name: row for row, name in enumerate(table.ids)}
    return np.array([at.get(name, -1) for name in queries.ids], dtype=np.int64)


def _background(table: EmbeddingTable, embedder: Embedder | None, model: PathLike | None, device: str) -> Background | None:
    """Return the background of the table's model; rows of the table stand in where there is none, None if they are few."""
    if embedder is None and MODEL in table.metadata:
        try:
            embedder = embedder_of(table, model, device)
        except PhylocliError as error:
            if model is not None:
                raise
            console.info(f"{error}: its background of unrelated proteins cannot be used")
    found = background_of(embedder) if embedder is not None else None
    if found is not None:
        return found
    found = background_of_table(table)
    console.warning(
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
    chances = background.log_chances(queries.vectors, found.cosines)
    return np.where(np.isfinite(found.cosines), rows * np.exp(chances), rows)


def _write(
    queries: Queries,
    table: EmbeddingTable,
    found: Neighbours,
    evalues: Floats,
    reranking: _Reranking,
    output: PathLike | None,
    format: TableFormat | None,
) -> int:
    import polars as pl

    schema = hits_schema(residues=reranking.combined is not None, aligned=reranking.aligned)
    with (
        TableWriter(output, schema, format) as writer,
        console.progress_task("reranking" if reranking else "writing", len(queries.ids), unit="queries") as bar,
    ):
        for start in range(0, len(queries.ids), WRITTEN):
            columns: dict[str, list[Any]] = {name: [] for name in schema.names}
            for query in range(start, min(start + WRITTEN, len(queries.ids))):
                kept = np.flatnonzero(found.rows[query] >= 0)
                more: dict[str, Floats] = {}
                if reranking and len(kept):
                    assert queries.letters is not None
                    targets = [table.ids[row] for row in found.rows[query, kept]]
                    cosines = found.cosines[query, kept]
                    order, more = reranking(queries.letters[query], queries.vectors[query], targets, cosines)
                    kept = kept[order]
                columns["query"] += [queries.ids[query]] * len(kept)
                columns["target"] += [table.ids[row] for row in found.rows[query, kept]]
                columns["rank"] += range(1, len(kept) + 1)
                columns["cosine"] += found.cosines[query, kept].astype(np.float64).round(6).tolist()
                columns["evalue"] += [_short(value) for value in evalues[query, kept]]
                for name in schema.names[5:]:
                    values = more.get(name, np.zeros(0))
                    columns[name] += [_short(value) for value in values]
                bar.advance()
            types = {"rank": pl.Int32, "query": pl.String, "target": pl.String}
            writer.write(pl.DataFrame(columns, schema={n: types.get(n, pl.Float64) for n in schema.names}))
    return writer.rows


def _short(value: float) -> float | None:
    """Return a number with four digits: more would say more than is known; None for NaN."""
    return None if np.isnan(value) else float(f"{value:.4g}")
