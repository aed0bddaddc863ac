"""Write simulated families: Stockholm with the true tree, FASTA without gaps, and a table of the truth about sites."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from phylocli.config.simulate import SimulateConfig
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.formats import stockholm
from phylocli.formats.output_formats import FASTA, NEWICK, STOCKHOLM, Records, format_by_suffix
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.sequences import fasta
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.streams import PathLike, open_text_output
from phylocli.formats.tables import TableWriter, sites_schema
from phylocli.simulate.families import SimulatedFamily, simulate
from phylocli.simulate.settings import Settings

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)


def write_simulated(
    config: SimulateConfig, target: PathLike | None, *, format: Records | None = None, sites: PathLike | None = None
) -> int:
    """Simulate families and write them one at a time; return the number of sequences.

    Args:
        config: of the simulation.
        target: a path, or `-`/None for standard output.
        format: `stockholm` (true alignment and tree), `fasta` (sequences without gaps), or `newick` (trees, one per line);
            None takes it from the suffix.
        sites: path of a table with the truth about each column; None: not written.

    Raises:
        UsageError: incompatible values, or given tips whose names would occur twice.
    """
    chosen = format or format_by_suffix(
        target, STOCKHOLM | FASTA | NEWICK, "stockholm", what="families", otherwise="--format"
    )
    settings, n = Settings.of(config), config.number
    if settings.tree.given and n > len(settings.tree.given) and chosen == "fasta":
        raise UsageError(
            f"{n} families along {len(settings.tree.given)} given trees would repeat ids in a FASTA file",
            fix="write Stockholm, or give as many trees as families",
        )
    members = residues = columns = 0
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open_text_output(target))
        table = stack.enter_context(TableWriter(sites, sites_schema())) if sites is not None else None
        found_families = simulate(
            settings,
            n,
            config.seed,
            aligned=chosen != "fasta",
            prefix=config.prefix,
            jobs=config.jobs,
            cluster=config.cluster,
        )
        for found in found_families:
            family = found.family
            if chosen == "stockholm":
                stockholm.write_family(family, stream)
            elif chosen == "newick":
                stream.write(family.require_tree().to_newick() + "\n")
            else:
                fasta.write((Sequence(name, row) for name, row in zip(family.ids, family.rows, strict=True)), stream)
            if target is None:
                stream.flush()  # the next stage of a pipe can start
            if table is not None:
                table.write(_truth(found))
            members += len(family)
            columns += len(found.rates)
            residues += sum(len(row) - row.count("-") for row in family.rows)
    parameters = {**config.to_parameters(), "format": chosen}
    for path in (target, sites):
        write_sidecar(path, "simulate", parameters, config.seed)
    kind = "one family" if n == 1 else f"{n:,} families"
    wide = f", {columns / n:,.0f} columns" if chosen == "stockholm" else ""
    logger.info(f"simulated {kind}: {counted(members, 'sequence')} of {residues / members:,.0f} residues on average{wide}")
    return members


def _truth(found: SimulatedFamily) -> pl.DataFrame:
    import polars as pl

    columns = len(found.rates)
    return pl.DataFrame(
        {
            "family": pl.repeat(found.family.label, columns, dtype=pl.String, eager=True),
            "column": range(1, columns + 1),
            "rate": found.rates,
            "motif": found.motif,
            "ancestral": found.ancestral,
        }
    )
