"""Targets of a search: a table of embeddings with its model and background, or sequences, which are embedded first."""

from __future__ import annotations

import itertools
import logging
import os
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from phylocli.core.alphabet import NUCLEOTIDE_CODES, is_nucleotide_sequence
from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.embed import Embedder
from phylocli.embed.inputs import survey
from phylocli.embed.throughput import Meter
from phylocli.embed.to_table import PER_FAMILY, sequence_rows
from phylocli.formats import Sequences, as_sequences, read_sequences
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.input_formats import SEQUENCE_FORMATS, names_of, sniff_file
from phylocli.formats.nucleotides import TRANSLATE, NucleotideCheck
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.streams.paths import unpacked_name
from phylocli.formats.tables import NotATableError, TableWriter, embeddings_schema
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.search.background import FEWEST, Background, background_of, background_of_table
from phylocli.search.database import open_table
from phylocli.search.queries import MODEL, SMOOTHING, embedder_of
from phylocli.search.rerank import ResidueScores
from phylocli.search.residue_evalues import ResidueEvalues

logger = logging.getLogger(__name__)


def opened(source: PathLike | EmbeddingTable | Sequences, options: ColumnOptions) -> EmbeddingTable | Sequences:
    """Open an input if it is a table of embeddings; return sequences, or the path of a sequence file, unchanged.

    Raises:
        BadInputError: the file does not exist, or the table cannot be searched (see `database.open_table`).
        UsageError: `options` do not match the table.
    """
    if isinstance(source, EmbeddingTable):
        return open_table(source, options)
    if not isinstance(source, str | os.PathLike):
        return source
    if not Path(source).is_dir() and sniff_file(source).holds == "sequences":
        return source
    try:
        return open_table(source, options)
    except NotATableError as error:
        error.fix = f"give sequences ({SEQUENCE_FORMATS}), or a table of embeddings ({names_of('table', 'vectors')})"
        raise


def code_of(
    source: PathLike | EmbeddingTable | Sequences | Mapping[str, str] | None, genetic_code: int | None
) -> int | None:
    """Return `genetic_code` if the input has to be translated; None for tables and protein sequences.

    Sequences are taken for proteins if the first 100 contain a letter that is not a nucleotide code.

    Raises:
        BadInputError: some of the first 100 are nucleotides and others are not.
    """
    if genetic_code is None or source is None or isinstance(source, EmbeddingTable | Mapping):
        return None
    first = list(itertools.islice(as_sequences(source), 100))
    codes = {*NUCLEOTIDE_CODES, "N", "U"}
    protein = next((sequence for sequence in first if not set(sequence.residues) <= codes), None)
    if protein is None:
        return genetic_code
    gene = next((sequence for sequence in first if is_nucleotide_sequence(sequence.residues)), None)
    if gene is not None:
        where = protein.where.split(", ")[0] or "one input"
        raise BadInputError(
            f"{where} contains nucleotides ({shorten(gene.id)}) and proteins ({shorten(protein.id)})",
            fix="put the coding sequences into a file of their own",
        )
    return None


def embed_targets(
    source: Sequences,
    embedder: Embedder,
    folder: Path,
    model: PathLike | None = None,
    genetic_code: int | None = None,
) -> EmbeddingTable:
    """Embed the target sequences; sequences from a file are written to a temporary table, in bounded memory.

    Args:
        source: sequences in memory, or the path of a file that can be read twice.
        embedder: the embedder for queries and targets.
        folder: the folder for the temporary table.
        model: the name or folder of the model as given by the user, for the log message on how to keep the embeddings.
        genetic_code: the genetic code for the translation of coding DNA; None: the sequences are proteins.

    Raises:
        BadInputError: there are no sequences, letters are not residues, or ids are not unique.
    """
    if not isinstance(source, str | os.PathLike):
        found = embedder.embed(list(as_sequences(source, embedder.model.alphabet, genetic_code)))
        found.name = "targets"
        return found
    name, alphabet = display_name(source), embedder.model.alphabet
    known = survey([source], letters=alphabet, genetic_code=genetic_code)
    assert known is not None, "a file"
    lasting = Path(name).is_file()
    named, kept = (name, f"{unpacked_name(name).stem}.parquet") if lasting else ("FASTA", "targets.parquet")
    options = ["--model", str(model)] if model is not None else []
    if genetic_code is not None:
        options += ["--translate", *(["--genetic-code", str(genetic_code)] if genetic_code != 1 else [])]
    command = ["phylocli", "embed", named, *options, "-o", kept]
    logger.info(f"embedding {known.sequences:,} targets; to embed them once for several searches: {shlex.join(command)}")
    path = folder / "targets.parquet"
    schema = embeddings_schema(embedder.dimension, metadata=embedder.metadata)
    with (
        Meter(known) as meter,
        TableWriter(path, schema, "parquet") as writer,
        embedder.reporting(meter.computed),
    ):
        sequences = read_sequences(source, letters=alphabet, report=False, genetic_code=genetic_code)
        for ids, lengths, vectors in embedder.blocks(NucleotideCheck(alphabet, TRANSLATE).sequences(sequences)):
            writer.write(sequence_rows(ids, lengths, vectors, schema))
            meter.done(len(ids), sum(lengths))
    found = read_embeddings(path)
    found.name = name
    return found


