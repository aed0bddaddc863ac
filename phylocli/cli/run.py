"""Run the whole chain on families, from alignment to report; resumable."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import StoreOption
from phylocli.config.run import RunConfig

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli run examples/demo.toml -o demo",
    "phylocli run PF00042 PF00076 PF00134 -o three_families",
    "phylocli run globins.sto kinases.fasta --set train.steps=2000 --set tree.engine=veryfasttree -o mine",
]
NO_ARGS_IS_HELP = True


def command(
    config: RunConfig,
    what: Annotated[
        list[str], typer.Argument(metavar="CONFIG.toml|FAMILIES…", help="A configuration, or files, accessions and clans.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for all results.")],
    store: StoreOption = None,
) -> None:
    """Run the whole chain on families, from alignment to report: align, tree, pairs, train, embed, probe.

    A stage whose inputs and options are unchanged is skipped; an interrupted run resumes where it stopped. Every option of a
    stage can be set: in its table of the configuration, [tree] for example, or by --set tree.engine=nj.
    """
    from phylocli.workflow import run_chain

    report = run_chain(config, output, store=store)
    logger.info(f"\nThe report is at {report.resolve()}")
