"""Simulate families whose tree, alignment and site rates are known."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from phylocli.cli._options import Output
from phylocli.config.simulate import SimulateConfig

EXAMPLES = [
    "phylocli simulate -n 20 --tips 50 --indels 0.02 -o truth.sto",
    "phylocli simulate --tips 200 --relaxed 0.5 | phylocli tree | phylocli pairs --min-dist 0.5 > pairs.tsv",
    "phylocli simulate --process coalescent --growth 10 --alpha 0.5 --motifs 3 --sites sites.tsv -o truth.sto",
    "phylocli simulate --tree PF00042.nwk --frequencies globins.fasta --format fasta > sequences.fasta",
]


def command(
    config: SimulateConfig,
    output: Output = None,
    format: Annotated[
        Literal["stockholm", "fasta", "newick"] | None,
        typer.Option(
            "--format",
            metavar="stockholm|fasta|newick",
            help="True alignment with the true tree, sequences without gaps, or trees; by default by the suffix.",
        ),
    ] = None,
    sites: Annotated[
        str | None,
        typer.Option("--sites", metavar="FILE", help="Table of the truth for each column: rate, motif, ancestral."),
    ] = None,
) -> None:
    """Simulate families whose tree, alignment and site rates are known.

    Generates a tree for each family and evolves sequences along it. Writes Stockholm: the true alignment with the true tree,
    and the truth for each column in #=GC lines.
    """
    from phylocli.simulate import write_simulated

    write_simulated(config, output, format=format, sites=sites)
