"""What the page asks for: proteins by name, neighbours, alignments and downloads, as the search code computes them."""

from __future__ import annotations

import io
import re
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from phylocli.config.search import SearchConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import Sequence, as_sequences
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.nucleotides import Translator, nucleotides_among
from phylocli.formats.sequences import fasta
from phylocli.formats.sequences.fasta import shorten
from phylocli.search import PreparedTable
from phylocli.search.local_alignment import LocalAlignment
from phylocli.search.pipeline import search, search_file
from phylocli.search.queries import embed_queries
from phylocli.search.rerank import Reranking
from phylocli.serve.proteins import Proteins
from phylocli.serve.requests import MOST_QUERIES, MOST_RESIDUES, AlignmentRequest, Download, NotFound, Request

if TYPE_CHECKING:
    import polars as pl

MOST_FOUND = 50
"""Proteins that are listed for a text."""

PASTED = "the pasted text"

TRANSLATE = "Translate coding DNA"
"""Label of the page's box."""

NAMED = 5
"""Sequences that a note names."""

PATIENCE = 20.0
"""Seconds to wait for a search when the server is closed."""


class ProteinService:
    """Answers the requests of the page, one search at a time.

    Args:
        targets: the table.
        proteins: its rows.
    """

    def __init__(self, targets: PreparedTable, proteins: Proteins) -> None:
        self._targets, self._proteins = targets, proteins
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Load the model and its background, so that the first search does not wait for them."""
        with self._lock:
            _ = self._targets.background

    def close(self) -> None:
        """Wait for the current search, for at most `PATIENCE` seconds: a process must not end within a library's threads."""
        self._lock.acquire(timeout=PATIENCE)

    def find(self, text: str) -> dict[str, Any]:
        """Return proteins by id, label and description: their number, and the first `MOST_FOUND`."""
        total, rows = self._proteins.find(text, MOST_FOUND)
        return {"total": total, "proteins": [self._protein(row) for row in rows]}

    def search(self, request: Request) -> dict[str, Any]:
        """Return the hits of a search, the columns of `tables.hits_schema()`, with what is known of each, and notes on them.

        Raises:
            NotFound: no such protein.
            UsageError, BadInputError: as `phylocli.search`.
        """
        (queries, notes), config = self._queries(request), self._config(request)
        with self._lock:
            if not isinstance(queries, EmbeddingTable):
                notes = [*notes, *self._nucleotide_notes(queries)]
            with console.at_level(console.SILENT if notes else console.QUIET):  # the page tells it, and how to translate
                hits = search(queries, self._targets, config, sequences=self._proteins.sequences)
            if hits.height and not hits["evalue"].count() and self._targets.why_no_evalues:
                notes.append(f"E-values are unknown: {self._targets.why_no_evalues}.")
        return {
            "queries": self._described(queries),
            "notes": notes,
            "ranked_by": _ranked_by(hits),
            "hits": [{**hit, "known": self._known(hit["target"])} for hit in hits.iter_rows(named=True)],
        }

    def download(self, request: Request, format: Literal["tsv", "m8"]) -> Download:
        """Return the hits of a search as `phylocli search` writes them."""
        (queries, _), config = self._queries(request), self._config(request)
        with self._lock, console.at_level(console.QUIET), tempfile.TemporaryDirectory(prefix="phylocli-") as folder:
            path = Path(folder) / f"hits.{format}"
            search_file(queries, self._targets, path, config, sequences=self._proteins.sequences, format=format)
            return Download(path.name, path.read_bytes())

    def align(self, request: AlignmentRequest) -> dict[str, Any]:
        """Return the local alignments of a query with a protein of the table, the best first, and their E-value.

        Raises:
            NotFound: no such protein, or no sequence of it.
        """
        config = SearchConfig(align=True) if request.method == "phmmer" else SearchConfig(rerank="residues")
        target = self._letters(request.target)
        if request.sequence is None:
            query = self._letters(request.protein or "")
        else:
            query = next(as_sequences([("query", request.sequence)])).residues
        with self._lock, console.at_level(console.QUIET):
            vector = embed_queries([query], self._targets.embedder).vectors[0]
            aligner = self._targets.residue_alignment if config.rerank else None
            reranking = Reranking(config, aligner, {request.target: target}, len(self._targets.table))
            ranked = reranking(query, vector, [request.target])
        evalue = float(ranked.scores[reranking.evalue][0])
        return {
            "evalue": None if np.isnan(evalue) else evalue,
            "alignments": [_aligned(found, query, target) for found in ranked.alignments[0]],
        }

    def _queries(self, request: Request) -> tuple[EmbeddingTable | list[Sequence], list[str]]:
        """Return the queries of a request, a row of the table, or sequences; and notes on them.

        Where hits are aligned, a protein is its sequence.
        """
        if request.protein is None:
            return pasted_sequences(request.sequences or "", translated=request.translate)
        if request.align:
            return [Sequence(request.protein, self._letters(request.protein))], []
        table, vectors = self._targets.table, self._vectors(request.protein)
        query = EmbeddingTable("query", [request.protein], table.dimension, dict(table.metadata), vectors=vectors, unit=True)
        return query, []

    def _config(self, request: Request) -> SearchConfig:
        """Return the options of a request; a protein of the table is not its own hit."""
        return SearchConfig(
            number=request.number,
            max_evalue=request.max_evalue,
            exclude_self=request.protein is not None,
            align=request.align == "phmmer",
            rerank="residues" if request.align == "residues" else None,
        )

    def _nucleotide_notes(self, queries: list[Sequence]) -> list[str]:
        """Return a note that names the sequences that look like nucleotides but are read as proteins, if there are any."""
        if self._targets.embedder.model.alphabet != "protein":
            return []
        genes = [shorten(gene.id) for gene in nucleotides_among(queries)]
        if not genes:
            return []
        more = f" and {len(genes) - NAMED} more" if len(genes) > NAMED else ""
        look = "looks" if len(genes) == 1 else "look"
        return [
            f"{', '.join(genes[:NAMED])}{more} {look} like nucleotides but {'is' if len(genes) == 1 else 'are'} read as "
            f"protein: with '{TRANSLATE}' coding sequences are translated."
        ]

    def _described(self, queries: EmbeddingTable | list[Sequence]) -> list[dict[str, Any]]:
        if isinstance(queries, EmbeddingTable):
            return [self._protein(self._row(name)) for name in queries.ids]
        return [{"id": s.id, "length": len(s.residues), "sequence": s.residues} for s in queries]

    def _protein(self, row: int) -> dict[str, Any]:
        name = self._proteins.ids[row]
        letters = self._proteins.sequences.get(name)
        return {"id": name, "length": letters and len(letters), "known": self._proteins.known(row)}

    def _known(self, name: str) -> dict[str, str]:
        return self._proteins.known(self._row(name))

    def _vectors(self, name: str) -> npt.NDArray[np.float32]:
        return self._targets.table.take([self._row(name)])

    def _row(self, name: str) -> int:
        try:
            return self._proteins.rows[name]
        except KeyError:
            raise NotFound(
                f"there is no protein {shorten(name)!r} in the table", fix="find it by a part of its name"
            ) from None

    def _letters(self, name: str) -> str:
        self._row(name)
        if name not in self._proteins.sequences:
            raise NotFound(
                f"the sequence of {shorten(name)!r} is not known",
                fix="start 'phylocli serve' with --sequences FASTA" if not self._proteins.sequences else None,
            )
        return self._proteins.sequences[name]


