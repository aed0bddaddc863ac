"""The data of a report: typed rows, as in `report.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from phylocli.probe.inputs.leakage import Leakage

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class EmbeddingInfo:
    """An embedding that was evaluated: its name, number of features (0: a search), origin, and its file's metadata."""

    name: str
    dimension: int
    source: str
    baseline: bool
    metadata: dict[str, str]


@dataclass(frozen=True)
class MetricInfo:
    """What a metric means, and which direction is better; None: neither."""

    meaning: str
    better: Better | None


@dataclass(frozen=True)
class TaskInfo:
    """A probe that was run, its levels, and its metrics by name, the headline first."""

    name: str
    title: str
    summary: str
    levels: list[str]
    metrics: dict[str, MetricInfo]


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One value with its 95 % interval, over `n` items; None is not a finite number."""

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
    """The first embedding's value minus another's on the same items, with its 95 % interval and p-values."""

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
    """What a task was scored on at one level."""

    task: str
    level: str
    note: str


@dataclass(frozen=True)
class Curve:
    """A curve or a cloud of points of one embedding."""

    task: str
    level: str
    name: str
    embedding: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Projection:
    """An embedding in two dimensions.

    Attributes:
        embedding: its name.
        method: how points were placed, in words.
        column: of the labels, that colours them.
        names: the classes in the legend.
        x, y: within 0 … 1.
        code: index into `names`, −1 for all other classes.
        quantity: rank within 0 … 1, if the column is numeric.
        id, label: of each point.
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
    """An evaluation: the complete content of `report.json` and of the page.

    Attributes:
        title: of the report.
        version: of phylocli.
        published: published results on this benchmark, as a sentence.
        embeddings: in order; the first is compared with the others.
        items: number of items.
        evaluated: number of items that tasks without training score.
        split: the split of these items; None if there is no split.
        replicates: bootstrap replicates.
        resample_by: column whose classes the bootstrap resamples.
        seed: of the evaluation.
        tasks: in order.
        metrics: the values, one per row.
        differences: of the first embedding from each other one, p-values corrected by Holm's method.
        layers, notes, curves: see their classes.
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
