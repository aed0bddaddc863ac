"""The data of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from phylocli.formats import Family


@dataclass
class Benchmark:
    """The items of a benchmark, and the probes to run.

    Attributes:
        frame: columns `id`, `sequence`, label columns, and optionally `split`.
        tasks: probes to run.
        columns: label columns to evaluate.
        source: names of the files, for messages.
        resample_by: column whose classes the bootstrap resamples.
        trees: families with trees.
        published: published results for comparison, as a sentence; empty if there are none for this part.
    """

    frame: pl.DataFrame
    tasks: tuple[str, ...]
    columns: tuple[str, ...]
    source: str
    resample_by: str | None = None
    trees: list[Family] = field(default_factory=list)
    published: str = ""
