"""Manage the family store: list, verify, import, export, remove."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from phylocli.cli._options import ClanOption, Output, StoreOption, stored_families
from phylocli.core.plugins import ALIGNERS
from phylocli.core.words import counted
from phylocli.formats.input_formats import SEQUENCE_FORMATS

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli store ls --clan CL0090",
    "phylocli store verify --remove",
    "phylocli store import my_families/ Pfam38.2/",
    "phylocli store export PF00042 PF00076 -o families.sto.gz",
]

app = typer.Typer()

Accessions = Annotated[
    list[str] | None, typer.Argument(metavar="ACC", help="Families; by default all.", autocompletion=stored_families)
]


@app.command("ls")
def list_families(
    accessions: Accessions = None,
    clan: ClanOption = None,
    output: Output = None,
    store: StoreOption = None,
) -> None:
    """List the families with size, tree, profile, source, release and date, as a table."""
    from phylocli.store import Store, write_inventory

    write_inventory(Store(store), output, accessions=accessions, clans=clan)


@app.command("info")
def info(accessions: Accessions = None, store: StoreOption = None) -> None:
    """Describe some families, or the store as a whole."""
    from phylocli.store import Store, describe

    for line in describe(Store(store), accessions):
        typer.echo(line)


@app.command("verify")
def verify(
    accessions: Accessions = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove damaged files, so that fetch gets them again.")] = False,
    store: StoreOption = None,
) -> None:
    """Check all checksums and read all records; exit code 65 if anything is damaged."""
    from phylocli.store import Store, report_findings, verify_store

    report_findings(verify_store(Store(store), accessions or None, remove=remove), removed=remove)


@app.command("import")
def import_(
    sources: Annotated[
        list[str], typer.Argument(metavar="PATH|-", help=f"Files ({SEQUENCE_FORMATS}); folders of them; a Pfam release.")
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite families that are already in the store.")] = False,
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="NAME", autocompletion=ALIGNERS.names, help="Aligner for unaligned families."),
    ] = "famsa",
    method: Annotated[str | None, typer.Option("--method", hidden=True)] = None,
    store: StoreOption = None,
) -> None:
    """Import families from files.

    A Stockholm file may have any number of records; any other is one family, named by its file. A folder with
    Pfam-A.seed.gz is imported as a release.
    """
    from phylocli.align import align_families
    from phylocli.fetch import import_families
    from phylocli.store import Store

    if method is not None:
        logger.warning("--method is now called --engine; the old name will be removed")
        engine = method
    target = Store(store)
    count = import_families(
        sources,
        target,
        align=lambda family: next(align_families([family], engine=engine)),
        replace_existing=replace,
    )
    logger.info(f"{counted(count, 'family')} imported into {target.root}")


@app.command("export")
def export(
    accessions: Accessions = None,
    clan: ClanOption = None,
    output: Output = None,
    format: Annotated[
        str, typer.Option("--format", metavar="stockholm|fasta", help="Records as stored, or sequences without gaps.")
    ] = "stockholm",
    store: StoreOption = None,
) -> None:
    """Write families of the store to a file or pipe."""
    from phylocli.store import Store, export_families

    export_families(Store(store), output, accessions=accessions, clans=clan, format=format)


@app.command("rm")
def remove(
    accessions: Accessions = None,
    clan: ClanOption = None,
    release: Annotated[
        str | None,
        typer.Option("--release", metavar="38.2", help="Files of this Pfam release; its families stay."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every family.")] = False,
    store: StoreOption = None,
) -> None:
    """Remove families with their profiles and provenance, or the files of a release."""
    from phylocli.store import Store, remove_families

    remove_families(Store(store), accessions=accessions, clans=clan, release=release, all_=all_)
