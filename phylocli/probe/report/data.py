"""The content of a report as typed rows, written to `report.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from phylocli.probe.inputs.leakage import Leakage

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class EmbeddingInfo:
    """An evaluated embedding: name, number of features (0 for a search program), origin, and metadata of its file."""

    name: str
    dimension: int
    source: str
    baseline: bool
    metadata: dict[str, str]


@dataclass(frozen=True)
class MetricInfo:
    """The meaning of a metric, and which direction is better; None if neither is."""

    meaning: str
    better: Better | None


@dataclass(frozen=True)
class TaskInfo:
    """A probe with its levels and its metrics by name, the headline metric first."""

    name: str
    title: str
    summary: str
    levels: list[str]
    metrics: dict[str, MetricInfo]


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """A value of a metric with its 95 % confidence interval, over `n` items; None if not finite."""

    embedding: str
    task: str
    level: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """The value of the first embedding minus that of another on the same items, with 95 % interval and p-values."""

    embedding: str
    other: str
    task: str
    level: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    better: Better
    n: int
    p_holm: float | None = None


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """The headline metric of a task on one layer of the first model."""

    task: str
    level: str
    metric: str
    layer: int
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Note:
    """A note on the items on which a task was scored at a level."""

    task: str
    level: str
    note: str


@dataclass(frozen=True)
class Curve:
    """A curve or a scatter plot of an embedding."""

    task: str
    level: str
    name: str
    embedding: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Projection:
    """A two-dimensional projection of an embedding.

    Attributes:
        embedding: name of the embedding.
        method: description of the projection.
        column: label column that colours the points.
        names: classes in the legend.
        x, y: coordinates of each point, in [0, 1].
        code: index of each point's class in `names`, −1 for all other classes.
        quantity: rank of each point's value, scaled to [0, 1], if the column is numeric.
        id, label: id and label of each point.
    """

    embedding: str
    method: str
    column: str | None
    names: list[str]
    x: list[float]
    y: list[float]
    code: list[int]
    quantity: list[float] | None
    id: list[str]
    label: list[str]


@dataclass
class ReportData:
    """The results of an evaluation: the complete content of `report.json` and `report.html`.

    Attributes:
        title: title of the report.
        version: version of phylocli.
        published: published results on this benchmark, as a sentence.
        embeddings: the embeddings; the first is compared with the others.
        items: number of items.
        evaluated: number of items scored by tasks without training.
        split: the split of these items; None if there is no split.
        replicates: number of bootstrap replicates.
        resample_by: column whose classes the bootstrap resamples.
        seed: random seed of the evaluation.
        tasks: the probes, in order.
        metrics: the values, one per row.
        differences: differences of the first embedding from each of the others, with p-values corrected by Holm's method.
        layers: headline metrics of single layers.
        notes: notes on the scored items.
        curves: curves and scatter plots.
        provenance: command, parameters, inputs and versions.
        leakage: similarity of the scored sequences to the training sequences.
        maps: two-dimensional projections.
    """

    title: str
    version: str
    published: str
    embeddings: list[EmbeddingInfo]
    items: int
    evaluated: int
    split: str | None
    replicates: int
    resample_by: str | None
    seed: int
    tasks: list[TaskInfo]
    metrics: list[MetricRow]
    differences: list[DifferenceRow]
    layers: list[LayerRow] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    leakage: Leakage | None = None
    maps: list[Projection] = field(default_factory=list)
