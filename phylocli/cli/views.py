"""Show pairs of views of families, with their distance and identity."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, OfflineOption, Output, Seed, StoreOption, view_names

EXAMPLES = [
    "phylocli views",
    "phylocli views phylogenetic families.sto -n 3 --set min_dist=0.5 --set max_dist=1.5",
    "phylocli views phylogenetic+crop families.sto --set crop.min_fraction=0.3 -o views.parquet",
    "phylocli views reverse-complement+flank sites.fasta --alphabet dna --set flank.context=50",
]


def command(
    name: Annotated[
        Optional[str],  # noqa: UP045  typer reads it
        typer.Argument(
            metavar="[NAME]",
            help="A view, or several joined by '+'; without it all views are listed.",
            autocompletion=view_names,
        ),
    ] = None,
    input: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="[INPUT|-]", help="Families to sample from; '-' or nothing is standard input."),
    ] = None,
    output: Output = None,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_families: AllOption = False,
    offline: OfflineOption = False,
    store: StoreOption = None,
    number: Annotated[int, typer.Option("-n", "--number", metavar="N", help="Pairs of each family.")] = 3,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="[VIEW.]KEY=VALUE", help="A parameter of a view; may be repeated."),
    ] = None,
    alphabet: Annotated[str, typer.Option(metavar="protein|dna", help="Alphabet of the sequences.")] = "protein",
    seed: Seed = 0,
    format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--format", metavar="tsv|csv|parquet|arrow", help="Table format; by default by the suffix, else TSV."),
    ] = None,
) -> None:
    """Show pairs of views of families, with their distance and identity.

    Without a name, lists the views with their parameters and distances. The columns: family, view, distance (expected
    substitutions per site, NaN if undefined), identity (in a global alignment), view_a, view_b.
    """
    from phylocli.formats.streams import open_text_output
    from phylocli.formats.tables import TableWriter, parse_format
    from phylocli.views import build
    from phylocli.views.base.preview import draw_views, listing, parse_settings, views_schema
    from phylocli.workflow.source import families

    if name is None:
        with open_text_output(output) as stream:
            stream.write("view\tkind\tparameters\tdistance\talphabets\tsummary\n" + "\n".join(listing()) + "\n")
        return
    table_format = parse_format(format, output)
    composed = build(name, parse_settings(settings or [], name), alphabet)
    source = families(input, family=family, clan=clan, all_=all_families, store=store, offline=offline, upto="tree")
    with TableWriter(output, views_schema(), table_format) as writer:
        for frame in draw_views(source, composed, number, seed):
            writer.write(frame)
