"""BLAST tabular output (`-outfmt 6`, also called m8) of hits: twelve columns, no header.

Columns: query, target, percent identity, alignment length, mismatches, gap openings, start and end in the query, start and
end in the target, E-value, bit score. Values that need an alignment are `NA` for hits without one.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from phylocli.formats.streams import PathLike, open_output

if TYPE_CHECKING:
    import polars as pl

SUFFIX = ".m8"
MISSING = "NA"

_COUNTS = ("alignment_length", "mismatches", "gap_openings", "query_start", "query_end", "target_start", "target_end")


class BlastTabularWriter:
    """Context manager that writes frames with `tables.hits_schema()`, like `tables.TableWriter`.

    Args:
        target: a path, or `-`/None for standard output.
        evalue: the column of the E-value by which the hits are ranked.

    Attributes:
        rows: the number of rows written so far.
    """

    def __init__(self, target: PathLike | None, evalue: str) -> None:
        self.rows = 0
        self._evalue = evalue
        self._output = open_output(target)

    def __enter__(self) -> Self:
        self._stream = self._output.__enter__()
        return self

    def write(self, hits: pl.DataFrame) -> None:
        """Append hits."""
        for hit in hits.iter_rows(named=True):
            self._stream.write(("\t".join(self._fields(hit)) + "\n").encode())
        self.rows += hits.height

    def _fields(self, hit: dict[str, Any]) -> list[str]:
        identity = hit.get("identity")
        percent = None if identity is None else f"{100 * identity:.3f}"
        counts = [MISSING if hit.get(name) is None else str(hit[name]) for name in _COUNTS]
        bits = hit.get("bits")
        found = [hit["query"], hit["target"], percent or MISSING, *counts, short(hit[self._evalue])]
        return [*found, MISSING if bits is None else f"{bits:.1f}"]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._output.__exit__(kind, error, trace)


def short(value: float | None) -> str:
    """Format an E-value with three significant digits.

    >>> short(1.0244e-23), short(0.8213), short(None)
    ('1.02e-23', '0.821', 'NA')
    """
    return MISSING if value is None else f"{value:.3g}"
