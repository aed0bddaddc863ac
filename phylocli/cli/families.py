"""Group unlabelled sequences into homologous families."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import Input, Output
from phylocli.config.families import FamiliesConfig

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli families proteins.fasta -o families.sto --members members.tsv",
    "phylocli families proteins.fasta --min-size 10 --store mine | phylocli tree | phylocli pairs > pairs.tsv",
    "phylocli families proteins.fasta.gz --evalue 1e-5 --coverage 0.8 -o strict.sto",
    "phylocli families proteins.fasta --engine mmseqs -o clusters.sto",
]


def command(
    config: FamiliesConfig,
    input: Input = None,
    output: Output = None,
    members: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Table of members: id, from, to, family, score, evalue, name, group (TSV, Parquet, …)."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write each family to this store, for --family and --all of other stages."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace families with this prefix that are already in the store.")
    ] = False,
) -> None:
    """Group unlabelled sequences into homologous families.

    Writes one aligned Stockholm record per family, largest first: FAM00001, FAM00002, …. Families consist of domains: a
    protein may be in several, with a different part in each, named id/from-to. The same sequences give the same families,
    regardless of their order and the number of threads.
    """
    from phylocli.families import find_families
    from phylocli.families.write import check_store, write_members, write_records
    from phylocli.formats import read_sequences

    if store is not None and not replace:
        check_store(store, input, config)
    with find_families(read_sequences(input, on_duplicate=config.on_duplicate, genetic_code=config.code), config) as found:
        write_records(found, output, store, config, replace=replace)
        if members is not None:
            write_members(found, members, config)
        logger.info(found.summary())
