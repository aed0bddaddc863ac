"""Get protein families from Pfam and InterPro, verified, into the store and the pipe."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import Output, StoreOption
from phylocli.errors import UsageError

EXAMPLES = [
    "phylocli fetch PF00042 | phylocli align | phylocli tree > globins.sto",
    "phylocli fetch PF00042.27 PF00076 --profile -o families.sto.gz",
    "phylocli fetch --clan CL0090 --alignment full --store ./store",
    "phylocli fetch --all --release 38.2 --store ./pfam",
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
    release: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--release", metavar="38.2|current", help="Take them from this Pfam release's files: the way to many families."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="The whole of Pfam, with profiles; can be interrupted.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is in the store; say what is missing.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch anew what is in the store.")] = False,
    base_url: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--base-url", metavar="URL", help="Another address of the service, for example a mirror."),
    ] = None,
) -> None:
    """Get protein families from Pfam and InterPro, verified, into the store and the pipe.

    Every family is kept in the store, and is not fetched again unless --refresh. Without -o, records go to standard output
    when that is a pipe or a file; those of --all only to the store.
    """
    from phylocli.fetch import fetch_families, fetch_release, read_list, write_fetched, write_release
    from phylocli.store import Store

    if all_:
        if accessions or clan or from_file:
            raise UsageError("--all and names of families exclude each other", fix="leave out one of them")
        whole = Store(store)
        came = fetch_release(
            release or "current",
            store=whole,
            alignment=alignment,
            offline=offline,
            refresh=refresh,
            base_url=base_url,
        )
        write_release(came, whole, output, {"all": True, "alignment": alignment, "release": came.release})
        return
    named = [*(accessions or []), *(read_list(from_file) if from_file else [])]
    families = fetch_families(
        named,
        clans=clan or [],
        store=Store(store),
        alignment=alignment,
        profile=profile,
        release=release,
        offline=offline,
        refresh=refresh,
        base_url=base_url,
    )
    write_fetched(families, output, {"accessions": named, "clans": clan or [], "alignment": alignment, "release": release})
