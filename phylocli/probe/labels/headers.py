"""Labels from FASTA headers: by a pattern, or in the styles of SCOPe, UniProt and NCBI."""

from __future__ import annotations

import re
from collections.abc import Iterable

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.species import SpeciesRule
from phylocli.probe.labels.collected import SEQUENCE, Collector, Labels

_SCCS = re.compile(r"[a-l]\.\d+\.\d+\.\d+(?=\s|$)")
"""SCOPe's concise classification string: class, fold, superfamily, family."""
_KEY = re.compile(r"\b(OS|OX|GN|PE|SV)=(.*?)(?=\s+(?:OS|OX|GN|PE|SV)=|$)")
_KEYS = {"OS": "organism", "OX": "taxon", "GN": "gene"}
_ORGANISM = re.compile(r"\[([A-Z][^\[\]=]+)\]\s*$")
"""NCBI's style: `>XP_1.1 hemoglobin subunit beta [Homo sapiens]`."""
_COLUMNS = ("family", "superfamily", "fold", "class", "organism", "taxon", "gene", "protein", "species", SEQUENCE)
_FIX = "give --pattern REGEX with named groups, such as '(?P<family>\\w+)$', or a table of labels"


def of_headers(sequences: Iterable[Sequence], name: str, pattern: str | None = None) -> Labels:
    r"""Return the labels in FASTA headers.

    Args:
        sequences: sequences of a FASTA file.
        name: name of the file, for messages.
        pattern: regular expression that is searched for in the whole header; its named groups become columns, and a single
            unnamed group becomes the column `label`. None reads SCOPe's classification, UniProt's OS=, OX= and GN=, and
            NCBI's [Organism].

    Raises:
        UsageError: the pattern has no group.
        BadInputError: no header contains a label.

    Examples:
        >>> from phylocli.formats import Sequence
        >>> from phylocli.probe.labels.headers import of_headers
        >>> sequences = [Sequence("a", "MKV", "kinase OS=Homo sapiens OX=9606 GN=ABL1 PE=1 SV=4")]
        >>> of_headers(sequences, "x.fasta").select((), "x.fasta").row(0)
        ('a', 'Homo sapiens', '9606')
        >>> of_headers(sequences, "x.fasta", r"(?P<kind>\w+) OS=").select((), "x.fasta").row(0)
        ('a', 'kinase')
    """
    if pattern is not None:
        return _by_pattern(sequences, name, pattern)
    found, species = Collector(_COLUMNS), SpeciesRule()
    known: set[str] = set()
    first = ""
    for item in sequences:
        first = first or f"{item.id} {item.description}".strip()
        values = _standard(item.description)
        values["species"] = species(item.id)
        known.update(column for column, value in values.items() if value)
        found.add(item.id, **values, sequence=item.unaligned())
    if not known:
        raise BadInputError(
            f"no header of {name} contains a label",
            why=f"headers of SCOPe, UniProt (OS=, OX=, GN=) and NCBI ([Organism]) are read; the first is {first[:60]!r}",
            fix=_FIX,
        )
    if "superfamily" in known:
        usual: tuple[str, ...] = ("family", "superfamily", "fold", "class")
    else:
        usual = tuple(c for c in ("organism", "taxon") if c in known) or ("species",)
    return Labels(found.table(), usual, "FASTA headers")


def _standard(description: str) -> dict[str, str]:
    scope = _SCCS.match(description)
    if scope is not None:
        parts = scope[0].split(".")
        return {"family": scope[0], "superfamily": ".".join(parts[:3]), "fold": ".".join(parts[:2]), "class": parts[0]}
    keys = {_KEYS[key]: value.strip() for key, value in _KEY.findall(description) if key in _KEYS}
    if keys:
        return {**keys, "protein": _KEY.sub("", description).strip()}
    organism = _ORGANISM.search(description)
    if organism is not None:
        return {"organism": organism[1], "protein": description[: organism.start()].strip()}
    return {}


def _by_pattern(sequences: Iterable[Sequence], name: str, pattern: str) -> Labels:
    expression = re.compile(pattern)
    columns = tuple(expression.groupindex)
    if not columns and expression.groups != 1:
        raise UsageError(f"the pattern {pattern!r} has no named group", fix="name the columns: (?P<family>...)")
    found = Collector((*(columns or ("label",)), SEQUENCE))
    hits, first = 0, ""
    for item in sequences:
        header = f"{item.id} {item.description}".strip()
        first = first or header
        match = expression.search(header)
        hits += match is not None
        values = {} if match is None else match.groupdict() if columns else {"label": match[1]}
        found.add(item.id, **values, sequence=item.unaligned())
    if not hits:
        raise BadInputError(
            f"no header of {name} matches the pattern {pattern!r}",
            why=f"the first is {first[:80]!r}",
            fix="correct the pattern; its named groups, (?P<family>…), become columns",
        )
    return Labels(found.table(), columns or ("label",), "FASTA headers by pattern")