def pasted_sequences(text: str, *, translated: bool = False) -> tuple[list[Sequence], list[str]]:
    """Return the sequences that a user pasted: FASTA, or letters of one sequence, with blanks and numbers between them; and
    notes on coding sequences that may not be in frame.

    Args:
        text: as pasted.
        translated: translate those that look like nucleotides by the standard code, from their first codon; the others are
            proteins.

    Raises:
        BadInputError: no sequence, a letter that is not a residue, duplicate ids, too many, nucleotides that are not a
            coding sequence.
        UsageError: there is nothing to translate.

    Examples:
        >>> from phylocli.serve.service import pasted_sequences
        >>> sequences, notes = pasted_sequences("1 MKTAY iakqr 10")
        >>> [(s.id, s.residues) for s in sequences], notes
        ([('query', 'MKTAYIAKQR')], [])
    """
    if text.lstrip().startswith(">"):
        given = list(fasta.read_stream(io.BytesIO(text.strip().encode()), PASTED))
    else:
        letters = re.sub(r"[\s\d]+", "", text)
        if not letters:
            raise BadInputError("there is no sequence", fix="paste a sequence, or FASTA")
        if bad := re.search(r"[^A-Za-z*.\s\d-]", text):
            raise BadInputError(
                f"{PASTED} contains {bad.group()!r} (character {bad.start() + 1}), which is not a residue",
                fix="paste the letters of one sequence, or FASTA",
            )
        given = [Sequence("query", letters, where=PASTED)]
    translator = Translator()
    if translated:
        genes = {id(gene) for gene in nucleotides_among(given)}
        if not genes:
            raise UsageError("no pasted sequence looks like nucleotides", fix=f"clear the box '{TRANSLATE}'")
        given = [translator(one) if id(one) in genes else one for one in given]
    found = list(as_sequences(given))
    if len(found) > MOST_QUERIES or sum(len(sequence.residues) for sequence in found) > MOST_RESIDUES:
        raise UsageError(
            f"the page searches at most {MOST_QUERIES} sequences, of {MOST_RESIDUES:,} residues together",
            fix="use 'phylocli search' for more",
        )
    return found, [f"{finding[0].upper()}{finding[1:]}." for finding in translator.findings()]


def _ranked_by(hits: pl.DataFrame) -> str:
    names = ("both_evalue", "residues_evalue", "align_evalue")
    return next((name for name in names if name in hits.columns), "evalue")


def _aligned(found: LocalAlignment, query: str, target: str) -> dict[str, Any]:
    ours, theirs = found.rows(query, target)
    return {
        "query": ours,
        "target": theirs,
        "query_start": found.query_range[0],
        "target_start": found.target_range[0],
        "bits": None if np.isnan(found.bits) else found.bits,
        "identical": found.identical,
        "length": found.length,
    }
