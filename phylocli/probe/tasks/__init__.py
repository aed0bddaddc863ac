"""Probes, one file each: tasks that evaluate embeddings.

A probe has

- `TITLE`, as the report heads it, and `METRICS`, a `Metric` by name, in the order of the report; the first is the headline;
- `levels(data) -> list[str]`: the levels (label columns, mostly) at which it can be scored with these labels; none means
  that it does not apply;
- `measure(data, embedding, level, seed) -> Measurement`: the estimates. `embedding` has the rows of `data`. The same data
  and level must give the same items for every embedding, so that differences are paired.

and may have `NEEDS_RESIDUES = True` (it reads `embedding.residues`), `BY_SIMILARITY = True` (it only uses
`embedding.similarity`, so baselines that search take part), `ON_REQUEST = True` (it runs only if named).
"""

from __future__ import annotations

from phylocli.probe.tasks._contract import Measurement, Metric

__all__ = ["Measurement", "Metric"]
