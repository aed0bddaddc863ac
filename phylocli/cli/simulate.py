"""Simulate families whose tree, alignment and site rates are known."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import Output, Seed

EXAMPLES = [
    "phylocli simulate --families 20 --tips 50 --indels 0.02 -o truth.sto",
    "phylocli simulate --tips 200 --relaxed 0.5 | phylocli tree | phylocli pairs --min-dist 0.5 > pairs.tsv",
    "phylocli simulate --process coalescent --growth 10 --alpha 0.5 --motifs 3 --sites sites.tsv -o truth.sto",
    "phylocli simulate --tree PF00042.nwk --frequencies globins.fasta --format fasta > sequences.fasta",
]

TREE, SITES, EVENTS = "The tree", "Substitutions", "Insertions and deletions"
Text = Optional[str]  # noqa: UP045  typer reads it
Number = Optional[float]  # noqa: UP045


def command(
    output: Output = None,
    number: Annotated[int, typer.Option("--families", "-n", metavar="N", help="How many families.")] = 1,
    length: Annotated[
        str, typer.Option(metavar="L|A:B", help="Residues at the root; a range draws for each family.")
    ] = "200",
    seed: Seed = 0,
    format: Annotated[
        str,
        typer.Option(
            "--format", metavar="stockholm|fasta|newick", help="True alignment and tree, sequences without gaps, or trees."
        ),
    ] = "stockholm",
    sites: Annotated[
        Text, typer.Option("--sites", metavar="FILE", help="Write what is true of each column: rate, motif, ancestral.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="WORD", help="Accessions are this and a number.")] = "SIM",
    process: Annotated[
        str, typer.Option(metavar="birth-death|coalescent", help="How trees come about.", rich_help_panel=TREE)
    ] = "birth-death",
    tips: Annotated[
        str, typer.Option(metavar="N|A:B", help="Members; a range draws for each family.", rich_help_panel=TREE)
    ] = "50",
    speciation: Annotated[
        float, typer.Option(metavar="X", help="Birth–death: splits per lineage and unit of time.", rich_help_panel=TREE)
    ] = 1.0,
    extinction: Annotated[
        float, typer.Option(metavar="X", help="Birth–death: deaths per lineage and unit of time.", rich_help_panel=TREE)
    ] = 0.0,
    sampling: Annotated[
        float, typer.Option(metavar="P", help="Birth–death: share of the survivors that is sampled.", rich_help_panel=TREE)
    ] = 1.0,
    growth: Annotated[
        float,
        typer.Option(metavar="X", help="Coalescent: rate of exponential growth per N generations.", rich_help_panel=TREE),
    ] = 0.0,
    relaxed: Annotated[
        float,
        typer.Option(
            metavar="SD",
            help="Spread of the branches' rates (standard deviation of the logarithm); 0 is a strict clock.",
            rich_help_panel=TREE,
        ),
    ] = 0.0,
    tree: Annotated[
        Text,
        typer.Option("--tree", metavar="FILE", help="Evolve along these Newick trees instead.", rich_help_panel=TREE),
    ] = None,
    mean_distance: Annotated[
        Number,
        typer.Option(
            metavar="X",
            help="Mean distance of two members, substitutions per site; 0 keeps the tree's own lengths. Default: 1, and for "
            "--tree 0.",
            rich_help_panel=TREE,
        ),
    ] = None,
    height: Annotated[
        Number,
        typer.Option(metavar="X", help="Instead: mean path from the root to a member.", rich_help_panel=TREE),
    ] = None,
    model: Annotated[str, typer.Option(metavar="lg|wag|jtt|poisson", help="Exchanges.", rich_help_panel=SITES)] = "lg",
    frequencies: Annotated[
        str,
        typer.Option(
            metavar="model|equal|FILE",
            help="In equilibrium: the model's, or those of a sequence file.",
            rich_help_panel=SITES,
        ),
    ] = "model",
    alpha: Annotated[
        float, typer.Option(metavar="X", help="Shape of Γ-distributed site rates; inf: equal rates.", rich_help_panel=SITES)
    ] = 1.0,
    categories: Annotated[int, typer.Option(metavar="K", help="Classes of Γ; 0: continuous.", rich_help_panel=SITES)] = 0,
    invariant: Annotated[
        float, typer.Option(metavar="P", help="Share of sites that never change.", rich_help_panel=SITES)
    ] = 0.0,
    motifs: Annotated[
        int, typer.Option(metavar="N", help="Conserved blocks, never cut by indels.", rich_help_panel=SITES)
    ] = 0,
    motif_length: Annotated[int, typer.Option(metavar="L", help="Residues of a motif.", rich_help_panel=SITES)] = 10,
    motif_rate: Annotated[
        float, typer.Option(metavar="X", help="Rate in motifs, relative to other sites.", rich_help_panel=SITES)
    ] = 0.05,
    indels: Annotated[
        float,
        typer.Option(metavar="X", help="Insertions and deletions per substitution, half of each.", rich_help_panel=EVENTS),
    ] = 0.02,
    insertions: Annotated[
        Number,
        typer.Option(metavar="X", help="Insertions per substitution, in place of half of --indels.", rich_help_panel=EVENTS),
    ] = None,
    deletions: Annotated[
        Number,
        typer.Option(metavar="X", help="Deletions per substitution, in place of half of --indels.", rich_help_panel=EVENTS),
    ] = None,
    indel_lengths: Annotated[
        str,
        typer.Option(metavar="power:EXPONENT|geometric:MEAN", help="Law of their lengths.", rich_help_panel=EVENTS),
    ] = "power:1.7",
    max_indel: Annotated[int, typer.Option(metavar="L", help="Longest, in residues.", rich_help_panel=EVENTS)] = 50,
) -> None:
    """Simulate families whose tree, alignment and site rates are known.

    Draws a tree for each family and lets sequences evolve along it. Writes Stockholm: the true alignment with the true tree,
    and what is true of each column as #=GC lines.
    """
    from phylocli.simulate import IndelModel, Motifs, RateModel, Settings, TreeModel, write_simulated
    from phylocli.simulate.settings import parse_amount, parse_law, read_frequencies, read_trees

    given = read_trees(tree) if tree is not None else ()
    law, parameter = parse_law(indel_lengths)
    settings = Settings(
        tree=TreeModel.of_options(
            process=process,
            tips=parse_amount(tips, "members"),
            speciation=speciation,
            extinction=extinction,
            sampling=sampling,
            growth=growth,
            relaxed=relaxed,
            height=height,
            mean_distance=mean_distance,
            given=given,
        ),
        length=parse_amount(length, "residues"),
        model=model,
        frequencies=read_frequencies(frequencies),
        rates=RateModel(alpha, categories, invariant),
        motifs=Motifs(motifs, motif_length, motif_rate),
        indels=IndelModel(
            indels / 2 if insertions is None else insertions,
            indels / 2 if deletions is None else deletions,
            law,
            parameter,
            max_indel,
        ),
    )
    write_simulated(settings, output, n=number, seed=seed, format=format, sites=sites, prefix=prefix)
