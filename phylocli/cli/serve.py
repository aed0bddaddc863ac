"""Search a table of embeddings in a browser: a local page with neighbours, map and alignments."""

from __future__ import annotations

import contextlib
import logging
from typing import Annotated

import typer

from phylocli.cli._options import LabelsOption, model_names
from phylocli.config.serve import ServeConfig

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli serve emb.parquet",
    "phylocli serve emb.parquet --labels labels.tsv --sequences seqs.fasta",
    "phylocli serve emb.parquet --port 8080 --no-open",
]
NO_ARGS_IS_HELP = True


def command(
    config: ServeConfig,
    embeddings: Annotated[
        str, typer.Argument(metavar="TABLE", help="Table of embeddings, in any format that 'embed' writes.")
    ],
    *,
    labels: LabelsOption = None,
    sequences: Annotated[
        str | None,
        typer.Option(
            "--sequences",
            metavar="FASTA",
            help="Sequences of the table, for alignments; their headers are descriptions. By default the table's own "
            "column 'sequence', if it has one.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            help="The model of the table, if it is not found by its name.",
            autocompletion=model_names,
        ),
    ] = None,
) -> None:
    """Search a table of embeddings in a browser.

    Prints the address of a page on this machine: find proteins by id, description, species or family, or paste sequences;
    see their neighbours with cosines and E-values as 'phylocli search' computes them, on the map, and aligned; download the
    hits. The page can be opened only from this machine, and only with the printed address, which contains a random token.
    ^C stops it.
    """
    from phylocli.serve import serve

    with (
        serve(embeddings, config, labels=labels, sequences=sequences, model=model) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        typer.echo(server.url)
        logger.info("^C stops it")
        server.wait()
