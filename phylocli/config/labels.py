"""Options of `phylocli labels`: which labels are taken from records, headers, annotations and tables."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from phylocli.config.base import Cli, Config
from phylocli.config.types import Pattern
from phylocli.core.errors import UsageError

EVIDENCE: dict[str, tuple[str, ...]] = {
    "experimental": ("EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI", "HEP"),
    "phylogenetic": ("IBA", "IBD", "IKR", "IRD"),
    "computational": ("ISS", "ISO", "ISA", "ISM", "IGC", "RCA"),
    "author": ("TAS", "NAS"),
    "curator": ("IC", "ND"),
    "electronic": ("IEA",),
}
"""Evidence codes of GO annotations by kind, as geneontology.org groups them."""


def _codes(value: object) -> object:
    """Return evidence codes in capitals, and names of kinds as they are."""
    if not isinstance(value, list | tuple):
        return value
    known = {code for codes in EVIDENCE.values() for code in codes}
    found = []
    for word in (part for text in value for part in str(text).replace(",", " ").split()):
        if word.lower() in EVIDENCE:
            found.append(word.lower())
        elif word.upper() in known:
            found.append(word.upper())
        else:
            raise UsageError(
                f"{word!r} is not a GO evidence code",
                fix=f"codes are {', '.join(sorted(known))}; their kinds are {', '.join(EVIDENCE)}",
            )
    return tuple(found)


class MakeLabelsConfig(Config):
    """Which labels `phylocli labels` takes."""

    table: ClassVar[str] = "labels"

    columns: Annotated[tuple[str, ...], Cli("-c", "--columns", metavar="NAME", multiple=True)] = ()
    """Column to write; may be repeated. By default the usual ones of each source; see above."""
    pattern: Annotated[Pattern | None, Cli(metavar="REGEX")] = None
    """Regular expression for the headers of FASTA files; its named groups, (?P<family>...), are the columns."""
    evidence: Annotated[
        tuple[str, ...], BeforeValidator(_codes), Cli(metavar="CODE", multiple=True, values=lambda: EVIDENCE)
    ] = ()
    """GO annotations with this evidence only: a code (IDA), or a kind (experimental); may be repeated."""
    aspect: Annotated[Literal["function", "process", "component"] | None, Cli()] = None
    """GO terms of this aspect only."""

    @property
    def evidence_codes(self) -> frozenset[str]:
        """The evidence codes to use; all if empty."""
        return frozenset(code for word in self.evidence for code in EVIDENCE.get(word, (word,)))
