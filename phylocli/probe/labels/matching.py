"""Matching of ids written in different ways: `sp|P68871|HBB_HUMAN`, `P68871`, `HBB_HUMAN/7-107`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

_RANGE = re.compile(r"[/:]\d+-\d+$")
_ISOFORM = re.compile(r"(?<=^[A-Z0-9]{6})-\d+$|(?<=^[A-Z0-9]{10})-\d+$")
_VERSION = re.compile(r"\.\d+$")


def match_ids(frame: pl.DataFrame, ids: SequenceOf[str], name: str) -> pl.DataFrame:
    """Return labels with the ids of the embeddings, matched by accession or name unless some ids are the same.

    Each id is looked up unchanged, without its range of residues, by the accession and the entry name of UniProt headers,
    and without isoform or version. A row of labels may match several ids, such as the domains of a protein.

    Args:
        frame: labels, with a column `id`.
        ids: ids of the embeddings or sequences.
        name: name of the labels, for messages.

    Examples:
        >>> import polars as pl
        >>> from phylocli.probe.labels import match_ids
        >>> labels = pl.DataFrame({"id": ["P68871"], "ec": ["1.1.1.1"]})
        >>> match_ids(labels, ["sp|P68871|HBB_HUMAN", "P68871/7-107", "Q1"], "labels.tsv")["id"].to_list()
        ['sp|P68871|HBB_HUMAN', 'P68871/7-107']
    """
    import polars as pl

    own = frame["id"].to_list()
    if not own or not set(own).isdisjoint(ids):
        return frame
    rows: dict[str, int] = {}
    ambiguous: set[str] = set()
    for row, item in enumerate(own):
        for key in _keys(item):
            if rows.setdefault(key, row) != row:
                ambiguous.add(key)
    found = [next((rows[key] for key in _keys(item) if key in rows and key not in ambiguous), -1) for item in ids]
    matched = [place for place, row in enumerate(found) if row >= 0]
    if not matched:
        return frame
    first = matched[0]
    logger.info(
        f"{name}: {len(matched):,} of {len(ids):,} ids matched by accession or name, such as {ids[first]!r} with "
        f"{own[found[first]]!r}"
    )
    chosen = pl.Series("id", [ids[place] for place in matched], dtype=pl.String)
    return frame[[found[place] for place in matched]].with_columns(chosen)


def _keys(item: str) -> Iterator[str]:
    """Yield the alternative forms of an id, the most specific first."""
    yield item
    whole = _RANGE.sub("", item)
    yield whole
    parts = whole.split("|")
    if len(parts) >= 3:  # db|accession|name of UniProt, gi|…|ref|accession| of NCBI
        yield from (part for part in parts[1:] if part and not part.isdigit())
        whole = parts[1]
    for ending in (_ISOFORM, _VERSION):
        shorter = ending.sub("", whole)
        if shorter != whole:
            yield shorter
