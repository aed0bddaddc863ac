"""Write a matrix of distances: patristic, evolutionary, or between embeddings."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, OfflineOption, Output, StoreOption
from phylocli.config.distances import DistancesConfig

EXAMPLES = [
    "phylocli distances tree.sto > patristic.tsv",
    "phylocli distances aligned.fasta --metric evolutionary -o distances.phy",
    "phylocli distances emb.parquet -o cosine.parquet",
]


def command(
    config: DistancesConfig,
    input: Annotated[
        str | None,
        typer.Argument(metavar="INPUT|-", help="Families, aligned or with trees, Newick, or a table of embeddings."),
    ] = None,
    output: Output = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="tsv|phylip|csv|parquet|arrow", help="By default from the suffix (.phy: PHYLIP), else TSV."
        ),
    ] = None,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_: AllOption = False,
    store: StoreOption = None,
    offline: OfflineOption = False,
) -> None:
    """Write the distances between the members of a family, or between embeddings.

    TSV and PHYLIP are a square matrix, of one family; CSV, Parquet and Arrow have one row per pair (family, id_a, id_b,
    distance), of any number of families. Patristic and evolutionary distances are in expected substitutions per site.
    """
    from phylocli.formats.provenance import write_sidecar
    from phylocli.workflow.distances import distances, distances_format, write_distances
    from phylocli.workflow.source import Stage, families

    chosen = distances_format(output, format)
    named = bool(family or clan or all_)
    upto: Stage = "fetch" if config.metric == "evolutionary" else "tree"
    source = (
        families(input, family=family, clan=clan, all_=all_, store=store, upto=upto, offline=offline) if named else input
    )
    write_distances(distances(source, config), output, chosen)
    write_sidecar(output, "distances", config.to_parameters())
