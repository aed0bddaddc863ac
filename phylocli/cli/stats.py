"""Describe files: sequences, lengths, families, identity, trees, embeddings, models."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import Output, TableFormatOption
from phylocli.config.stats import StatsConfig

EXAMPLES = [
    "phylocli stats families.sto seqs.fasta.gz",
    "phylocli stats trees.nwk emb.parquet run/model",
    "phylocli stats proteomes/*.faa.gz -o stats.tsv",
]
NO_ARGS_IS_HELP = True


def command(
    config: StatsConfig,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Sequences, alignments, trees, tables of pairs or embeddings, model folders."
        ),
    ],
    output: Output = None,
    format: TableFormatOption = None,
) -> None:
    """Describe files, one row per file: format, type, and the applicable ones of the following.

    families, sequences, residues, min_length, mean_length, max_length, columns, identity (of pairs of aligned rows), trees,
    pairs, rows, dimension, parameters, model. On a terminal, columns that apply to no file are left out.
    """
    import sys

    from phylocli.core.errors import PhylocliError, joined
    from phylocli.formats.tables import parse_format, stats_schema, write_table
    from phylocli.workflow.file_stats import as_lines, file_stats

    table_format = parse_format(format, output)
    failures: list[PhylocliError] = []
    found = file_stats(files, config, on_failure=failures.append)
    if failures and found.is_empty():
        raise joined(failures)
    if output is None and format is None and sys.stdout.isatty():
        typer.echo("\n".join(as_lines(found)))
    else:
        write_table(found, output, stats_schema(), table_format)
    if failures:
        raise joined(failures)
