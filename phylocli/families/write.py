"""Families of one's own to Stockholm, to a store, and as a table."""

from __future__ import annotations

from collections.abc import Iterator

from phylocli.families.find import Families
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import members_schema, write_table
from phylocli.store import Store


def write_records(
    families: Families, target: PathLike | None, store: PathLike | None, parameters: dict[str, object]
) -> None:
    """Write the aligned records to a path, or `-`/None for standard output, and each to the store where one is given."""

    def stored() -> Iterator[Family]:
        place = Store(store) if store is not None else None
        for family in families:
            if place is not None:
                place.write(family, "families", parameters)
            yield family

    write_families(stored(), target)
    write_sidecar(target, "families", parameters)


def write_members(families: Families, target: PathLike, parameters: dict[str, object], *, singletons: bool = True) -> None:
    """Write the table of members in the format that the path's suffix names; see `Families.members`."""
    write_table(families.members(singletons=singletons), target, members_schema())
    write_sidecar(target, "families", {**parameters, "singletons": singletons})
