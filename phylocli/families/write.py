"""Output of families as Stockholm records, to a family store, and as a table of members."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from phylocli.config.families import FamiliesConfig
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.families.find import Families
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike, file_sha256
from phylocli.formats.tables import members_schema, write_table
from phylocli.store import Store, remove_families


def _accessions_with_prefix(store: Store, prefix: str) -> list[str]:
    """Return the accessions in a store that `find_families` could produce with this prefix."""
    return [name for name in store.accessions() if re.fullmatch(rf"{re.escape(prefix)}\d{{5,}}", name)]


def check_store(store: PathLike, source: PathLike | None, config: FamiliesConfig) -> None:
    """Check that no families of another run would be overwritten.

    Families of the same file and configuration may be overwritten, so that an interrupted run can be repeated.

    Raises:
        UsageError: the store has families with the prefix that were made from other input or with another configuration.
    """
    place = Store(store)
    there = _accessions_with_prefix(place, config.prefix)
    wanted = config.identity()
    checksums = [file_sha256(source)] if there and source is not None and Path(source).is_file() else None
    for accession in there:
        known = place.origin(accession)
        inputs = [item.get("sha256") for item in known.get("inputs") or []]
        if known.get("stage") != "families" or known.get("parameters") != wanted or inputs != checksums:
            raise UsageError(
                f"the store {place.root} already has {counted(len(there), 'family')} named {config.prefix}…",
                why="they belong to another run, or have been changed since, and would be overwritten",
                fix="use another --prefix or --store, or --replace to remove them",
            )


def write_records(
    families: Families,
    target: PathLike | None,
    store: PathLike | None,
    config: FamiliesConfig,
    *,
    replace: bool = False,
) -> None:
    """Write the aligned records to a file, and to a family store if one is given.

    Args:
        families: the result of `find_families`.
        target: the output file; `-` or None writes to standard output.
        store: the folder of the store.
        config: the configuration, for the provenance.
        replace: whether to remove all other families with this prefix from the store after writing.
    """
    place = Store(store) if store is not None else None
    written: set[str] = set()

    def stored() -> Iterator[Family]:
        for family in families:
            if place is not None:
                place.write(family, "families", config.identity())
                written.add(family.accession)
            yield family

    write_families(stored(), target)
    write_sidecar(target, "families", config.identity())
    if place is not None and replace:
        stale = [name for name in _accessions_with_prefix(place, config.prefix) if name not in written]
        if stale:
            remove_families(place, accessions=stale)


def write_members(families: Families, target: PathLike, config: FamiliesConfig) -> None:
    """Write the table of members, see `Families.members`; the suffix of the path determines the format."""
    write_table(families.members(singletons=config.singletons == "keep"), target, members_schema())
    write_sidecar(target, "families", {**config.identity(), "singletons": config.singletons == "keep"})
