"""Run the whole chain on families, resumable, and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import StoreOption

EXAMPLES = [
    "phylocli run examples/demo.toml -o demo",
    "phylocli run PF00042 PF00076 PF00134 -o three_families",
    "phylocli run globins.sto kinases.fasta -o mine    # the same again: goes on where it stopped",
]
NO_ARGS_IS_HELP = True


def command(
    what: Annotated[
        list[str], typer.Argument(metavar="CONFIG.toml|FAMILIES…", help="A configuration, or files, accessions and clans.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for everything that the run makes.")],
    store: StoreOption = None,
) -> None:
    """Run the whole chain on families: align, tree, pairs, train, embed, probe.

    A stage whose inputs and parameters are unchanged is skipped; a run that was broken off goes on where it was.
    """
    from phylocli.core import console
    from phylocli.workflow import run_chain
    from phylocli.workflow.config import from_arguments

    report = run_chain(from_arguments(what), output, store=store)
    console.info(f"\nthe report is at {report.resolve()}")
