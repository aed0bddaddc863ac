"""Draw homolog pairs whose distance in the family's tree lies in a band."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, Input, Output, Seed, StoreOption

EXAMPLES = [
    "phylocli pairs families.sto --min-dist 0.5 --max-dist 1.5 -n 100000 -o pairs.parquet",
    "phylocli fetch PF00042 | phylocli align | phylocli tree | phylocli pairs --min-dist 0.5 > pairs.tsv",
    "phylocli pairs families.sto --stats --min-dist 0.5",
    "phylocli pairs families.sto --bins 0:0.2,0.2:0.5,0.5:1,1:2 -n 8000 --holdout clans -o pairs.parquet",
    "phylocli pairs families.sto --hard-negatives profile -o negatives.tsv",
]

BAND, DRAWING, LIMITS = "The band", "Drawing", "Limits"


def command(
    input: Input = None,
    output: Output = None,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_families: AllOption = False,
    store: StoreOption = None,
    min_dist: Annotated[
        float, typer.Option("--min-dist", metavar="X", help="Least distance, in --unit.", rich_help_panel=BAND)
    ] = 0.0,
    max_dist: Annotated[
        float, typer.Option("--max-dist", metavar="Y", help="Largest distance, in --unit.", rich_help_panel=BAND)
    ] = float("inf"),
    bins: Annotated[
        Optional[str],  # noqa: UP045  typer reads it
        typer.Option(metavar="A:B,B:C,…", help="Several bands that give equally many pairs.", rich_help_panel=BAND),
    ] = None,
    quantiles: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="A:B", help="Between these quantiles of each family's own distances (0.25:0.75).", rich_help_panel=BAND
        ),
    ] = None,
    unit: Annotated[
        str,
        typer.Option(
            metavar="substitutions|relative",
            help="Expected substitutions per site, or relative: 1 is the family's median pair distance.",
            rich_help_panel=BAND,
        ),
    ] = "substitutions",
    number: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "-n",
            "--number",
            metavar="N",
            help="How many pairs, over all families; without it every pair of the band, once.",
            rich_help_panel=DRAWING,
        ),
    ] = None,
    weighting: Annotated[
        str,
        typer.Option(
            metavar="uniform|per-sequence|per-family|log-distance",
            help="What is equally likely: each pair; each sequence, then each of its partners; each family; each distance "
            "on a logarithmic scale.",
            rich_help_panel=DRAWING,
        ),
    ] = "uniform",
    replace: Annotated[bool, typer.Option("--replace", help="A pair may be drawn again.", rich_help_panel=DRAWING)] = False,
    seed: Seed = 0,
    max_per_sequence: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="K", help="A sequence takes part in at most K pairs.", rich_help_panel=LIMITS),
    ] = None,
    max_per_ancestor: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="K",
            help="At most K pairs meet at one node of the tree (uniform pairs mostly meet at the deepest ones).",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    min_identity: Annotated[
        float, typer.Option(metavar="P", help="Least share of equal residues, 0 to 1.", rich_help_panel=LIMITS)
    ] = 0.0,
    max_identity: Annotated[
        float, typer.Option(metavar="P", help="Largest share of equal residues, 0 to 1.", rich_help_panel=LIMITS)
    ] = 1.0,
    min_coverage: Annotated[
        float,
        typer.Option(
            metavar="P", help="Least share of columns in which both have a residue, 0 to 1.", rich_help_panel=LIMITS
        ),
    ] = 0.0,
    alphabet: Annotated[
        str, typer.Option(metavar="protein|dna", help="What rows are compared as.", rich_help_panel=LIMITS)
    ] = "protein",
    stats: Annotated[
        bool, typer.Option("--stats", help="Describe the distances instead of drawing: bars, and JSON where it is piped.")
    ] = False,
    holdout: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="families|clans|clades",
            help="Write train, validation and test tables that share no family, no clan or no clade.",
        ),
    ] = None,
    fractions: Annotated[
        str, typer.Option(metavar="TRAIN,VALIDATION,TEST", help="Shares of the parts of --holdout.")
    ] = "0.8,0.1,0.1",
    hard_negatives: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--hard-negatives",
            metavar="profile|TABLE|MODEL",
            help="Instead of pairs, list each family's nearest ones that are no relatives: by profile, of one group in a "
            "table (family, group), or by a model's embeddings. For 'train --set batch.hard_negatives=FILE'.",
        ),
    ] = None,
    negatives: Annotated[int, typer.Option("--negatives", metavar="K", help="Hard negatives of each family.")] = 5,
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
    from phylocli.formats.tables import parse_format
    from phylocli.pairs import Request, write_distributions, write_pairs, write_split
    from phylocli.pairs.request import parse_bins, parse_fractions, parse_range
    from phylocli.workflow.negatives import write_negatives
    from phylocli.workflow.source import families

    table_format = parse_format(format)
    request = Request(
        min_dist=min_dist,
        max_dist=max_dist,
        n=number,
        seed=seed,
        weighting=weighting,
        replace=replace,
        bins=parse_bins(bins),
        quantiles=parse_range(quantiles, "quantiles") if quantiles else None,
        unit=unit,
        max_per_sequence=max_per_sequence,
        max_per_ancestor=max_per_ancestor,
        min_identity=min_identity,
        max_identity=max_identity,
        min_coverage=min_coverage,
        alphabet=alphabet,
    )
    if hard_negatives is not None:
        # Trees have no part in it.
        source = families(input, family=family, clan=clan, all_=all_families, store=store, upto="fetch")
        write_negatives(source, output, hard_negatives, count=negatives, seed=seed, table_format=table_format)
        return
    source = families(input, family=family, clan=clan, all_=all_families, store=store, upto="tree")
    if stats:
        write_distributions(source, output, request)
    elif holdout:
        write_split(source, output, request, holdout, parse_fractions(fractions), table_format)
    else:
        write_pairs(source, output, request, table_format)
