"""Compare two trees: Robinson–Foulds distance, quartets, patristic distances."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import Output, TableFormatOption
from phylocli.config.compare import CompareConfig

EXAMPLES = [
    "phylocli compare trees mine.nwk reference.nwk",
    "phylocli compare trees inferred.sto truth.sto -o distances.tsv",
    "phylocli compare trees species.nwk gene_trees.nwk",
]

app = typer.Typer()


@app.command("trees")
def trees(
    config: CompareConfig,
    a: Annotated[str, typer.Argument(metavar="A", help="Trees: Newick, NEXUS, or Stockholm records with trees.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The trees to compare them with.")],
    output: Output = None,
    format: TableFormatOption = None,
) -> None:
    """Compare trees pair by pair: Robinson–Foulds (by ete3), quartets, and the correlation of patristic distances.

    Roots are ignored. Records are paired by accession, other trees by their order; one tree is compared with each of the
    other file's. Tips that only one of the two trees has are pruned first.
    """
    from phylocli.formats.tables import parse_format, trees_schema, write_table
    from phylocli.tree import compare_trees

    table_format = parse_format(format, output)
    write_table(compare_trees(a, b, config), output, trees_schema(), table_format)
