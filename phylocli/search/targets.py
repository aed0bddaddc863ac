"""Targets: a table of embeddings, or sequences, which are embedded before the search."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path

from phylocli.embed import Embedder
from phylocli.embed.inputs import Sequences, survey
from phylocli.embed.throughput import Meter
from phylocli.embed.to_table import sequence_rows
from phylocli.formats import read_sequences
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.input_formats import sniff_file
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.streams.paths import unpacked_name
from phylocli.formats.tables import TableWriter, embeddings_schema
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.search.database import open_table

logger = logging.getLogger(__name__)


def opened(source: PathLike | EmbeddingTable | Sequences, options: ColumnOptions) -> EmbeddingTable | Sequences:
    """Return an input as the table that it is, or, if it is sequences, as it was given.

    Raises:
        BadInputError: no such file, or a table that cannot be searched (see `database.open_table`).
        UsageError: `options` do not fit the table.
    """
    if isinstance(source, EmbeddingTable):
        return open_table(source, options)
    if not isinstance(source, str | os.PathLike):
        return source
    is_table = Path(source).is_dir() or sniff_file(source).holds != "sequences"
    return open_table(source, options) if is_table else source


def embed_targets(source: Sequences, embedder: Embedder, folder: Path, model: PathLike | None = None) -> EmbeddingTable:
    """Embed the sequences that are to be searched; those of a file in bounded memory, into a table in a folder.

    Args:
        source: sequences in memory, or the path of a file that can be read twice.
        embedder: of the model.
        folder: for the table, which can be removed when the search is done.
        model: its name or folder as given by the user, for the message about keeping the embeddings.

    Raises:
        BadInputError: no sequences, letters that are not residues, duplicate ids.
    """
    if not isinstance(source, str | os.PathLike):
        found = embedder.embed(source)
        found.name = "targets"
        return found
    name, alphabet = display_name(source), embedder.model.alphabet
    known = survey([source], letters=alphabet)
    assert known is not None, "a file"
    lasting = Path(name).is_file()
    named, kept = (name, f"{unpacked_name(name).stem}.parquet") if lasting else ("FASTA", "targets.parquet")
    command = ["phylocli", "embed", named, *(["--model", str(model)] if model is not None else []), "-o", kept]
    logger.info(f"embedding {known.sequences:,} targets; to embed them once for several searches: {shlex.join(command)}")
    path = folder / "targets.parquet"
    schema = embeddings_schema(embedder.dimension, metadata=embedder.metadata)
    with Meter(known) as meter, TableWriter(path, schema, "parquet") as writer:
        embedder.on_batch = meter.computed
        for ids, lengths, vectors in embedder.blocks(read_sequences(source, letters=alphabet)):
            writer.write(sequence_rows(ids, lengths, vectors, schema))
            meter.done(len(ids), sum(lengths))
    embedder.on_batch = None
    found = read_embeddings(path)
    found.name = name
    return found
