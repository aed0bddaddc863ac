"""Run the whole chain on families, from alignment to report; resumable."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import OfflineOption, StoreOption, run_inputs
from phylocli.config.run import RunConfig
from phylocli.core.errors import UsageError

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli run examples/demo.toml -o demo",
    "phylocli run my_proteins.fasta --group -o mine",
    "phylocli run my_family.fasta --model default -o family",
    "phylocli run PF00042 PF00076 PF00134 -o three_families",
    "phylocli run globins.sto kinases.fasta --set train.steps=2000 --set tree.engine=veryfasttree -o mine --dry-run",
]
NO_ARGS_IS_HELP = True


def command(
    config: RunConfig,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG.toml|FAMILY",
            help="A configuration, or files of families or sequences, Pfam accessions and clans.",
            autocompletion=run_inputs,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for all results; needed unless with --dry-run."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check inputs and options, and print what would be done.")
    ] = False,
    offline: OfflineOption = False,
    store: StoreOption = None,
) -> None:
    """Run the whole chain on families, from sequences to report: align, tree, pairs, train, embed, map, probe.

    A file of unaligned sequences (FASTA, …) is one family, aligned to a profile or by FAMSA; with --group the sequences of
    all files are first grouped into families. With --model nothing is trained: that model embeds the members. A stage whose
    inputs and options are unchanged is skipped; an interrupted run resumes where it stopped. Every option of a stage can be
    set: in its table of the configuration, [tree] for example, or by --set tree.engine=nj.
    """
    from phylocli.workflow import plan_run, run_chain

    if output is None and not dry_run:
        raise UsageError("no folder for the results is given", fix="name one with -o, or plan the run with --dry-run")
    if offline:
        config = config.updated(fetch=config.fetch.updated(offline=True))
    if output is None or dry_run:
        with tempfile.TemporaryDirectory() as empty:
            steps = plan_run(config, output or empty, store=store)
        width = max(len(name) for name, _ in steps)
        for name, step in steps:
            typer.echo(f"{name:<{width}}  {step}")
        return
    report = run_chain(config, output, store=store)
    logger.info(f"\nThe report is at {report.resolve()}")
