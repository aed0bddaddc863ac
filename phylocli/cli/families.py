"""Group unlabelled sequences into homologous families."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from phylocli.cli._options import Input, OnDuplicateOption, Output, Threads

EXAMPLES = [
    "phylocli families proteins.fasta -o families.sto --members members.tsv",
    "phylocli families proteins.fasta --min-size 10 --store mine | phylocli tree | phylocli pairs > pairs.tsv",
    "phylocli families proteins.fasta.gz --evalue 1e-5 --coverage 0.8 -o strict.sto",
    "phylocli families proteins.fasta --engine mmseqs -o clusters.sto",
]


def command(
    input: Input = None,
    output: Output = None,
    members: Annotated[
        Optional[str],  # noqa: UP045  typer reads it
        typer.Option(metavar="FILE", help="Table of members: id, from, to, family, score, evalue, name (TSV, Parquet, …)."),
    ] = None,
    store: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="DIR", help="Put every family into this store as well, for --family and --all of other stages."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the families that the store has under this prefix already.")
    ] = False,
    engine: Annotated[
        str, typer.Option(metavar="profile|mmseqs", help="Domains by profile search, or whole sequences by MMseqs2.")
    ] = "profile",
    evalue: Annotated[float, typer.Option(metavar="E", help="Highest E-value of a member.")] = 1e-3,
    coverage: Annotated[
        float, typer.Option(metavar="X", help="Smallest part of the family's profile that a member covers, above 0.5.")
    ] = 0.6,
    min_size: Annotated[int, typer.Option(metavar="N", help="Smallest family that is kept.")] = 2,
    min_length: Annotated[
        int, typer.Option(metavar="N", help="Shortest stretch in residues that is tried as a domain of its own.")
    ] = 30,
    singletons: Annotated[
        str, typer.Option(metavar="keep|drop", help="Whether the table of members lists sequences without a family.")
    ] = "keep",
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="What accessions start with.")] = "FAM",
    on_duplicate: OnDuplicateOption = "error",
    threads: Threads = 0,
) -> None:
    """Group unlabelled sequences into homologous families.

    Reads FASTA or Stockholm, writes one aligned Stockholm record a family, largest first: FAM00001, FAM00002, …. Families
    are of domains: a protein may be in several, each time with a part of it, named id/from-to. The same sequences give the
    same families, whatever their order and the number of threads.
    """
    from phylocli.core import console
    from phylocli.core.errors import UsageError
    from phylocli.families import find_families
    from phylocli.families.write import check_store, write_members, write_records
    from phylocli.formats import read_sequences
    from phylocli.formats.sequences.fasta import parse_on_duplicate

    if singletons not in ("keep", "drop"):
        raise UsageError(f"--singletons is keep or drop, not {singletons!r}")
    parameters: dict[str, object] = {
        **{"engine": engine, "evalue": evalue, "coverage": coverage, "min_size": min_size, "min_length": min_length},
        **{"prefix": prefix, "on_duplicate": on_duplicate},
    }
    if store is not None and not replace:
        check_store(store, prefix, input, parameters)
    with find_families(
        read_sequences(input, on_duplicate=parse_on_duplicate(on_duplicate)),
        engine=engine,
        evalue=evalue,
        coverage=coverage,
        min_size=min_size,
        min_length=min_length,
        prefix=prefix,
        threads=threads,
    ) as found:
        write_records(found, output, store, parameters, prefix=prefix if replace else None)
        if members is not None:
            write_members(found, members, parameters, singletons=singletons == "keep")
        console.info(found.summary())
