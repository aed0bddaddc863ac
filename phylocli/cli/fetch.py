"""Get families from Pfam and InterPro into the store, or proteins from UniProt; verified and resumable."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import Output, StoreOption

EXAMPLES = [
    "phylocli fetch PF00042 | phylocli align | phylocli tree > globins.sto",
    "phylocli fetch PF00042.27 PF00076 --profile -o families.sto.gz",
    "phylocli fetch --clan CL0090 --alignment full --store ./store",
    "phylocli fetch --all --release 38.2 --store ./pfam",
    "phylocli fetch --from-file accessions.txt --offline -o families.sto",
    "phylocli fetch --uniprot 'ec:1.1.1.* AND reviewed:true' --annotations labels.tsv -o enzymes.fasta",
]
NO_ARGS_IS_HELP = True


def command(
    accessions: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="PF00042", help="Pfam accessions; a version (PF00042.27) is compared with what comes."),
    ] = None,
    clan: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--clan", metavar="CL", help="All families of this clan; may be repeated."),
    ] = None,
    from_file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from-file", metavar="FILE|-", help="Accessions from a file, one a line."),
    ] = None,
    members: Annotated[
        bool, typer.Option("--members", help="The families' domains in all of UniProt, unaligned, as FASTA.")
    ] = False,
    uniprot: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--uniprot", metavar="QUERY", help="Proteins of UniProt by its query language, as FASTA."),
    ] = None,
    uniprot_accessions: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--accessions", metavar="FILE|-", help="Proteins of UniProt by accession, one a line, as FASTA."),
    ] = None,
    annotations: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--annotations", metavar="FILE", help="With those: a table of labels (EC, GO, organism, Pfam)."),
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
    """Get families from Pfam and InterPro into the store, or proteins from UniProt; verified and resumable.

    Every family is kept in the store, and is not fetched again unless --refresh.
    Without -o, records go to standard output when that is a pipe or a file; those of --all only to the store.
    """
    from phylocli.fetch import Request, fetch

    fetch(
        Request(
            accessions=accessions or [],
            clans=clan or [],
            from_file=from_file,
            members=members,
            query=uniprot,
            proteins=uniprot_accessions,
            annotations=annotations,
            everything=all_,
            alignment=alignment,
            profile=profile,
            release=release,
        ),
        output,
        store=store,
        offline=offline,
        refresh=refresh,
        base_url=base_url,
    )
