"""Queries and a table → a table of hits."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli import console
from phylocli.errors import UsageError
from phylocli.formats.columns import ColumnOptions
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import TableFormat, TableWriter, hits_schema
from phylocli.search.again import ResidueScores, align, letters_of
from phylocli.search.approximate import open_graph
from phylocli.search.database import open_table, unit
from phylocli.search.decoys import make_decoys
from phylocli.search.exact import Neighbours, nearest
from phylocli.search.queries import Queries, read_queries
from phylocli.search.significance import Significance, calibrate
from phylocli.search.standing import DECOYS, Standing, calibrate_alignments, sampled_ids
from phylocli.threads import limit_threads

if TYPE_CHECKING:
    from phylocli.embed import Embedder

Floats = npt.NDArray[np.float64]

WRITTEN = 1024
"""Queries whose hits are written at once."""


@dataclass(frozen=True)
class _SecondLook:
    """What is asked of the hits again, and how many of them are kept then.

    Attributes:
        aligned: by phmmer.
        standing: by residue embeddings, with E-values.
        letters: of the rows that were hit, by id.
        rows: of the table.
        k: hits that are kept.
        max_evalue: hits with a larger E-value of residues, or of both looks, are not.
    """

    aligned: bool
    standing: Standing | None
    letters: dict[str, str]
    rows: int
    k: int
    max_evalue: float | None

    def __bool__(self) -> bool:
        return self.aligned or self.standing is not None

    def __call__(self, query: str, targets: list[str], z: Floats) -> tuple[npt.NDArray[np.int64], dict[str, Floats]]:
        """Return the order of one query's hits, best first, and the scores that make it, in that order.

        By one look: what phmmer aligns comes first, by bits, the rest as it was; or by the E-values of residues. By both: by
        the smaller of the two E-values, doubled, for there were two chances.

        Args:
            query: sequence.
            targets: ids of its hits.
            z: of their cosines.
        """
        found: dict[str, Floats] = {}
        keys: list[Floats] = [np.arange(len(targets), dtype=np.float64)]  # the last key of np.lexsort decides first
        letters = [self.letters[t] for t in targets]
        kept = np.ones(len(targets), dtype=np.bool_)
        if self.standing is not None:
            found["residues"], found["residues_evalue"] = self.standing(query, letters, z)
            keys.append(found["residues_evalue"])
        if self.aligned:
            found["align_evalue"], found["align_bits"] = align(query, letters, self.rows)
            keys.append(-np.nan_to_num(found["align_bits"], nan=-np.inf))
        if self.standing is not None and self.aligned:
            found["both_evalue"] = 2 * np.fmin(found["residues_evalue"], found["align_evalue"])
            keys.append(found["both_evalue"])
        if self.standing is not None and self.max_evalue is not None:
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
        max_evalue: leave out hits with a larger E-value, that of the residues where `rerank` asks for it, that of both looks
            where both are asked for.
        leave_out_self: a row with the query's own id is no hit.
        rerank: `residues`: align the hits by their residues' embeddings (`align_residues`) and order them by the E-values
            of that; None leaves them.
        aligned: align the hits with phmmer and order them by its bit score; with `rerank`, by the better of both E-values.
        candidates: nearest rows that are looked at again, of which the best k are hits; None is k.
        sequences: of the table's rows, for `rerank` and `aligned`.
        features: columns of the tables that hold features, or patterns with `*`.
        id_column: columns of ids, where the tables call them something unusual.
        approximate: through a graph beside the table, which is built at first use (needs usearch).
        device: to embed on.
        threads: CPU threads; 0 takes all.
        format: of the output; None takes it from the suffix.

    Raises:
        UsageError: options that do not fit together, a model that is not the table's.
        BadInputError: tables of different models, residues instead of sequences, ids without a sequence.
        MissingDependencyError: `approximate` without usearch.
    """

    limit_threads(threads)
    if k < 1:
        raise UsageError("at least one hit must be asked for", fix="say -k 20")
    if rerank not in (None, "residues"):
        raise UsageError(f"there is no reranking by {rerank!r}", fix="say --rerank residues, or --align")
    if (rerank or aligned) and sequences is None:
        raise UsageError("a second look at the hits needs their sequences", fix="say --sequences FASTA")
    if candidates is not None and not (rerank or aligned):
        raise UsageError("candidates are for a second look", fix="say --rerank residues or --align too, or only -k")
    options = ColumnOptions.of(id_column, features)
    searched = open_table(table, options)
    asked, embedder = read_queries(queries, searched, model=model, device=device, options=options)
    if (rerank or aligned) and (asked.letters is None or embedder is None):
        raise UsageError("a second look at the hits needs the queries' sequences", fix="give the queries as FASTA")
    console.info(f"{len(asked.ids):,} queries against {len(searched):,} rows")
    own = _own_rows(asked, searched) if leave_out_self else None
    width = max(k, candidates or k)
    found = (
        open_graph(searched, threads=threads or 1).nearest(asked.vectors, width, leave_out=own, threads=threads)
        if approximate
        else nearest(asked.vectors, searched, width, leave_out=own)
    )
    decoys = _decoys(asked, embedder)
    significance = calibrate(searched, decoys)
    evalues = significance.evalues(asked.vectors, found.cosines)
    if max_evalue is not None and not rerank:
        found.rows[evalues > max_evalue] = -1
    letters: dict[str, str] = {}
    standing: Standing | None = None
    if sequences is not None and (rerank or aligned):
        spread = sampled_ids(searched)
        wanted = {searched.ids[row] for row in np.unique(found.rows) if row >= 0}
        letters = letters_of(wanted.union(spread) if rerank else wanted, sequences)
        if rerank and embedder is not None and asked.letters:
            some = make_decoys(asked.letters, DECOYS)
            sample = [letters[name] for name in spread]
            vectors = unit(embedder.pooled(some))
            standing = calibrate_alignments(ResidueScores(embedder), significance, searched, sample, some, vectors)
    again = _SecondLook(aligned, standing, letters, len(searched), k, max_evalue)
    written = _write(asked, searched, found, evalues, significance, again, output, format)
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