class PreparedTable:
    """A table to search many times: its model, background and residue embeddings are loaded once, when first needed.

    Args:
        table: the embeddings to search.
        embedder: an embedder with the model of the table; None: created when needed.
        model: name or folder of the model; None: found by the fingerprint in the metadata of the table.
        device: the device for the model.

    Attributes:
        why_no_evalues: the reason and the fix, once it is known that there is no `background`.

    Examples:
        >>> from phylocli.search import PreparedTable, search
        >>> targets = PreparedTable(phylocli.load_model("default").embed("examples/globins.fasta"))
        >>> [search([letters], targets, best=True)["target"][0] for letters in ("MVLSPADKTNVKAAW", "MVHLTPEEKSAVTALWGKV")]
        ['HBA_PANPA', 'HBB_PANLE']
    """

    def __init__(
        self, table: EmbeddingTable, *, embedder: Embedder | None = None, model: PathLike | None = None, device: str = "auto"
    ) -> None:
        self.table = open_table(table)
        self._embedder, self._model, self._device = embedder, model, device
        self.why_no_evalues = ""

    def of(self, table: EmbeddingTable) -> PreparedTable:
        """Return another table of the same model, such as some of the rows."""
        return PreparedTable(table, embedder=self._embedder, model=self._model, device=self._device)

    @property
    def embedder(self) -> Embedder:
        """The embedder for queries, with the model of the table.

        Raises:
            UsageError, BadInputError: the model is not found (see `queries.embedder_of`).
        """
        if self._embedder is None:
            self._embedder = embedder_of(self.table, self._model, self._device)
        return self._embedder

    @cached_property
    def background(self) -> Background | None:
        """The background of the model; if it is not available, a sample of the table, or None if the table is too small or
        has been smoothed."""
        if SMOOTHING in self.table.metadata:
            self.why_no_evalues = "embeddings that were averaged with others have no null distribution"
            logger.warning(f"no E-values: {self.why_no_evalues} (search --smooth gives those of the embeddings before)")
            return None
        missing: PhylocliError | None = None
        if self._embedder is None and MODEL in self.table.metadata:
            try:
                self._embedder = self.embedder
            except PhylocliError as error:
                if self._model is not None:
                    raise
                missing = error
        families = PER_FAMILY in self.table.metadata
        found = background_of(self._embedder, families=families) if self._embedder is not None else None
        if found is not None:
            return found
        found = background_of_table(self.table)
        kind = "families" if families else "proteins"
        what = missing.what if missing is not None else f"no background of unrelated {kind} for the model of this table"
        fix = f" ({missing.fix})" if missing is not None and missing.fix else ""
        if found is None:
            few = f"the table has fewer than {FEWEST:,} rows, too few to estimate them from"
            self.why_no_evalues = f"{what}{fix}, and {few}"
            logger.warning(f"no E-values: {self.why_no_evalues}")
        else:
            logger.warning(
                f"{what}{fix}: E-values are estimated from its own rows, and are too large if many of them are homologous"
            )
        return found

    @cached_property
    def residue_alignment(self) -> ResidueEvalues:
        """The aligner of queries and rows of the table by residue embeddings."""
        if PER_FAMILY in self.table.metadata:
            known = background_of(self.embedder)  # residues are those of single proteins
        else:
            known = self.background if self.background is not None and self.background.sequences else None
        return ResidueEvalues(ResidueScores(self.embedder), known, len(self.table))
