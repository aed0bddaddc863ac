"""Align the sequences of each family."""

from __future__ import annotations

from phylocli.cli._options import AllOption, ClanOption, FamilyOption, Input, OfflineOption, Output, StoreOption
from phylocli.config.align import AlignConfig

EXAMPLES = [
    "phylocli align families.sto -o aligned.sto",
    "phylocli fetch PF00042 | phylocli align --trim match > PF00042.sto",
    "phylocli align globins.fasta --hmm globin.hmm --min-coverage 0.6 -o globins.sto",
    "phylocli align proteins.fasta --engine famsa -o proteins.sto",
]


def command(
    config: AlignConfig,
    input: Input = None,
    output: Output = None,
    family: FamilyOption = None,
    clan: ClanOption = None,
    all_: AllOption = False,
    offline: OfflineOption = False,
    store: StoreOption = None,
) -> None:
    """Align the sequences of each family.

    Writes Stockholm: match columns in upper case and '-', insert columns in lower case and '.',
    with '#=GC RF' over the match columns. The engine 'profile' uses the HMM of --hmm, or one built from --seed-alignment,
    or the store's, or one built from the record's own alignment. A family that fails does not stop the others: failures are
    listed at the end, with a non-zero exit code.
    """
    from phylocli.align import align_families
    from phylocli.executors.families import family_journal
    from phylocli.formats import write_families
    from phylocli.formats.failures import Failures
    from phylocli.formats.provenance import write_sidecar
    from phylocli.store import Store, default_root
    from phylocli.workflow.source import families

    failures = Failures("were not aligned")
    source = families(
        input,
        family=family,
        clan=clan,
        all_=all_,
        store=store,
        offline=offline,
        upto="fetch",
        on_duplicate=config.on_duplicate,
        genetic_code=config.code,
        on_failure=failures.add,
    )
    place = Store(store or default_root())
    with family_journal(
        output,
        "align",
        config.identity(),
        files=(config.hmm, config.seed_alignment),
        file_of=lambda family: place.profile_path(family.accession) if family.accession else None,
    ) as journal:
        aligned = align_families(source, config, store=place.root, failures=failures, journal=journal)
        write_families(failures.unless_all(aligned), output)
    write_sidecar(output, "align", config.to_parameters())
    failures.raise_if_any()
