"""Look at the store of families and tend it: list, verify, import, export, remove."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import Output, StoreOption
from phylocli.core.plugins import ALIGNERS

EXAMPLES = [
    "phylocli store ls --clan CL0090",
    "phylocli store verify --remove",
    "phylocli store import my_families/ Pfam38.2/",
    "phylocli store export PF00042 PF00076 -o families.sto.gz",
]

app = typer.Typer()

Accessions = Annotated[Optional[list[str]], typer.Argument(metavar="ACC", help="Families; none is all of them.")]  # noqa: UP045
Clan = Annotated[Optional[list[str]], typer.Option("--clan", metavar="CL", help="All families of this clan.")]  # noqa: UP045


@app.command("ls")
def list_families(
    accessions: Accessions = None,
    clan: Clan = None,
    output: Output = None,
    store: StoreOption = None,
) -> None:
    """List the families: size, tree, profile, where from, which release, when. A table on standard output."""
    from phylocli.store import Store, write_inventory

    write_inventory(Store(store), output, accessions=accessions, clans=clan)


@app.command("info")
def info(accessions: Accessions = None, store: StoreOption = None) -> None:
    """Tell what is known of some families, or of the store as a whole."""
    from phylocli.store import Store, describe

    for line in describe(Store(store), accessions):
        typer.echo(line)


@app.command("verify")
def verify(
    accessions: Accessions = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is damaged, so that fetch brings it anew.")] = False,
    store: StoreOption = None,
) -> None:
    """Check every checksum and read every record; ends with 65 where something is damaged."""
    from phylocli.store import Store, report_findings, verify_store

    report_findings(verify_store(Store(store), accessions or None, remove=remove), removed=remove)


@app.command("import")
def import_(
    sources: Annotated[
        list[str], typer.Argument(metavar="PATH|-", help="Stockholm, FASTA or A2M; folders of them; a Pfam release.")
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Write also families that the store has already.")] = False,
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="NAME", autocompletion=ALIGNERS.names, help="Aligner for unaligned families."),
    ] = "famsa",
    method: Annotated[str | None, typer.Option("--method", hidden=True)] = None,
    store: StoreOption = None,
) -> None:
    """Put families that are on disk already into the store.

    Stockholm may hold any number of records. Of FASTA and A2M files, each is one family, named by its file. A folder with
    Pfam-A.seed.gz is taken as a release.
    """
    from phylocli.align import align_families
    from phylocli.core import console
    from phylocli.fetch import import_families
    from phylocli.store import Store

    if method is not None:
        console.warning("--method is now called --engine; the old name will be removed")
        engine = method
    target = Store(store)
    count = import_families(
        sources,
        target,
        align=lambda family: next(align_families([family], engine=engine)),
        replace_existing=replace,
    )
    console.info(f"{count:,} famil{'y' if count == 1 else 'ies'} imported into {target.root}")


@app.command("export")
def export(
    accessions: Accessions = None,
    clan: Clan = None,
    output: Output = None,
    format: Annotated[
        str, typer.Option("--format", metavar="stockholm|fasta", help="Records as they are, or sequences without gaps.")
    ] = "stockholm",
    store: StoreOption = None,
) -> None:
    """Write families of the store to a file or pipe."""
    from phylocli.store import Store, export_families

    export_families(Store(store), output, accessions=accessions, clans=clan, format=format)


@app.command("rm")
def remove(
    accessions: Accessions = None,
    clan: Clan = None,
    release: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--release", metavar="38.2", help="The files of this Pfam release; its families stay."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every family.")] = False,
    store: StoreOption = None,
) -> None:
    """Remove families with their profiles and provenance, or the files of a release."""
    from phylocli.store import Store, remove_families

    remove_families(Store(store), accessions=accessions, clans=clan, release=release, all_=all_)
