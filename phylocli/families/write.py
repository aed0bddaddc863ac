"""Families of one's own to Stockholm, to a store, and as a table."""

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


def _of_prefix(store: Store, prefix: str) -> list[str]:
    """Return the accessions in a store that `find_families` could produce with this prefix."""
    return [name for name in store.accessions() if re.fullmatch(rf"{re.escape(prefix)}\d{{5,}}", name)]


def check_store(store: PathLike, source: PathLike | None, config: FamiliesConfig) -> None:
    """Refuse to overwrite families of another run.

    An interrupted run may be repeated: the same file and options give the same records.

    Raises:
        UsageError: the store has families under the prefix that are not of this file and this configuration.
    """
    place = Store(store)
    there = _of_prefix(place, config.prefix)
    wanted = config.identity()
    checksums = [file_sha256(source)] if there and source is not None and Path(source).is_file() else None
    for accession in there:
        known = place.origin(accession)
        inputs = [item.get("sha256") for item in known.get("inputs") or []]
        if known.get("stage") != "families" or known.get("parameters") != wanted or inputs != checksums:
            raise UsageError(
                f"the store {place.root} already has {counted(len(there), 'family')} named {config.prefix}…",
                why="they are of another run, or were changed since, and would be overwritten",
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
    """Write the aligned records to a path, or `-`/None for standard output, and each to the store if one is given.

    Args:
        families: the result of `find_families`.
        target: the file.
        store: the store's folder.
        config: how they were found, for the provenance.
        replace: at the end, remove all other families of the store with this prefix.
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
        stale = [name for name in _of_prefix(place, config.prefix) if name not in written]
        if stale:
            remove_families(place, accessions=stale)


def write_members(families: Families, target: PathLike, config: FamiliesConfig) -> None:
    """Write the table of members in the format that the path's suffix names; see `Families.members`."""
    write_table(families.members(singletons=config.singletons == "keep"), target, members_schema())
    write_sidecar(target, "families", {**config.identity(), "singletons": config.singletons == "keep"})
