"""Queries and a table → a table of hits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli import console
from phylocli.errors import UsageError
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import TableFormat, TableWriter, hits_schema
from phylocli.search.again import ResidueScores, align, letters_of
from phylocli.search.approximate import open_graph
from phylocli.search.database import Table, open_table, unit
from phylocli.search.decoys import make_decoys
from phylocli.search.exact import Neighbours, nearest
from phylocli.search.queries import Queries, read_queries
from phylocli.search.significance import calibrate

if TYPE_CHECKING:
    from phylocli.embed import Embedder

Floats = npt.NDArray[np.float64]

WRITTEN = 1024
"""Queries whose hits are written at once."""


@dataclass(frozen=True)
class _SecondLook:
    """What is asked of the hits again."""

    aligned: bool
    residues: ResidueScores | None
    letters: dict[str, str]
    rows: int

    def __bool__(self) -> bool:
        return self.aligned or self.residues is not None

    def __call__(self, query: str, targets: list[str]) -> tuple[npt.NDArray[np.int64], dict[str, Floats]]:
        """Return the order of one query's hits, best first, and the scores that make it, in that order.

        What phmmer aligns comes first, by bits; the rest by residues where these are asked for, else as it was.
        """
        found: dict[str, Floats] = {}
        keys: list[Floats] = [np.arange(len(targets), dtype=np.float64)]  # the last key of np.lexsort decides first
        letters = [self.letters[t] for t in targets]
        if self.residues is not None:
            found["residues"] = self.residues(query, letters)
            keys.append(-found["residues"])
        if self.aligned:
            found["align_evalue"], found["align_bits"] = align(query, letters, self.rows)
            keys.append(-np.nan_to_num(found["align_bits"], nan=-np.inf))
        order = np.lexsort(keys)
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
    sequences: PathLike | None = None,
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
        max_evalue: leave out hits with a larger E-value.
        leave_out_self: a row with the query's own id is no hit.
        rerank: `residues`: order the hits by late interaction (`late_interaction`); None leaves them.
        aligned: align the hits with phmmer and order them by its bit score.
        sequences: of the table's rows, for `rerank` and `aligned`.
        approximate: through a graph beside the table, which is built at first use (needs usearch).
        device: to embed on.
        threads: CPU threads; 0 takes all.
        format: of the output; None takes it from the suffix.

    Raises:
        UsageError: options that do not fit together, a model that is not the table's.
        BadInputError: tables of different models, residues instead of sequences, ids without a sequence.
        MissingDependencyError: `approximate` without usearch.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if k < 1:
        raise UsageError("at least one hit must be asked for", fix="say -k 20")
    if rerank not in (None, "residues"):
        raise UsageError(f"there is no reranking by {rerank!r}", fix="say --rerank residues, or --align")
    if (rerank or aligned) and sequences is None:
        raise UsageError("a second look at the hits needs their sequences", fix="say --sequences FASTA")
    searched = open_table(table)
    asked, embedder = read_queries(queries, searched, model=model, device=device)
    if (rerank or aligned) and (asked.letters is None or embedder is None):
        raise UsageError("a second look at the hits needs the queries' sequences", fix="give the queries as FASTA")
    console.info(f"{len(asked.ids):,} queries against {len(searched):,} rows")
    own = _own_rows(asked, searched) if leave_out_self else None
    found = (
        open_graph(searched, threads=threads or 1).nearest(asked.vectors, k, leave_out=own, threads=threads)
        if approximate
        else nearest(asked.vectors, searched, k, leave_out=own)
    )
    evalues = calibrate(searched, _decoys(asked, embedder)).evalues(asked.vectors, found.cosines)
    if max_evalue is not None:
        found.rows[evalues > max_evalue] = -1
    letters: dict[str, str] = {}
    if sequences is not None and (rerank or aligned):
        letters = letters_of({searched.ids[row] for row in np.unique(found.rows) if row >= 0}, sequences)
    scores = ResidueScores(embedder) if rerank and embedder is not None else None
    again = _SecondLook(aligned, scores, letters, len(searched))
    written = _write(asked, searched, found, evalues, again, output, format)
    parameters: dict[str, Any] = {
        "table": str(table),
        "model": searched.metadata.get("phylocli.model"),
        "k": k,
        "max_evalue": max_evalue,
        "leave_out_self": leave_out_self,
        "rerank": rerank,
        "align": aligned,
        "approximate": approximate,
    }
    write_sidecar(output, "search", parameters)
    if output is not None and str(output) != STDIO:
        console.info(f"{written:,} hits: {output}")
    return written


def _own_rows(queries: Queries, table: Table) -> npt.NDArray[np.int64]:
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
    table: Table,
    found: Neighbours,
    evalues: Floats,
    again: _SecondLook,
    output: PathLike | None,
    format: TableFormat | None,
) -> int:
    import polars as pl

    schema = hits_schema(residues=again.residues is not None, aligned=again.aligned)
    with (
        TableWriter(output, schema, format) as writer,
        console.progress_task("second look" if again else "writing", len(queries.ids), unit="queries") as bar,
    ):
        for start in range(0, len(queries.ids), WRITTEN):
            columns: dict[str, list[Any]] = {name: [] for name in schema.names}
            for query in range(start, min(start + WRITTEN, len(queries.ids))):
                kept = np.flatnonzero(found.rows[query] >= 0)
                more: dict[str, Floats] = {}
                if again and len(kept):
                    assert queries.letters is not None
                    order, more = again(queries.letters[query], [table.ids[row] for row in found.rows[query, kept]])
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
