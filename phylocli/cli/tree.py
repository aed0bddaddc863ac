"""Infer a phylogenetic tree for each family."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, Input, Output, Seed, StoreOption

EXAMPLES = [
    "phylocli tree families.sto -o trees.sto",
    "phylocli fetch PF00042 | phylocli align | phylocli tree --format newick > PF00042.nwk",
    "phylocli tree families.sto --engine veryfasttree --jobs 4 -o trees.sto.gz",
    "phylocli tree families.sto --support alrt --format newick -o trees.nwk",
    "phylocli tree alignment.fasta --tree mine.nwk --root minvar --draw tree.svg -o mine.sto",
]


def command(
    input: Input = None,
    output: Output = None,
    engine: Annotated[str, typer.Option(help="auto, bme, nj, veryfasttree or iqtree.", metavar="NAME")] = "auto",
    model: Annotated[
        str, typer.Option(help="lg, wag, jtt, poisson (all with Γ rates), kimura or p; auto with iqtree.", metavar="NAME")
    ] = "lg",
    alpha: Annotated[
        Optional[float],  # noqa: UP045  typer reads it
        typer.Option(
            min=0, help="Shape of Γ for distances (inf: equal rates); estimated for each family by default.", metavar="X"
        ),
    ] = None,
    tree: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--tree", help="Take this Newick tree instead of inferring one.", metavar="FILE"),
    ] = None,
    root: Annotated[str, typer.Option(help="midpoint, minvar or none.", metavar="HOW")] = "midpoint",
    outgroup: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Root above this member; may be repeated.", metavar="ID"),
    ] = None,
    columns: Annotated[str, typer.Option(help="match (match states only) or all.", metavar="WHICH")] = "match",
    min_coverage: Annotated[
        float,
        typer.Option(min=0, max=1, help="Leave out members with residues in a smaller share of the columns.", metavar="X"),
    ] = 0.0,
    min_overlap: Annotated[
        int,
        typer.Option(help="Columns that a pair must share for a distance of its own, but at most half of all.", metavar="N"),
    ] = 10,
    refine: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--refine/--no-refine",
            help="Branch lengths by likelihood; by default for engines on distances (bme, nj). With --tree, fit them anew.",
        ),
    ] = None,
    nni: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--nni/--no-nni",
            help="Nearest-neighbour interchanges by likelihood: thorough, or none; by default quick ones for bme and nj.",
        ),
    ] = None,
    support: Annotated[
        str,
        typer.Option(help="Of inner branches: none, abayes, alrt[=N] or bootstrap[=N] (N replicates).", metavar="HOW"),
    ] = "none",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Families at once; 0 takes all cores.", metavar="N")] = 1,
    timeout: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=0, help="Seconds that one family may take; one that takes longer fails, the others go on.", metavar="S"
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="stockholm (records with trees) or newick.", metavar="F")] = "stockholm",
    draw: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--draw", help="Draw each tree: .svg, .png, .pdf, or - for text in the terminal.", metavar="FILE|-"),
    ] = None,
    seed: Seed = 0,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_: AllOption = False,
    store: StoreOption = None,
) -> None:
    """Infer a phylogenetic tree for each family.

    Branch lengths are expected substitutions per site under LG with Γ-distributed site rates. Every record carries a note of
    the engine, model and parameters that made its tree. A family that fails does not stop the others: failures are listed at
    the end and the exit code says so.
    """
    from phylocli.core.errors import UsageError
    from phylocli.formats.failures import Failures
    from phylocli.tree.draw import check_target, drawn
    from phylocli.tree.infer import attach_trees, infer_trees
    from phylocli.tree.output import write_trees
    from phylocli.workflow.source import families

    named = bool(family or clan or all_)
    failures = Failures("got no tree")
    source = families(input, family=family, clan=clan, all_=all_, store=store, upto="fetch", on_failure=failures.add)
    if tree is not None:
        if nni:
            raise UsageError("a given tree keeps its topology", fix="leave out --tree or --nni")
        trees = attach_trees(
            source,
            tree,
            columns=columns,
            min_coverage=min_coverage,
            root=root,
            outgroup=outgroup or (),
            refine=bool(refine),
            support=support,
            model=model,
            alpha=alpha,
            failures=failures,
        )
    else:
        trees = infer_trees(
            source,
            engine=engine,
            model=model,
            alpha=alpha,
            min_overlap=min_overlap,
            min_coverage=min_coverage,
            columns=columns,
            root=root,
            outgroup=outgroup or (),
            refine=refine,
            nni=nni,
            support=support,
            jobs=jobs,
            seed=seed,
            timeout=timeout,
            failures=failures,
        )
    if draw is not None:
        check_target(draw)
        trees = drawn(trees, draw, text_to_stdout=output not in (None, "-"))
    write_trees(failures.unless_all(trees), output, format=format, store=store, to_store=named and output is None, seed=seed)
    failures.raise_if_any()
