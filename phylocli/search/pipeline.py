"""The search pipeline: nearest neighbours, E-values, reranking."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from phylocli.config.parallel import LOCAL, ClusterConfig
from phylocli.config.search import SearchConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.embed import load_model
from phylocli.executors import Work, run_all
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike, at_rest, display_name, suffix_of
from phylocli.formats.tables import TABLES, TableFormat, TableWriter, format_of, hits_schema, parse_format
from phylocli.models.device import choose_device
from phylocli.search.background import Background
from phylocli.search.blast_tabular import SUFFIX, BlastTabularWriter
from phylocli.search.database import FloatArray
from phylocli.search.evalues import cosine_cutoffs
from phylocli.search.exact import Neighbours, cosines_of, nearest
from phylocli.search.indices.approximate import open_graph
from phylocli.search.indices.quantised import Codes, nearest_by_codes
from phylocli.search.local_alignment import LocalAlignment
from phylocli.search.neighbourhoods.alignments import NeighbourAligner
from phylocli.search.neighbourhoods.smoothing import Smoothing, matching_rows, refuse_smoothed
from phylocli.search.queries import MODEL, SMOOTHING, Queries, embed_queries, embedder_of, table_queries
from phylocli.search.rerank import Ranked, Reranking, read_residues
from phylocli.search.sharded import nearest_codes_in_pieces, nearest_in_pieces
from phylocli.search.targets import PreparedTable, code_of, embed_targets, opened

if TYPE_CHECKING:
    import polars as pl

    from phylocli.formats import Sequences

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

HitsFormat = TableFormat | Literal["m8"]


def parse_hits_format(text: str | None) -> HitsFormat | None:
    """Return an output format for hits by name; None for None.

    Raises:
        UsageError: the format is unknown.
    """
    if text is None or text == "m8":
        return text  # type: ignore[return-value]
    if text not in TABLES:
        raise unknown_name("unknown format of hits", text, [*TABLES, "m8"])
    return parse_format(text)


WRITTEN = 1024
"""Number of queries per written batch of hits."""


def search(
    queries: PathLike | EmbeddingTable | Sequences,
    targets: PathLike | EmbeddingTable | PreparedTable | Sequences,
    config: SearchConfig | None = None,
    *,
    model: PathLike | None = None,
    sequences: PathLike | Sequences | Mapping[str, str] | None = None,
    **options: Any,
) -> pl.DataFrame:
    """Search for the nearest targets of each query.

    Args:
        queries: sequences (letters, `Sequence`s, pairs, or the path of a sequence file), which are embedded with the
            model of the targets, or a table of embeddings of that model.
        targets: embeddings to search: an `EmbeddingTable`, a Parquet file or folder of parts (streamed), or any table that
            `read_embeddings` reads; or sequences, which are embedded first. For many searches, a `PreparedTable`.
        config: options; may also be given as keywords.
        model: name or folder of the model; None: found by the fingerprint in the table, or `default` if both queries and
            targets are sequences.
        sequences: the target sequences, or a mapping from id to sequence, for `rerank` and `align` if the targets are a
            table.
        **options: fields of `SearchConfig`.

    Returns:
        The columns of `tables.hits_schema()`: `query`, `target`, `rank`, `cosine`, `evalue`, with `smooth` the cosine of the
        smoothed vectors (`smoothed`), and the columns of alignments.

    Raises:
        UsageError: options are incompatible, or `model` is not the model of the table.
        BadInputError: the tables come from different models or contain residue embeddings, a sequence is missing, or
            `max_evalue` is given but there are no E-values.
        MissingDependencyError: `approximate` is given, but usearch is not installed.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> hits = phylocli.search("examples/globins.fasta", table, number=3)
        >>> hits.columns
        ['query', 'target', 'rank', 'cosine', 'evalue']
        >>> hits["target"][0] == hits["query"][0]  # a protein finds itself first
        True
        >>> best = phylocli.search("examples/globins.fasta", "examples/globins.fasta", best=True, exclude_self=True)
        >>> best.height
        45
    """
    import polars as pl

    with contextlib.closing(_Search(queries, targets, SearchConfig.of(config, options), model, sequences)) as found:
        return pl.concat([found.empty(), *found.frames()])


def search_file(
    queries: PathLike | EmbeddingTable | Sequences | None,
    targets: PathLike | EmbeddingTable | PreparedTable | Sequences | None,
    output: PathLike | None = None,
    config: SearchConfig | None = None,
    *,
    model: PathLike | None = None,
    sequences: PathLike | Sequences | Mapping[str, str] | None = None,
    format: HitsFormat | None = None,
    **options: Any,
) -> int:
    """Search for the nearest targets of each query and write them to a file; return the number of rows.

    Other arguments and errors: see `search`.

    Args:
        queries, targets: see `search`; one of them may be `-` or None for standard input.
        output: a table with `tables.hits_schema()`, or BLAST tabular output; `-` or None is standard output.
        format: the output format; None: by the suffix (`.m8` is BLAST tabular).

    Examples:
        >>> phylocli.load_model("default").embed("examples/globins.fasta").write("globins.parquet")
        >>> phylocli.search_file("examples/globins.fasta", "globins.parquet", "hits.tsv", number=3, exclude_self=True)
        135
    """
    config = SearchConfig.of(config, options)
    queries = STDIO if queries is None else queries
    targets = STDIO if targets is None else targets
    if str(queries) == STDIO == str(targets):
        raise UsageError("standard input cannot be both queries and targets", fix="name a file for one of them")
    if format is None and output is not None and suffix_of(output) == SUFFIX:
        format = "m8"
    if format != "m8":
        format = format or format_of(output, others=[SUFFIX])  # reject an unknown suffix before the search
    with contextlib.closing(_Search(queries, targets, config, model, sequences)) as found:
        table = BlastTabularWriter(output, found.evalue) if format == "m8" else TableWriter(output, found.schema, format)
        if format == "m8" and not config.reranks:
            logger.info("hits are not aligned: identities, positions and bits are NA; align them with --align")
        with table as writer:
            for frame in found.frames():
                writer.write(frame)
        searched = found.targets.table
    name = str(targets) if isinstance(targets, str | os.PathLike) else searched.name
    write_sidecar(output, "search", {**config.to_parameters(), "table": name, "model": searched.metadata.get(MODEL)})
    if output is not None and str(output) != STDIO:
        logger.info(f"{counted(writer.rows, 'hit')}: {output}")
    return writer.rows


class _Search:
    """A search: the constructor finds the nearest rows and their E-values, `frames` aligns them. Must be closed.

    Attributes:
        targets: the searched table with its model.
        schema: the schema of the hits.
        evalue: the column of the E-value by which the hits are ranked.
    """

    def __init__(
        self,
        queries: PathLike | EmbeddingTable | Sequences,
        targets: PathLike | EmbeddingTable | PreparedTable | Sequences,
        config: SearchConfig,
        model: PathLike | None,
        sequences: PathLike | Sequences | Mapping[str, str] | None,
    ) -> None:
        limit_threads(config.threads)
        self._config = config
        with contextlib.ExitStack() as stack:
            queries, targets = (self._at_rest(stack, source) for source in (queries, targets))
            if sequences is not None and not isinstance(sequences, Mapping):
                sequences = self._at_rest(stack, sequences)
            self._prepare(queries, targets, model, sequences, stack)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Remove the temporary files of the search."""
        self._stack.close()

    @staticmethod
    def _at_rest(stack: contextlib.ExitStack, source: Any) -> Any:
        """Return an input that can be read twice; a pipe is copied to a temporary file."""
        if isinstance(source, str | os.PathLike):
            return stack.enter_context(at_rest(source))
        return source if isinstance(source, EmbeddingTable | PreparedTable) else list(source)

    def _prepare(
        self,
        queries: PathLike | EmbeddingTable | Sequences,
        targets: PathLike | EmbeddingTable | PreparedTable | Sequences,
        model: PathLike | None,
        sequences: PathLike | Sequences | Mapping[str, str] | None,
        stack: contextlib.ExitStack,
    ) -> None:
        config, options = self._config, self._config.column_options
        config.check_smooth_by()
        asked = opened(queries, options)
        searched = targets.table if isinstance(targets, PreparedTable) else opened(targets, options)
        in_file = isinstance(targets, str | os.PathLike) and isinstance(searched, EmbeddingTable)
        if (config.approximate or config.quantise) and not in_file:
            raise UsageError("an index needs a table in a file beside it", fix="write the table, and give its path")
        if config.quantise and not (isinstance(searched, EmbeddingTable) and searched.files):
            raise UsageError(
                "codes are made of Parquet tables with a column of vectors only",
                fix="write the table as Parquet, or leave out --quantise",
            )
        if config.approximate:
            self._config = config = config.undivided(
                UsageError(
                    "--approximate does not support --jobs and --cluster",
                    why="a graph is searched by the threads of one process",
                    fix="give --threads, or use --quantise instead of --approximate",
                )
            )
        if config.smooth and not config.needs_sequences:
            self._config = config = config.undivided(
                UsageError("--smooth does not support --jobs and --cluster", fix="give --threads instead")
            )
        self._config = config = self._divided(targets, searched)
        if config.reranks and isinstance(asked, EmbeddingTable):
            raise UsageError("alignment needs the query sequences", fix="give the queries as FASTA")
        if config.needs_sequences and sequences is None:
            if isinstance(searched, EmbeddingTable):
                raise UsageError(
                    "alignment needs the target sequences", fix="add --sequences FASTA, or search the FASTA file"
                )
            sequences = searched
        asked_code, searched_code, code = (code_of(source, config.code) for source in (asked, searched, sequences))
        if config.translate and asked_code is searched_code is code is None:
            raise UsageError("there are no nucleotides to translate in queries and targets", fix="omit --translate")
        if isinstance(searched, EmbeddingTable):
            self.targets = (
                targets if isinstance(targets, PreparedTable) else PreparedTable(searched, model=model, device=config.device)
            )
            self.queries = (
                table_queries(asked, searched)
                if isinstance(asked, EmbeddingTable)
                else embed_queries(asked, self.targets.embedder, asked_code)
            )
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phylocli-")))
            if isinstance(asked, EmbeddingTable):
                embedder = embedder_of(asked, model, config.device)
                self.targets = PreparedTable(
                    embed_targets(searched, embedder, folder, model, searched_code), embedder=embedder
                )
                self.queries = table_queries(asked, self.targets.table)
            else:
                embedder = load_model(model, config.device)
                self.queries = embed_queries(asked, embedder, asked_code)  # before the targets, to find errors early
                self.targets = PreparedTable(
                    embed_targets(searched, embedder, folder, model, searched_code), embedder=embedder
                )
        tables = [table for table in (asked, searched) if isinstance(table, EmbeddingTable)]
        options.check_ids([taken for table in tables for taken in table.taken])
        self._find(sequences, code)
        self._rerank(sequences, code, report=sequences is not searched)

    def _divided(self, targets: object, searched: EmbeddingTable | Sequences) -> SearchConfig:
        """Return the configuration, without jobs and cluster if the search cannot be divided among them.

        Args:
            targets: as given, or the temporary copy of a pipe.
            searched: the opened table, or sequences, which will be embedded.

        Raises:
            UsageError: the call gives jobs or a cluster, but the targets are in memory, or in a temporary file that workers
                cannot open, or hits would be aligned on an accelerator.
        """
        config = self._config
        if not (searched.files if isinstance(searched, EmbeddingTable) else isinstance(searched, str | os.PathLike)):
            config = config.undivided(
                UsageError(
                    "--jobs and --cluster search Parquet tables with a column of vectors only",
                    fix="write the table as Parquet",
                )
            )
        elsewhere = config.cluster is not None and ClusterConfig.parse(config.cluster).type != LOCAL
        copied = isinstance(targets, Path) and display_name(targets) != str(targets)
        if elsewhere and (copied or not isinstance(searched, EmbeddingTable)):
            config = config.undivided(
                UsageError(
                    f"--cluster {config.cluster} searches tables in files that its workers can open",
                    why=f"{'a pipe is copied' if copied else 'sequences are embedded'} to a temporary file of this machine",
                    fix="write the table to a file in a folder that all machines see: phylocli embed FASTA -o FILE.parquet",
                )
            )
        if config.needs_residue_embeddings and not config.in_process:
            device = targets.embedder.model.device if isinstance(targets, PreparedTable) else choose_device(config.device)
            if device.type != "cpu":
                config = config.undivided(
                    UsageError("--jobs and --cluster align on processors only", fix="give --device cpu, or leave them out")
                )
        return config

    def _find(self, sequences: PathLike | Sequences | Mapping[str, str] | None, code: int | None) -> None:
        """Find the nearest rows of each query and compute their E-values."""
        config, table = self._config, self.targets.table
        logger.info(f"{counted(len(self.queries.ids), 'query')} against {counted(len(table), 'row')}")
        own = _own_rows(self.queries, table) if config.exclude_self else None
        vectors, k = self.queries.vectors, config.nearest
        self._smoothed: FloatArray | None = None
        if config.smooth:
            refuse_smoothed(table)
            aligner = None
            if config.needs_neighbours:
                assert sequences is not None
                residues = read_residues(table.ids, sequences, code, report=False)
                aligner = NeighbourAligner(self.targets, config.smooth_by, residues, config, config.threads)
                if self.queries.letters is None and (matching_rows(vectors, table) < 0).any():
                    raise UsageError(
                        "neighbours by alignment need the query sequences, as some are not among the targets",
                        fix="give the queries as FASTA",
                    )
            smoothing = Smoothing(table, config.smooth, aligner=aligner)
            smoothed = smoothing(vectors, self.queries.letters, self.queries.ids)
            wider = min(k + config.smooth + 1, len(table))  # mutual neighbours become equal
            found = smoothing.nearest(vectors, smoothed, wider, leave_out=own, least=self._least(self.targets.background))
            cosines = cosines_of(vectors, table, found.rows)
            order = np.lexsort((-cosines, -found.cosines))[:, :k]  # equal ones in the order before smoothing
            self._smoothed = np.take_along_axis(found.cosines, order, axis=1)
            self._found = Neighbours(
                np.take_along_axis(found.rows, order, axis=1), np.take_along_axis(cosines, order, axis=1)
            )
        elif config.approximate:
            graph = open_graph(table, threads=config.threads or 1)
            self._found = graph.nearest(vectors, k, leave_out=own, threads=config.threads)
        elif config.quantise is not None:
            self._found = nearest_by_codes(table, config.quantise, lambda codes: self._among_codes(codes, own))
        elif config.in_process:
            self._found = nearest(vectors, table, k, leave_out=own)
        else:
            self._found = nearest_in_pieces(vectors, table, k, config, leave_out=own, threads=config.threads)
        background = self.targets.background
        if background is None and config.max_evalue is not None:
            raise BadInputError(
                "there are no E-values to compare with --max-evalue",
                why=self.targets.why_no_evalues or None,
                fix="use --min-cosine instead"
                + ("" if SMOOTHING in table.metadata else ", or name the model that made the table with --model"),
            )
        self._evalues = _evalues(background, self.queries, self._found, len(table))
        if config.max_evalue is not None and not config.reranks:
            self._found.rows[self._evalues > config.max_evalue] = -1
        if config.min_cosine is not None:
            self._found.rows[self._found.cosines < config.min_cosine] = -1

    def _least(self, background: Background | None) -> FloatArray | None:
        """Return the minimum cosine of the hits of each query, (n,), by `min_cosine` and `max_evalue`; None: no minimum."""
        config, vectors = self._config, self.queries.vectors
        least = np.full(len(vectors), -1.0 if config.min_cosine is None else config.min_cosine, dtype=np.float32)
        if config.max_evalue is not None and not config.reranks and background is not None:
            with np.errstate(divide="ignore"):
                log_p = float(np.log(config.max_evalue / len(self.targets.table)))
            cutoffs = cosine_cutoffs(vectors, log_p, background.vectors)
            least = np.maximum(least, np.minimum(cutoffs, 2)).astype(np.float32)
        return None if (least <= -1).all() else least

    def _among_codes(self, codes: Codes, own: npt.NDArray[np.int64] | None) -> Neighbours:
        config, vectors, k = self._config, self.queries.vectors, self._config.nearest
        if config.in_process:
            return codes.nearest(vectors, k, leave_out=own)
        return nearest_codes_in_pieces(vectors, codes, k, config, leave_out=own, threads=config.threads)

    def _rerank(self, sequences: PathLike | Sequences | Mapping[str, str] | None, code: int | None, *, report: bool) -> None:
        """Prepare the alignment of the hits."""
        config, table = self._config, self.targets.table
        residues: dict[str, str] = {}
        if sequences is not None and config.reranks:
            hit = {table.ids[row] for row in np.unique(self._found.rows) if row >= 0}
            residues = read_residues(hit, sequences, code, report=report)
        aligner = self.targets.residue_alignment if config.rerank is not None else None
        self._reranking = Reranking(config, aligner, residues, len(table))
        self.evalue = self._reranking.evalue
        self.schema = hits_schema(residues=aligner is not None, aligned=config.align, smoothed=self._smoothed is not None)

    def empty(self) -> pl.DataFrame:
        """Return an empty frame of hits."""
        return self._frame({name: [] for name in self.schema.names})

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the hits in batches of `WRITTEN` queries, in the order of the queries."""
        queries, ranked = self.queries, self._ranked()
        with (
            contextlib.closing(ranked),
            console.progress_task("aligning" if self._config.reranks else "writing", len(queries.ids), "queries") as bar,
        ):
            for start in range(0, len(queries.ids), WRITTEN):
                columns: dict[str, list[Any]] = {name: [] for name in self.schema.names}
                for query in range(start, min(start + WRITTEN, len(queries.ids))):
                    self._add(columns, query, next(ranked))
                    bar.advance()
                yield self._frame(columns)
            for _ in ranked:  # none is left; this ends the workers, and prints what has become of the pieces
                raise AssertionError

    def _kept(self, query: int) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self._found.rows[query] >= 0)

    def _ranked(self) -> Generator[Ranked, None, None]:
        """Yield the order of the hits of each query, with the alignments of each hit if they are aligned."""
        config, queries, letters = self._config, self.queries, self.queries.letters
        if not config.reranks:
            for kept in map(self._kept, range(len(queries.ids))):
                yield Ranked(np.arange(len(kept)), {}, [[] for _ in kept])
            return
        assert letters is not None

        def pieces() -> Iterator[tuple[str, Asked]]:
            for query, name in enumerate(queries.ids):
                targets = [self.targets.table.ids[row] for row in self._found.rows[query, self._kept(query)]]
                yield name, (letters[query], queries.vectors[query], targets)

        early = None if config.in_process else functools.partial(limit_threads, config.threads or config.threads_each)
        work = Work(functools.partial(_rank, self._reranking), early, level=console.QUIET, unit="queries")
        yield from run_all(work, pieces(), jobs=config.jobs, cluster=config.cluster, title="alignments", bar=False)

    def _add(self, columns: dict[str, list[Any]], query: int, ranked: Ranked) -> None:
        """Append the rows of a query: one per hit, or, if hits are aligned, one per local alignment."""
        queries, found = self.queries, self._found
        kept = self._kept(query)
        for rank, (place, alignments) in enumerate(zip(kept[ranked.order], ranked.alignments, strict=True)):
            row = {
                "query": queries.ids[query],
                "target": self.targets.table.ids[found.rows[query, place]],
                "rank": rank + 1,
                "cosine": round(float(found.cosines[query, place]), 6),
                "evalue": _short(self._evalues[query, place]),
                **({} if self._smoothed is None else {"smoothed": round(float(self._smoothed[query, place]), 6)}),
                **{name: _short(values[rank]) for name, values in ranked.scores.items()},
            }
            rows = [{**row, **_columns(alignment)} for alignment in alignments] or [row]
            for name, values in columns.items():
                values += [of.get(name) for of in rows]

    def _frame(self, columns: dict[str, list[Any]]) -> pl.DataFrame:
        import polars as pl

        frame = pl.from_arrow(self.schema.empty_table())
        assert isinstance(frame, pl.DataFrame)
        return pl.DataFrame(columns, schema=frame.schema)


Asked = tuple[str, npt.NDArray[np.float32], list[str]]
"""The letters and the vector of a query, and the ids of its hits."""


def _rank(reranking: Reranking, asked: Asked) -> Ranked:
    letters, vector, targets = asked
    return reranking(letters, vector, targets) if targets else Ranked(np.arange(0), {}, [])


def _columns(alignment: LocalAlignment) -> dict[str, float | int | None]:
    """Return the values of an alignment for the columns of `tables.hits_schema()`."""
    (query_start, query_end), (target_start, target_end) = alignment.query_range, alignment.target_range
    return {
        "bits": _short(alignment.bits),
        "query_start": query_start,
        "query_end": query_end,
        "target_start": target_start,
        "target_end": target_end,
        "alignment_length": alignment.length,
        "identity": _short(alignment.identity),
        "mismatches": alignment.mismatches,
        "gap_openings": alignment.gap_openings,
    }


def _own_rows(queries: Queries, table: EmbeddingTable) -> npt.NDArray[np.int64]:
    at = {name: row for row, name in enumerate(table.ids)}
    return np.array([at.get(name, -1) for name in queries.ids], dtype=np.int64)


def _evalues(background: Background | None, queries: Queries, found: Neighbours, rows: int) -> Floats:
    """Return the E-values of cosines, (n, k): NaN without a background, the number of rows where there is no hit."""
    if background is None:
        return np.full(found.cosines.shape, np.nan)
    log_p = background.log_p_values(queries.vectors, found.cosines)
    return np.where(np.isfinite(found.cosines), rows * np.exp(log_p), rows)


def _short(value: float) -> float | None:
    """Round a number to four significant digits; None for NaN."""
    return None if np.isnan(value) else float(f"{value:.4g}")
