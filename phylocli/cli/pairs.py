"""Sample homolog pairs by their distance in the family's tree."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import (
    AllOption,
    ClanOption,
    FamilyOption,
    Input,
    OfflineOption,
    Output,
    StoreOption,
    TableFormatOption,
)
from phylocli.config.pairs import PairsConfig
from phylocli.core.errors import UsageError

EXAMPLES = [
    "phylocli pairs families.sto --min-dist 0.5 --max-dist 1.5 -n 100000 -o pairs.parquet",
    "phylocli fetch PF00042 | phylocli align | phylocli tree | phylocli pairs --min-dist 0.5 > pairs.tsv",
    "phylocli pairs families.sto --stats --min-dist 0.5",
    "phylocli pairs families.sto --bins 0:0.2,0.2:0.5,0.5:1,1:2 -n 8000 --holdout clans -o pairs.parquet",
    "phylocli pairs families.sto --relation orthologs -n 10000 -o orthologs.parquet",
    "phylocli pairs families.sto --hard-negatives profile -o negatives.tsv",
    "phylocli pairs --all --jobs 4 --max-dist 1 -n 1000000 -o pairs.parquet",
]


def command(
    config: PairsConfig,
    input: Input = None,
    output: Output = None,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_families: AllOption = False,
    offline: OfflineOption = False,
    store: StoreOption = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Describe the distances instead: a histogram, and JSON in a pipe.")
    ] = False,
    format: TableFormatOption = None,
) -> None:
    """Sample homolog pairs by their distance in the family's tree.

    Reads Stockholm records with trees (from 'phylocli tree'), or works on the store with --family, --clan or --all. Writes a
    table: family, clan, id_a, id_b, distance (patristic, expected substitutions per site), relation, seq_a, seq_b. Without
    replacement, sampling is exactly uniform over all pairs of the band, both ends included. Trees that are missing in the
    store are inferred first, by --jobs processes or on a --cluster, and kept there.
    """
    from phylocli.formats.tables import parse_format
    from phylocli.pairs import write_distributions, write_pairs, write_split
    from phylocli.workflow.source import Stage, families

    table_format = parse_format(format, output)
    needed: Stage = "tree"
    if config.hard_negatives is not None:
        needed = "fetch"
        config = config.undivided(
            UsageError("--hard-negatives needs no trees, which --jobs and --cluster infer", fix="leave them out")
        )
    source = families(
        input,
        family=family,
        clan=clan,
        all_=all_families,
        store=store,
        offline=offline,
        upto=needed,
        parallel=config,
    )
    if config.hard_negatives is not None:
        from phylocli.workflow.negatives import write_negatives

        write_negatives(
            source, output, config.hard_negatives, count=config.negatives, seed=config.seed, table_format=table_format
        )
    elif stats:
        write_distributions(source, output, config)
    elif config.holdout is not None:
        write_split(source, output, config, table_format)
    else:
        write_pairs(source, output, config, table_format)
