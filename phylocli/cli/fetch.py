"""Get protein families from Pfam and InterPro, verified, into the store and the pipe."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import Output, StoreOption

EXAMPLES = [
    "phylocli fetch PF00042 | phylocli align | phylocli tree > globins.sto",
    "phylocli fetch PF00042.27 PF00076 --profile -o families.sto.gz",
    "phylocli fetch --clan CL0090 --alignment full --store ./store",
    "phylocli fetch --from-file accessions.txt --offline -o families.sto",
]
NO_ARGS_IS_HELP = True


def command(
    accessions: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[PF00042 ...]", help="Pfam accessions; a version (PF00042.27) is compared with what comes."),
    ] = None,
    clan: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--clan", metavar="CL", help="All families of this clan; may be repeated."),
    ] = None,
    from_file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from-file", metavar="FILE|-", help="Accessions from a file, one a line."),
    ] = None,
    output: Output = None,
    store: StoreOption = None,
    alignment: Annotated[str, typer.Option(metavar="seed|full", help="Which of the family's alignments.")] = "seed",
    profile: Annotated[bool, typer.Option("--profile", help="Keep each family's HMM in the store too.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is in the store; say what is missing.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch anew what is in the store.")] = False,
    base_url: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--base-url", metavar="URL", help="Another address of the service, for example a mirror."),
    ] = None,
) -> None:
    """Get protein families from Pfam and InterPro, verified, into the store and the pipe.

    Every family is kept in the store, and is not fetched again unless --refresh. Without -o, records go to standard output
    when that is a pipe or a file.
    """
    from phylocli.fetch import fetch_families, read_list, write_fetched
    from phylocli.store import Store

    named = [*(accessions or []), *(read_list(from_file) if from_file else [])]
    families = fetch_families(
        named,
        clans=clan or [],
        store=Store(store),
        alignment=alignment,
        profile=profile,
        offline=offline,
        refresh=refresh,
        base_url=base_url,
    )
    write_fetched(families, output, {"accessions": named, "clans": clan or [], "alignment": alignment})
