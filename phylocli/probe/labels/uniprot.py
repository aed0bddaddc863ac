"""Labels from UniProt tables (TSV, as exported by www.uniprot.org and its API), with text parsed into terms and classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from phylocli.probe.labels.collected import SEQUENCE, Labels

if TYPE_CHECKING:
    import polars as pl

ENTRY = "Entry"
_TERM = re.compile(r"GO:\d{7}")
_RANK = re.compile(r"\s*([^,(]+(?:\([^()]*\)[^,(]*)*?)\s*\(([^()]+)\)\s*(?:,|$)")
_RANKS = {
    "domain": "domain", "superkingdom": "domain", "kingdom": "kingdom", "phylum": "phylum", "class": "taxon_class",
    "order": "taxon_order", "family": "taxon_family", "genus": "genus",
}  # fmt: skip
"""Columns for the ranks of a lineage; `class` and `family` are renamed: they are levels of protein classifications."""


def _several(text: str) -> str:
    return ";".join(dict.fromkeys(part.strip() for part in text.split(";") if part.strip()))


def _go(text: str) -> str:
    return ";".join(dict.fromkeys(_TERM.findall(text)))


def _ec_class(text: str) -> str:
    classes = {number.strip().split(".")[0] for number in text.split(";") if number.strip()}
    return classes.pop() if len(classes) == 1 else ""


def _family(text: str) -> str:
    """Return the top level: `Protein kinase superfamily` for `Protein kinase superfamily, TKL family`."""
    return text.split(";", maxsplit=1)[0].split(",", maxsplit=1)[0].strip()


def _plain(text: str) -> str:
    return text.strip()


# Column of the export → columns of labels and the functions that compute their values.
_KNOWN: dict[str, dict[str, Callable[[str], str]]] = {
    "Protein families": {"protein_family": _family},
    "EC number": {"ec": _several, "ec_class": _ec_class},
    "Gene Ontology IDs": {"go": _several},
    "Gene Ontology (GO)": {"go": _go},
    "Gene Ontology (molecular function)": {"go_function": _go},
    "Gene Ontology (biological process)": {"go_process": _go},
    "Gene Ontology (cellular component)": {"go_component": _go},
    "Pfam": {"pfam": _several},
    "InterPro": {"interpro": _several},
    "Organism": {"organism": lambda text: text.split(" (")[0].strip()},
    "Organism (ID)": {"taxon": _plain},
    "Keywords": {"keywords": _several},
    "Sequence": {SEQUENCE: _plain},
}
_LINEAGE = "Taxonomic lineage"
_HEADERS = {*_KNOWN, _LINEAGE, "Entry Name", "Reviewed", "Protein names", "Gene Names", "Length"}
_UNUSUAL = {"organism", "taxon", "keywords", "interpro", *_RANKS.values()}


def is_export(columns: list[str]) -> bool:
    """Return whether a table has the columns of a UniProt export."""
    return ENTRY in columns and any(column in _HEADERS for column in columns)


def of_export(table: pl.DataFrame) -> Labels:
    """Return the labels of a UniProt export: known columns as terms and classes, all others unchanged.

    Ranks of the column `Taxonomic lineage` become separate columns, from `domain` to `genus`.

    Examples:
        >>> import polars as pl
        >>> from phylocli.probe.labels.uniprot import of_export
        >>> table = pl.DataFrame({"Entry": ["P1"], "EC number": ["1.1.1.1; 1.2.3.-"], "Reviewed": ["reviewed"]})
        >>> of_export(table).select((), "x.tsv").row(0)
        ('P1', '1.1.1.1;1.2.3.-', '1')
    """
    import polars as pl

    made: dict[str, list[str | None]] = {}
    for column in table.columns:
        texts = [None if value is None else str(value) for value in table[column].to_list()]
        for label, value_of in _KNOWN.get(column, {}).items():
            made.setdefault(label, [(value_of(text) or None) if text else None for text in texts])
        if column == _LINEAGE:
            lineages = [_ranks(text or "") for text in texts]
            for rank in dict.fromkeys(_RANKS.values()):
                made[rank] = [lineage.get(rank) for lineage in lineages]
    frame = pl.DataFrame({"id": table[ENTRY].cast(pl.String), **made})
    rest = [column for column in table.columns if column not in (ENTRY, *frame.columns)]
    usual = tuple(label for label in made if label not in {SEQUENCE, *_UNUSUAL})
    if not usual:
        usual = tuple(label for label in made if label != SEQUENCE) or tuple(rest)
    return Labels(frame.hstack(table[rest]), usual, "an export of UniProt")


def _ranks(lineage: str) -> dict[str, str]:
    """Parse a lineage such as `Metazoa (kingdom), Chordata (phylum)` to names by column."""
    return {_RANKS[rank]: name.strip() for name, rank in _RANK.findall(lineage) if rank in _RANKS}
