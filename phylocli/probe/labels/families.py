"""Labels from family records: family and clan of each member."""

from __future__ import annotations

from collections.abc import Iterable

from phylocli.formats.family import Family
from phylocli.formats.species import SpeciesRule
from phylocli.probe.labels.collected import SEQUENCE, Collector, Labels

COLUMNS = ("family", "clan", "family_name", "family_title", "species", SEQUENCE)


def of_families(families: Iterable[Family]) -> Labels:
    """Return the labels of all members: accession of family and clan, names, and species by UniProt mnemonic.

    A sequence that is in several families has the labels of all.

    Examples:
        >>> from phylocli.probe.labels.families import of_families
        >>> labels = of_families(phylocli.read_families("examples/families.sto"))
        >>> labels.frame.filter(labels.frame["id"].str.starts_with("MYG_ESCGI")).row(0)[:4]
        ('MYG_ESCGI', 'PF00042', 'CL0090', 'Globin')
    """
    found = Collector(COLUMNS)
    species = SpeciesRule()
    for family in families:
        about = {"family": family.label, "clan": family.clan, "family_name": family.name, "family_title": family.description}
        for member in family.sequences():
            found.add(member.id, **about, species=species(member.id), sequence=member.residues)
    return Labels(found.table(), ("family", "clan"), "family records", ("family_name",))
