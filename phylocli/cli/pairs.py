"""Draw homolog pairs whose distance in the family's tree lies in a band."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, Input, Output, Seed, StoreOption

EXAMPLES = [
    "phylocli pairs families.sto --min-dist 0.5 --max-dist 1.5 -n 100000 -o pairs.parquet",
    "phylocli fetch PF00042 | phylocli align | phylocli tree | phylocli pairs --min-dist 0.5 > pairs.tsv",
    "phylocli pairs --clan CL0090 --weighting per-family -n 5000 -o pairs.tsv.gz",
]


def command(
    input: Input = None,
    output: Output = None,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_families: AllOption = False,
    store: StoreOption = None,
    min_dist: Annotated[
        float, typer.Option("--min-dist", metavar="X", help="Least distance, expected substitutions per site.")
    ] = 0.0,
    max_dist: Annotated[
        float, typer.Option("--max-dist", metavar="Y", help="Largest distance, expected substitutions per site.")
    ] = float("inf"),
    number: Annotated[
        Optional[int],  # noqa: UP045  typer reads it
        typer.Option("-n", "--number", metavar="N", help="How many pairs in total; without it every pair of the band."),
    ] = None,
    weighting: Annotated[
        str,
        typer.Option(
            metavar="LAW",
            help="uniform: every pair of the band equally likely, over all families; per-family: as many of each family.",
        ),
    ] = "uniform",
    replace: Annotated[bool, typer.Option("--replace", help="A pair may be drawn again.")] = False,
    seed: Seed = 0,
    format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--format", metavar="tsv|csv|parquet|arrow", help="Table format; otherwise as the suffix says, else TSV."
        ),
    ] = None,
) -> None:
    """Draw homolog pairs whose distance in the family's tree lies in a band.

    Reads Stockholm records that carry trees (from 'phylocli tree'), or works on the store with --family, --clan or --all.
    Writes a table: family, clan, id_a, id_b, distance (patristic, expected substitutions per site), seq_a, seq_b. Without
    replacement, exactly uniform over all pairs of the band, both ends included.
    """
    from phylocli.formats.provenance import write_sidecar
    from phylocli.formats.tables import TableWriter, pairs_schema, parse_format
    from phylocli.pairs import draw_pairs
    from phylocli.workflow.source import families

    table_format = parse_format(format)
    source = families(input, family=family, clan=clan, all_=all_families, store=store, upto="tree")
    parameters = {"min_dist": min_dist, "max_dist": max_dist, "n": number, "weighting": weighting, "replace": replace}
    with TableWriter(output, pairs_schema(), table_format) as writer:
        for frame in draw_pairs(
            source, min_dist=min_dist, max_dist=max_dist, n=number, seed=seed, weighting=weighting, replace=replace
        ):
            writer.write(frame)
    write_sidecar(output, "pairs", parameters, seed)
