"""Search a table of embeddings in a browser: a local page with neighbours, map and alignments."""

from __future__ import annotations

import contextlib
import logging
from typing import Annotated

import typer

from phylocli.cli._options import LabelsOption, TableModelOption, TableSequencesOption
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
    sequences: TableSequencesOption = None,
    model: TableModelOption = None,
) -> None:
    """Search a table of embeddings in a browser.

    Prints the address of a page on this machine: find proteins by id, description, species or family, or paste sequences;
    see their neighbours with cosines and E-values as 'phylocli search' computes them, on the map, and aligned; download the
    hits. The headers of --sequences are descriptions; without it, sequences are the column 'sequence' of the table, if any.

    The page can be opened only from this machine, and only with the printed address, which contains a random token.
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
