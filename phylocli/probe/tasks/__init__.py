"""Probes, one per module: tasks that evaluate embeddings.

A probe has

- `TITLE`, its heading in the report, and `METRICS`, a `Metric` by name in the order of the report; the first is the headline
  metric;
- `levels(data) -> list[str]`: the levels (usually label columns) at which it can be scored with these labels; none if it
  does not apply;
- `measure(data, embedding, level, seed) -> Measurement`: the estimates. `embedding` has the rows of `data`. For the same
  data and level, all embeddings must be scored on the same items, so that differences are paired.

It may have `NEEDS_RESIDUES = True` (it reads `embedding.residues`), `BY_SIMILARITY = True` (it only uses
`embedding.similarity`, so search programs can be baselines) and `ON_REQUEST = True` (it only runs if requested).
"""

from __future__ import annotations

from phylocli.probe.tasks._contract import Measurement, Metric

__all__ = ["Measurement", "Metric"]
