"""Align the sequences of each family."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, Input, Output, StoreOption, Threads

EXAMPLES = [
    "phylocli align families.sto -o aligned.sto",
    "phylocli fetch PF00042 | phylocli align --trim match > PF00042.sto",
    "phylocli align globins.fasta --hmm globin.hmm --min-coverage 0.6 -o globins.sto",
    "phylocli align proteins.fasta --method famsa -o proteins.sto",
]


def command(
    input: Input = None,
    output: Output = None,
    method: Annotated[
        str, typer.Option(help="profile (to the family's HMM), famsa (de novo) or none (is aligned).", metavar="NAME")
    ] = "profile",
    hmm: Annotated[
        Optional[str],  # noqa: UP045  typer reads it
        typer.Option(help="Profile HMMs (HMMER 3): one, or one a family by accession or name.", metavar="FILE"),
    ] = None,
    seed_alignment: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Build the HMM from this alignment (Stockholm or aligned FASTA).", metavar="FILE"),
    ] = None,
    trim: Annotated[
        str, typer.Option(help="none, match (match columns only) or gappy=0.9 (at most 90 % gaps).", metavar="RULE")
    ] = "none",
    min_coverage: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Leave out members with residues in a smaller share of the match columns.", metavar="X"
        ),
    ] = 0.0,
    on_duplicate: Annotated[
        str, typer.Option(metavar="error|keep-first|rename", help="What to do with an id that was there before.")
    ] = "error",
    threads: Threads = 0,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_: AllOption = False,
    store: StoreOption = None,
) -> None:
    """Align the sequences of each family.

    Reads FASTA or Stockholm, writes Stockholm: match columns in upper case and '-', insert columns in lower case and '.',
    with '#=GC RF' over the match columns. The method 'profile' takes the HMM from --hmm, else builds it from
    --seed-alignment, else takes the store's profile, else builds it from the record's own alignment. A family that fails
    does not stop the others: failures are listed at the end and the exit code says so.
    """
    from phylocli.align import align_families
    from phylocli.formats import write_families
    from phylocli.formats.failures import Failures
    from phylocli.formats.provenance import write_sidecar
    from phylocli.formats.sequences.fasta import parse_on_duplicate
    from phylocli.store import default_root
    from phylocli.workflow.source import families

    failures = Failures("were not aligned")
    source = families(
        input,
        family=family,
        clan=clan,
        all_=all_,
        store=store,
        upto="fetch",
        on_duplicate=parse_on_duplicate(on_duplicate),
        on_failure=failures.add,
    )
    aligned = align_families(
        source,
        method=method,
        hmm=hmm,
        seed_alignment=seed_alignment,
        store=store or default_root(),
        trim=trim,
        threads=threads,
        min_coverage=min_coverage,
        failures=failures,
    )
    write_families(failures.unless_all(aligned), output)
    parameters = {"method": method, "hmm": hmm, "seed_alignment": seed_alignment, "trim": trim, "min_coverage": min_coverage}
    write_sidecar(output, "align", parameters)
    failures.raise_if_any()
