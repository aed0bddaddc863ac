"""Reading of labels from a file, whose format is detected by content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phylocli.config.labels import MakeLabelsConfig
from phylocli.formats import stockholm
from phylocli.formats.input_formats import FASTA, GAF, STOCKHOLM, TABLE_FORMATS, sniff
from phylocli.formats.sequences import fasta
from phylocli.formats.streams import PathLike, display_name, open_input, text_lines
from phylocli.formats.tables.reading import NotATableError, parse_table
from phylocli.probe.labels.collected import Labels
from phylocli.probe.labels.families import of_families
from phylocli.probe.labels.gaf import of_gaf
from phylocli.probe.labels.headers import of_headers
from phylocli.probe.labels.uniprot import is_export, of_export

if TYPE_CHECKING:
    import polars as pl

LABEL_SOURCES = (
    f"a table ({TABLE_FORMATS}), family records (Stockholm), FASTA with labels in its headers, or GO annotations (GAF)"
)
"""What labels are read from, for messages."""


def read_source(source: PathLike | None, config: MakeLabelsConfig = MakeLabelsConfig()) -> Labels | pl.DataFrame:
    """Return the labels in a file or pipe; for a table that is not a UniProt export, the table with all columns as text.

    Args:
        source: family records (Stockholm), FASTA, GO annotations (GAF) or a table; `-` or None is standard input.
        config: options for headers and annotations.

    Raises:
        BadInputError: the source has another format, is damaged, or contains no labels.
        UsageError: the pattern has no group.
    """
    name = display_name(source)
    with open_input(source) as stream:
        kind = sniff(stream)
        if kind is STOCKHOLM:
            return of_families(stockholm.read_stream(stream, name))
        if kind is FASTA:
            items = fasta.accepted(fasta.parse(text_lines(stream, name), name), name, "error")
            return of_headers(items, name, config.pattern)
        if kind is GAF:
            return of_gaf(text_lines(stream, name), name, evidence=config.evidence_codes, aspect=config.aspect)
        try:
            table = parse_table(stream.read(), name, typed=False)
        except NotATableError as error:
            error.fix = f"give {LABEL_SOURCES}"
            raise
    return of_export(table) if is_export(table.columns) else table