def _decoys(queries: Queries, embedder: Embedder | None) -> npt.NDArray[np.float32] | None:
    if queries.letters is None or embedder is None:
        console.info(
            "no sequences to make decoys of: E-values come from the table's own rows, and are too large, not too small"
        )
        return None
    return unit(embedder.pooled(make_decoys(queries.letters)))


def _write(
    queries: Queries,
    table: EmbeddingTable,
    found: Neighbours,
    evalues: Floats,
    significance: Significance,
    again: _SecondLook,
    output: PathLike | None,
    format: TableFormat | None,
) -> int:
    import polars as pl

    schema = hits_schema(residues=again.standing is not None, aligned=again.aligned)
    with (
        TableWriter(output, schema, format) as writer,
        console.progress_task("second look" if again else "writing", len(queries.ids), unit="queries") as bar,
    ):
        for start in range(0, len(queries.ids), WRITTEN):
            columns: dict[str, list[Any]] = {name: [] for name in schema.names}
            part = slice(start, start + WRITTEN)
            z = significance.standardised(queries.vectors[part], found.cosines[part]) if again.standing else evalues[part]
            for query in range(start, min(start + WRITTEN, len(queries.ids))):
                kept = np.flatnonzero(found.rows[query] >= 0)
                more: dict[str, Floats] = {}
                if again and len(kept):
                    assert queries.letters is not None
                    targets = [table.ids[row] for row in found.rows[query, kept]]
                    order, more = again(queries.letters[query], targets, z[query - start, kept])
                    kept = kept[order]
                columns["query"] += [queries.ids[query]] * len(kept)
                columns["target"] += [table.ids[row] for row in found.rows[query, kept]]
                columns["rank"] += range(1, len(kept) + 1)
                columns["cosine"] += found.cosines[query, kept].astype(np.float64).round(6).tolist()
                columns["evalue"] += [_short(value) for value in evalues[query, kept]]
                for name in schema.names[5:]:
                    values = more.get(name, np.zeros(0))
                    columns[name] += [None if np.isnan(value) else _short(value) for value in values]
                bar.advance()
            types = {"rank": pl.Int32, "query": pl.String, "target": pl.String}
            writer.write(pl.DataFrame(columns, schema={n: types.get(n, pl.Float64) for n in schema.names}))
    return writer.rows


def _short(value: float) -> float:
    """Return a number with four digits: more would say more than is known."""
    return float(f"{value:.4g}")
