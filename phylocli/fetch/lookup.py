"""Lookup of Pfam families by name, or by accession of InterPro, its member databases or UniProt."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from phylocli.core.errors import BadInputError, ServiceError, UsageError
from phylocli.fetch.accessions import Foreign, Name, Wanted
from phylocli.fetch.services.interpro import InterPro, JsonObject, UnknownFamilyError
from phylocli.fetch.services.uniprot import UniProt
from phylocli.fetch.verify import unpacked
from phylocli.store import Store
from phylocli.store.inventory import read_entry

logger = logging.getLogger(__name__)

_SHOWN = 20  # candidates listed in a message
_PROTEINS = 100  # proteins examined for a name that matches no family
_FAMILY = re.compile(r"PF[0-9]{5}", re.ASCII)
_ENTRY_NAME = re.compile(r"[A-Z0-9]{1,10}_[A-Z0-9]{3,5}", re.ASCII)
_NAMES = {
    "interpro": "InterPro", "cdd": "CDD", "panther": "PANTHER", "prosite": "PROSITE", "profile": "PROSITE",
    "smart": "SMART", "ssf": "SUPERFAMILY", "cathgene3d": "CATH-Gene3D", "prints": "PRINTS", "pirsf": "PIRSF",
    "hamap": "HAMAP", "ncbifam": "NCBIfam", "sfld": "SFLD",
}  # fmt: skip


class UnknownNameError(BadInputError):
    """No family has this name, or it is ambiguous."""


@dataclass(frozen=True)
class Candidate:
    """A candidate family for a name.

    Attributes:
        accession: the Pfam accession.
        name: the short name, such as `Globin`.
        title: the long name, such as `Bacterial-like globin`.
    """

    accession: str
    name: str
    title: str = ""

    def is_called(self, text: str) -> bool:
        """Return whether a text equals the name or title, ignoring case and differences between blank, `_` and `-`."""
        return _plain(text) in (_plain(self.name), _plain(self.title))

    def contains(self, text: str) -> bool:
        """Return whether a text is part of the accession, name or title; compared as by `is_called`."""
        return any(_plain(text) in _plain(part) for part in (self.accession, self.name, self.title))


def in_interpro(query: Name | Foreign, service: InterPro, proteins: UniProt) -> list[Wanted]:
    """Look up the Pfam families of a query in InterPro.

    Args:
        query: a name, or an accession of another database.
        service: the client of InterPro.
        proteins: the client of UniProt, for suggestions if no family has the name.

    Raises:
        UnknownNameError: the name is unknown or ambiguous; the message lists candidates.
        ServiceError: a request failed.
    """
    if isinstance(query, Name):
        return _by_name(query.text, service, proteins)
    if query.database == "uniprot":
        return _of_protein(query.accession, service)
    return _of_entry(query, service)


def among(text: str, candidates: Iterable[Candidate], where: str) -> Wanted:
    """Return the family with a name, from a list of all families.

    Args:
        text: the name.
        candidates: all families.
        where: the source of the families, for messages.

    Raises:
        UnknownNameError: the name is unknown or ambiguous; the message lists candidates.
    """
    return _only(text, [candidate for candidate in candidates if candidate.contains(text)], where)


def of_release(path: Path) -> Iterator[Candidate]:
    """Yield the families of a Pfam release, from `Pfam-A.clans.tsv.gz`."""
    with path.open("rb") as raw:
        for line in unpacked(cast(BinaryIO, raw), 1 << 30):
            columns = line.decode("utf-8", "replace").rstrip("\r\n").split("\t")
            if len(columns) >= 5 and _FAMILY.fullmatch(columns[0]):
                yield Candidate(columns[0], columns[3], columns[4])


def of_store(store: Store) -> Iterator[Candidate]:
    """Yield the families of a store."""
    for accession in store.accessions():
        yield Candidate(accession, read_entry(store.root, accession).name)


def _by_name(text: str, service: InterPro, proteins: UniProt) -> list[Wanted]:
    found = _candidates(service.search(text))
    longest = max(re.split(r"[\s_-]+", text), key=len)
    if not found and longest != text:  # the service distinguishes blank, `_` and `-`
        found = [candidate for candidate in _candidates(service.search(longest)) if candidate.contains(text)]
    if not found and _ENTRY_NAME.fullmatch(text.upper()):
        try:
            return _of_protein(service.protein(text.upper()), service)
        except UnknownFamilyError:
            pass  # looks like a UniProt entry name, but is not one
    if not found:
        raise _nothing(text, service, proteins)
    return [_only(text, found, "Pfam")]


def _nothing(text: str, service: InterPro, proteins: UniProt) -> UnknownNameError:
    """Return the error for a name that no family contains; it lists the families of InterPro entries or proteins that do."""
    lines = []
    for entry in service.search(text, "interpro"):
        of = f"(InterPro {entry.get('accession')}, {entry.get('name')})"
        lines += [f"  {accession}  {name}  {of}" for accession, name in (_signatures(entry).get("pfam") or {}).items()]
    if lines:
        found = "; InterPro entries with this name contain these families"
    else:
        lines = _families_of_proteins(text, proteins)
        found = "; Swiss-Prot proteins with this name contain these families"
    if lines:
        return UnknownNameError(
            f"no family of Pfam has {text!r} in its name{found}:\n" + "\n".join(lines[:_SHOWN]),
            fix=f"name one by its accession, as in: phylocli fetch {lines[0].split()[0]}",
        )
    return UnknownNameError(
        f"nothing in Pfam, InterPro and Swiss-Prot has {text!r} in its name",
        fix="try another word, or find proteins by --uniprot 'QUERY'",
    )


def _families_of_proteins(text: str, proteins: UniProt) -> list[str]:
    """Return lines with the families of reviewed proteins whose names contain a text, most frequent first."""
    words = re.sub(r"[^\w\s-]", " ", text)
    counts: Counter[str] = Counter()
    number = 0
    with contextlib.suppress(ServiceError, UsageError):  # these are only suggestions
        for protein in itertools.islice(proteins.annotations(f"(protein_name:({words})) AND (reviewed:true)"), _PROTEINS):
            number += 1
            counts.update(set(protein.pfam))
    return [f"  {accession}  ({count} of {number} proteins)" for accession, count in counts.most_common()]


def _of_protein(accession: str, service: InterPro) -> list[Wanted]:
    try:
        found = _candidates(service.families_of_protein(accession))
    except UnknownFamilyError as error:
        raise UnknownNameError(error.what, fix="check the accession at www.uniprot.org") from error
    if not found:
        raise UnknownNameError(
            f"the protein {accession} has no domain of a Pfam family",
            fix="fetch the protein itself with 'phylocli fetch --accessions FILE', its accession in the file",
        )
    listed = ", ".join(f"{one.accession} ({one.name or one.title})" for one in found)
    logger.info(f"{accession} is a protein; its Pfam families: {listed}")
    return [Wanted(one.accession) for one in found]


def _of_entry(query: Foreign, service: InterPro) -> list[Wanted]:
    name = _NAMES[query.database]
    own = _entry(query, service)
    entry, over = own, query.accession
    if query.database != "interpro":
        integrated = str(own.get("integrated") or "").upper()
        if not integrated and ":SF" in query.accession:  # a PANTHER subfamily: try its family
            own = _entry(Foreign("panther", query.accession.partition(":")[0]), service)
            integrated = str(own.get("integrated") or "").upper()
        if not integrated:
            raise UnknownNameError(
                f"{query.accession} ({name}, {_title(own)}) is in no InterPro entry, so its Pfam family is unknown",
                fix=f"search by name, as in: phylocli fetch {_word(_title(own))}",
            )
        entry, over = service.entry(integrated, "interpro"), integrated
    families = _signatures(entry).get("pfam") or {}
    if not families:
        part = "" if over == query.accession else f"{query.accession} ({name}) is part of "
        others = ", ".join(a for members in _signatures(entry).values() for a in members)
        raise UnknownNameError(
            f"{part}{over} ({_title(entry)}){', which' if part else ''} has no Pfam family"
            + (f"; its signatures: {others}" if others else ""),
            fix=_parents_with_families(entry, over, service)
            or f"search by name, as in: phylocli fetch {_word(_title(entry))}",
        )
    by = "" if over == query.accession else f", {over}"
    listed = ", ".join(f"{accession} ({title})" for accession, title in families.items())
    logger.info(f"{query.accession} ({name}{by}): {listed}")
    return [Wanted(accession.upper()) for accession in families if _FAMILY.fullmatch(accession.upper())]


def _entry(query: Foreign, service: InterPro) -> JsonObject:
    """Return the metadata of an entry; InterPro has two databases for PROSITE, patterns and profiles."""
    databases = ("prosite", "profile") if query.database == "prosite" else (query.database,)
    for database in databases:
        try:
            return service.entry(query.accession, database)
        except UnknownFamilyError as error:
            unknown = error
    kind = "entry" if query.database == "interpro" else f"{_NAMES[query.database]} entry"
    raise UnknownNameError(
        f"InterPro has no {kind} {query.accession}", unknown.why, fix="check the accession, for example at InterPro"
    )


def _parents_with_families(entry: JsonObject, accession: str, service: InterPro) -> str | None:
    """Return advice for an entry without families: the families of its nearest parent entry that has any."""
    for parent in reversed(_path_to(entry.get("hierarchy") or {}, accession)):
        above = service.entry(parent, "interpro")
        families = _signatures(above).get("pfam") or {}
        if families:
            return f"its parent {parent} ({_title(above)}) has {', '.join(families)}: phylocli fetch {' '.join(families)}"
    return None


def _path_to(node: JsonObject, accession: str) -> list[str]:
    """Return the ancestors of an entry in a hierarchy, from the root down; empty if it is not found."""
    for child in node.get("children") or []:
        own = str(node.get("accession", ""))
        if child.get("accession") == accession:
            return [own]
        below = _path_to(child, accession)
        if below:
            return [own, *below]
    return []


def _candidates(found: Iterable[JsonObject]) -> list[Candidate]:
    """Return the Pfam families of a listing; other accessions are ignored."""
    rows = [(str(m.get("accession", "")).upper(), str(m.get("short_name") or ""), str(m.get("name") or "")) for m in found]
    return [Candidate(*row) for row in rows if _FAMILY.fullmatch(row[0])]


def _only(text: str, found: list[Candidate], where: str) -> Wanted:
    """Return the only candidate with a name.

    Raises:
        UnknownNameError: no candidate or several have the name; the message lists all that contain it.
    """
    exact = [candidate for candidate in found if candidate.is_called(text)]
    if len(exact) == 1:
        only = exact[0]
        others = len(found) - 1
        more = f"; {others:,} other name{'s contain' if others > 1 else ' contains'} it" if others else ""
        logger.info(f"{text}: {only.accession} ({only.name or only.title}){more}")
        return Wanted(only.accession)
    listed = exact or found
    if not listed:
        raise UnknownNameError(
            f"no family of {where} has {text!r} in its name",
            fix="try another part of the name, or give an accession such as PF00042",
        )
    width = max(len(candidate.name) for candidate in listed[:_SHOWN])
    lines = [f"  {one.accession}  {one.name:<{width}}  {one.title}".rstrip() for one in listed[:_SHOWN]]
    total = len(listed)
    if total > _SHOWN:
        lines.append(f"  … and {total - _SHOWN:,} more")
    what = f"{total:,} families are called {text!r}" if exact else f"no family of {where} is called {text!r}; "
    if not exact:
        what += "one contains it" if total == 1 else f"{total:,} contain it"
    raise UnknownNameError(
        f"{what}:\n" + "\n".join(lines), fix=f"name one by its accession, as in: phylocli fetch {listed[0].accession}"
    )


def _signatures(entry: JsonObject) -> dict[str, dict[str, str]]:
    """Return the signatures of an InterPro entry: member database → accession → name."""
    return entry.get("member_databases") or {}


def _title(entry: JsonObject) -> str:
    """Return the name of an entry: a string in listings, an object with long and short name in the entry itself."""
    name = entry.get("name")
    return str(name.get("name") or name.get("short") or "") if isinstance(name, dict) else str(name or "")


def _word(title: str) -> str:
    """Return the longest word of a title in lower case, as a suggested search."""
    word = max(re.findall(r"[a-z]+", title.lower()), key=len, default="")
    return word if len(word) > 4 else "globin"


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text.strip()).casefold()


__all__ = ["Candidate", "UnknownNameError", "among", "in_interpro", "of_release", "of_store"]
