"""Infer a phylogenetic tree for each family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, Input, OfflineOption, Output, StoreOption
from phylocli.config.tree import TreeConfig
from phylocli.formats.streams.recording import InputRecord

EXAMPLES = [
    "phylocli tree families.sto -o trees.sto",
    "phylocli fetch PF00042 | phylocli align | phylocli tree --format newick > PF00042.nwk",
    "phylocli tree families.sto --engine veryfasttree --jobs 4 -o trees.sto.gz",
    "phylocli tree families.sto --support alrt --format newick -o trees.nwk",
    "phylocli tree alignment.fasta --tree mine.nwk --root minvar --draw tree.svg -o mine.sto",
]


def command(
    config: TreeConfig,
    input: Input = None,
    output: Output = None,
    tree: Annotated[
        Path | None, typer.Option("--tree", help="Take these Newick trees instead of inferring any.", metavar="FILE")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="Records with trees, or only trees; by default by the suffix.", metavar="stockholm|newick"),
    ] = None,
    draw: Annotated[
        list[str] | None,
        typer.Option(help="Draw each tree: .svg, .png, .pdf, or - for text. Repeatable.", metavar="FILE|-"),
    ] = None,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_: AllOption = False,
    offline: OfflineOption = False,
    store: StoreOption = None,
) -> None:
    """Infer a phylogenetic tree for each family.

    Branch lengths are expected substitutions per site under LG with Γ-distributed site rates. Every record carries a note of
    the engine, model and parameters that made its tree. A family that fails does not stop the others: failures are listed at
    the end, with a non-zero exit code. If the command is interrupted, the same command continues: finished families are in
    OUTPUT.partial until the output is complete.
    """
    from phylocli.executors.families import family_journal
    from phylocli.formats.failures import Failures
    from phylocli.tree.draw import check_target, drawn
    from phylocli.tree.infer import attach_trees, infer_trees
    from phylocli.tree.output import write_trees
    from phylocli.workflow.source import families, with_own_inputs

    to_store = bool(family or clan or all_) and output is None
    failures = Failures("got no tree")
    source = families(
        input, family=family, clan=clan, all_=all_, store=store, offline=offline, upto="fetch", on_failure=failures.add
    )
    inputs: dict[str, list[InputRecord]] = {}
    if to_store:
        source = with_own_inputs(source, inputs)
    for target in draw or []:
        check_target(target)
    with family_journal(output, "tree", config.identity()) as journal:  # results in the store are files already
        if tree is not None:
            trees = attach_trees(source, tree, config, failures=failures)
        else:
            trees = infer_trees(source, config, failures=failures, journal=journal)
        for target in dict.fromkeys(draw or []):
            trees = drawn(trees, target, text_to_stdout=output not in (None, "-"))
        write_trees(failures.unless_all(trees), output, config, format=format, store=store, to_store=to_store, inputs=inputs)
    failures.raise_if_any()
