"""Labels from GO annotations in GAF 2.x, as distributed by GOA and geneontology.org.

http://geneontology.org/docs/go-annotation-file-gaf-format-2.2/
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from phylocli.core.errors import BadInputError
from phylocli.probe.labels.collected import Collector, Labels

_TERM = re.compile(r"GO:\d{7}")
_ASPECTS = {"F": "function", "P": "process", "C": "component"}


def of_gaf(
    lines: Iterable[tuple[int, str]], name: str, *, evidence: Collection[str] = (), aspect: str | None = None
) -> Labels:
    """Return the annotated GO terms of each object, without ancestor terms.

    Annotations with the qualifier NOT are excluded. The id is the identifier of the object in its database (`P68871`).

    Args:
        lines: lines with their numbers, from 1.
        name: name of the file, for messages.
        evidence: evidence codes to include; empty includes all.
        aspect: `function`, `process` or `component`; None includes all three.

    Raises:
        BadInputError: a line is not an annotation, or no annotation is left after filtering.
    """
    found = Collector(("go", "symbol", "taxon"))
    total = kept = 0
    for number, line in lines:
        if line.startswith("!") or not line.strip():
            continue
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) < 15 or not _TERM.fullmatch(fields[4]) or fields[8] not in _ASPECTS:
            raise BadInputError(
                f"{name}, line {number}: not a GO annotation",
                why=f"a line has 15 to 17 tab-separated fields, of which the fifth is a GO term; this one has {len(fields)}",
                fix="check that the file is complete and in GAF 2.0 to 2.2",
            )
        total += 1
        negated = "NOT" in fields[3].split("|")
        if negated or (evidence and fields[6] not in evidence) or (aspect is not None and _ASPECTS[fields[8]] != aspect):
            continue
        kept += 1
        found.add(fields[1], go=fields[4], symbol=fields[2], taxon=fields[12].split("|")[0].removeprefix("taxon:"))
    if not kept:
        left = " with this evidence and aspect" if evidence or aspect else ""
        raise BadInputError(f"{name} has no annotation{left} (of {total:,})", fix="include more with --evidence or --aspect")
    return Labels(found.table(), ("go",), f"{kept:,} of {total:,} GO annotations")
