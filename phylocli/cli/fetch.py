"""Get families from Pfam and InterPro into the store, or proteins from UniProt; verified and resumable."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import ClanOption, Output, StoreOption, family_names
from phylocli.config.fetch import FetchConfig

EXAMPLES = [
    "phylocli fetch PF00042 | phylocli align | phylocli tree > globins.sto",
    "phylocli fetch globin",
    "phylocli fetch IPR000971 P68871 'EGF-like domain' -o families.sto",
    "phylocli fetch PF00042.27 PF00076 --profile -o families.sto.gz",
    "phylocli fetch --clan CL0090 --alignment full --store ./store",
    "phylocli fetch --all --release 38.2 --store ./pfam",
    "phylocli fetch --from-file accessions.txt --offline -o families.sto",
    "phylocli fetch --uniprot 'ec:1.1.1.* AND reviewed:true' --annotations labels.tsv -o enzymes.fasta",
]
NO_ARGS_IS_HELP = True


def command(
    config: FetchConfig,
    accessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FAMILY",
            help="Pfam accession (PF00042, PF00042.27), name (globin), clan, or an accession of InterPro, CDD, PANTHER, "
            "PROSITE or UniProt, for its Pfam families.",
            autocompletion=family_names,
        ),
    ] = None,
    clan: ClanOption = None,
    all_: Annotated[bool, typer.Option("--all", help="All of Pfam, with profiles; resumable.")] = False,
    from_file: Annotated[
        str | None, typer.Option("--from-file", metavar="FILE|-", help="Accessions from a file, one per line.")
    ] = None,
    members: Annotated[
        bool, typer.Option("--members", help="The families' domains in all of UniProt, unaligned, as FASTA.")
    ] = False,
    uniprot: Annotated[
        str | None, typer.Option("--uniprot", metavar="QUERY", help="Proteins of UniProt by its query language, as FASTA.")
    ] = None,
    uniprot_accessions: Annotated[
        str | None,
        typer.Option("--accessions", metavar="FILE|-", help="Proteins of UniProt by accession, one per line, as FASTA."),
    ] = None,
    annotations: Annotated[
        str | None,
        typer.Option("--annotations", metavar="FILE", help="With those: a table of labels (EC, GO, organism, Pfam)."),
    ] = None,
    output: Output = None,
    store: StoreOption = None,
) -> None:
    """Get families from Pfam and InterPro into the store, or proteins from UniProt; verified and resumable.

    A name must be that of exactly one family; otherwise the families that contain it in their names are listed. Families are
    kept in the store, and are not downloaded again without --refresh. Without -o, records go to standard output if that is a
    pipe or a file; those of --all go to the store only.
    """
    from phylocli.fetch import Request, fetch

    request = Request(
        accessions=accessions or [],
        clans=clan or [],
        from_file=from_file,
        members=members,
        query=uniprot,
        proteins=uniprot_accessions,
        annotations=annotations,
        everything=all_,
    )
    fetch(request, output, config, store=store)
