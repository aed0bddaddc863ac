"""Options of `phylocli probe`: labels, baselines and uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from phylocli.config._tables import TABLES, LabelsConfig
from phylocli.config.base import Cli
from phylocli.config.generate import MIN_BITS
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Device, Seed
from phylocli.core.errors import UsageError
from phylocli.core.plugins import BASELINES, BENCHMARKS, PROBES

TASKS, STATISTICS, REPORT = "Tasks and baselines", "Splits and intervals", "Report"
GENERATION = "Task generation"

Projection = Literal["auto", "umap", "tsne", "pca", "none"]


@dataclass(frozen=True)
class IdentityClusters:
    """A grouping of sequences by identity: single linkage of pairs with at least this estimated identity.

    Attributes:
        threshold: sequence identity, 0.4 to 1; it is estimated from shared 5-mers, which are unreliable below 0.4.
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0.4 <= self.threshold <= 1:
            raise UsageError(
                f"the identity threshold {self.threshold:g} is out of range",
                why="identity is estimated from shared 5-mers, which is unreliable below 0.4",
                fix="give a number from 0.4 to 1, as in identity=0.5",
            )

    def __str__(self) -> str:
        return f"identity={self.threshold:g}"


Grouping = str | IdentityClusters
"""What keeps related items together: a label column, or clusters by sequence identity."""


def _grouping(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("identity="):
        return value
    try:
        return IdentityClusters(float(value.removeprefix("identity=")))
    except ValueError:
        raise UsageError(f"{value!r} is not an identity threshold", fix="write it as identity=0.5") from None


def _today(value: Any) -> Any:
    """Return names of baselines as they are today; `2-mers` and `3-mers` are read for one release."""
    older = {"2-mers": "dipeptides", "3-mers": "tripeptides"}
    return tuple(older.get(name, name) for name in value) if isinstance(value, list | tuple) else value


_GroupingField = Annotated[
    Grouping | None,
    BeforeValidator(_grouping),
    PlainSerializer(lambda value: None if value is None else str(value)),
    Cli(metavar="COLUMN|identity=P", panel=STATISTICS),
]


class ProbeConfig(ParallelConfig, LabelsConfig):
    """What `phylocli probe` evaluates."""

    table: ClassVar[str] = "probe"

    tasks: Annotated[
        tuple[str, ...],
        Cli(metavar="NAME", multiple=True, values=PROBES.names, panel=TASKS, formerly=("task",)),
    ] = ()
    """Run only this probe; may be repeated. By default all that the labels allow."""
    columns: Annotated[tuple[str, ...], Cli(metavar="COLUMN", multiple=True, panel=TABLES, formerly=("label",))] = ()
    """Use only this label column; may be repeated. By default all that fit."""
    baselines: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_today),
        Cli(
            metavar="NAME",
            multiple=True,
            values=BASELINES.names,
            also=("untrained", "none"),
            panel=TASKS,
            formerly=("baseline",),
        ),
    ] = None
    """Baseline to compute, 'untrained' (the first model with random weights), or 'none'; may be repeated. By default
    composition and dipeptides, and untrained if there is a model."""
    benchmark: Annotated[str | None, Cli(metavar="NAME", values=BENCHMARKS.names, panel=TASKS)] = None
    """A published evaluation by name, in place of --labels; see --data."""
    part: Annotated[str | None, Cli(metavar="NAME", panel=TASKS)] = None
    """The part of the benchmark that is scored; by default a validation part, if it has one."""
    layers: Annotated[Literal["all"] | None, Cli(panel=TASKS)] = None
    """Score the headline metric of each probe on every layer of the first model too."""
    split_column: Annotated[str, Cli(metavar="COLUMN", panel=STATISTICS)] = "split"
    """Label column of train, valid or test."""
    split_by: _GroupingField = None
    """Without a split: keep the classes of this column, or clusters by sequence identity, within one fold each."""
    resample_by: _GroupingField = None
    """Let the bootstrap resample whole classes of this column, or clusters by sequence identity."""
    replicates: Annotated[int, Field(ge=100), Cli(metavar="N", panel=STATISTICS)] = 2000
    """Bootstrap replicates."""
    profiles: Annotated[str | None, Cli(metavar="HMM", panel=GENERATION, file=True)] = None
    """HMMER3 profiles of the families, such as Pfam-A.hmm, whose gathering thresholds count. By default, and where it has
    none, they are built from the training members."""
    min_bits: Annotated[float, Field(gt=0, lt=math.inf), Cli(metavar="BITS", panel=GENERATION)] = MIN_BITS
    """Threshold of families without a gathering threshold."""
    projection: Annotated[Projection, Cli(panel=REPORT, formerly=("map",))] = "auto"
    """Method of the two-dimensional map; auto is UMAP if it is installed, else t-SNE."""
    title: Annotated[str | None, Cli(metavar="TEXT", panel=REPORT)] = None
    """Title of the report."""
    device: Device = "auto"
    seed: Seed = 0

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of labels that the user names."""
        return self.columns

    @model_validator(mode="after")
    def _check_benchmark(self) -> Self:
        if self.part is not None and self.benchmark is None:
            raise UsageError("part needs a benchmark", fix="give benchmark too")
        return self
