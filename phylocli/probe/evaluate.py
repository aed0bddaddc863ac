"""Evaluation of embeddings by probes, with confidence intervals and paired differences."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.core.errors import PhylocliError, UsageError
from phylocli.core.plugins import PROBES
from phylocli.core.protocols import ProbePlugin
from phylocli.executors import Work, run_all
from phylocli.probe.evaluation_spec import TITLE
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.leakage import Leakage, find_leakage
from phylocli.probe.metrics import Metrics
from phylocli.probe.report.data import (
    Curve,
    DifferenceRow,
    EmbeddingInfo,
    LayerRow,
    MetricInfo,
    MetricRow,
    Note,
    TaskInfo,
)
from phylocli.probe.report.projection import project
from phylocli.probe.tasks import Measurement
from phylocli.statistics.bootstrap import Estimate, holm, interval, paired_difference, replicate

logger = logging.getLogger(__name__)

CHANCE = "chance"
"""Name of the chance level in the column `embedding` of the metrics."""


def evaluate(
    data: Dataset,
    embeddings: SequenceOf[Embedding],
    *,
    tasks: SequenceOf[str] | None = None,
    layers: Iterable[tuple[int, Embedding]] = (),
    replicates: int = 2000,
    projection: str = "none",
    title: str = TITLE,
    published: str = "",
    seed: int = 0,
    jobs: int = 1,
    cluster: str | None = None,
) -> Metrics:
    """Evaluate embeddings on the labels of their sequences, without reading or writing files.

    Args:
        data: the items and their labels.
        embeddings: embeddings with exactly the rows of `data`, in the same order; the first is compared with the others.
        tasks: probes to run; None runs all that apply to the labels.
        layers: number and embedding of further layers of the first embedding's model, on which the headline metric of each
            task is computed.
        replicates: number of bootstrap replicates.
        projection: method of the report's maps: `auto`, `umap`, `tsne`, `pca` or `none`.
        title: title of the report.
        published: published results, as a sentence.
        seed: random seed of folds, clusterings, subsamples and the bootstrap.
        jobs: number of processes; 1 uses the current process, 0 one process per core.
        cluster: a cluster instead of processes, see `ClusterConfig.parse`.

    Raises:
        UsageError: no embeddings are given, a requested probe does not exist or does not apply, or no probe applies.
    """
    from phylocli import __version__

    if not embeddings:
        raise UsageError("no embeddings to evaluate", fix="give at least one embedding or baseline")
    named = list(_named(embeddings))
    chosen = _applicable(tasks, data, named[0])
    leakage = _leakage(data, seed)
    scorer = _Scorer(data, named, replicates, seed)
    cells = [(task.name, level, k) for task in chosen for level in task.levels for k in range(len(named))]
    measured = _measured_cells(cells, data, named, replicates, seed, jobs, cluster)
    for task in chosen:
        for level in task.levels:
            scorer.score(task, level, measured)
    for _ in measured:  # none is left; this ends the workers, and prints what has become of the pieces
        raise AssertionError
    for layer, embedding in layers:
        scorer.score_layer(layer, embedding, chosen)
    return Metrics(
        title=title,
        version=__version__,
        published=published,
        embeddings=[_describe(embedding) for embedding in named],
        items=len(data),
        evaluated=len(data.evaluated_rows()),
        split=data.evaluate,
        replicates=replicates,
        resample_by=data.resample_by,
        seed=seed,
        tasks=[task.describe() for task in chosen],
        metrics=scorer.metrics,
        differences=_corrected(scorer.differences),
        layers=scorer.layers,
        notes=scorer.notes,
        curves=scorer.curves,
        leakage=leakage,
        maps=project(data, named, projection, seed),
    )


@dataclass(frozen=True)
class _Cell:
    """What a probe found for one embedding at one level, and the bootstrap replicates of each metric."""

    found: Measurement
    draws: dict[str, npt.NDArray[np.float64]]


_Place = tuple[str, str, int]
"""A probe, a level, and the number of an embedding."""


def _measured_cells(
    cells: SequenceOf[_Place],
    data: Dataset,
    embeddings: SequenceOf[Embedding],
    replicates: int,
    seed: int,
    jobs: int,
    cluster: str | None,
) -> Iterator[_Cell | None]:
    """Yield the results of all probes, in order. Search programs are objects of this process, and run in it."""
    here = {k for k, embedding in enumerate(embeddings) if embedding.search is not None}
    movable = [None if k in here else embedding for k, embedding in enumerate(embeddings)]
    work = Work(functools.partial(_measure_cell, data, movable, replicates, seed), unit="")
    moved = [cell for cell in cells if cell[2] not in here]
    pieces = ((f"{task}, {level}: {embeddings[k].name}", (task, level, k)) for task, level, k in moved)
    results = run_all(work, pieces, jobs=jobs, cluster=cluster, title="probing", total=len(moved))
    for cell in cells:
        yield _measure_cell(data, embeddings, replicates, seed, cell) if cell[2] in here else next(results)
    for _ in results if moved else ():
        raise AssertionError


def _measure_cell(
    data: Dataset, embeddings: SequenceOf[Embedding | None], replicates: int, seed: int, cell: _Place
) -> _Cell | None:
    name, level, k = cell
    probe, embedding = PROBES.load(name), embeddings[k]
    assert embedding is not None
    if not applies_to(probe, embedding):
        return None
    logger.debug(f"{name}, {level}: {embedding.name}")
    found = probe.measure(data, embedding, level, seed)
    known = [estimate for estimate in found.estimates if estimate.metric in probe.METRICS]
    draws = {e.metric: replicate(e, replicates, seed, _groups(data, e)) for e in known}
    # Nothing resamples them again, and a function made by a probe cannot be sent to another process.
    return _Cell(replace(found, estimates=[replace(e, statistic=None) for e in found.estimates]), draws)


def _groups(data: Dataset, estimate: Estimate) -> npt.NDArray[np.int64] | None:
    """Return the groups that the bootstrap resamples."""
    return data.groups(estimate.rows) if estimate.groups is None else estimate.groups


def task_names() -> list[str]:
    """Return the names of all probes, in the order of the report. Plugins that cannot be imported are skipped."""
    order: dict[str, int] = {}
    for name in PROBES.names():
        try:
            order[name] = getattr(PROBES.load(name), "ORDER", 1000)
        except PhylocliError as error:
            logger.warning(f"Skipping the probe {name!r}: {error.what}")
    return sorted(order, key=lambda name: (order[name], name))


@dataclass(frozen=True)
class _Task:
    """A probe to run and its levels (columns of labels)."""

    name: str
    probe: ProbePlugin
    levels: list[str]

    @property
    def headline(self) -> str:
        return next(iter(self.probe.METRICS))

    def describe(self) -> TaskInfo:
        metrics = {name: MetricInfo(metric.meaning, metric.better) for name, metric in self.probe.METRICS.items()}
        return TaskInfo(self.name, self.probe.TITLE, PROBES.summary(self.name), self.levels, metrics)


def applies_to(probe: ProbePlugin, embedding: Embedding) -> bool:
    """Return whether an embedding has the data that a probe needs: residue vectors, similarities, or vectors."""
    of_generated = getattr(probe, "OF_GENERATED", False)
    if of_generated or embedding.generated is not None:
        return of_generated and embedding.generated is not None
    if embedding.search is not None:
        return getattr(probe, "BY_SIMILARITY", False)
    if getattr(probe, "NEEDS_RESIDUES", False):
        return embedding.residues is not None
    return not embedding.only_residues


def _applicable(tasks: SequenceOf[str] | None, data: Dataset, first: Embedding) -> list[_Task]:
    """Return the probes to run with their levels: the requested ones, or all that apply to the labels.

    Raises:
        UsageError: a requested probe does not exist or does not apply, or no probe applies.
    """
    chosen: list[_Task] = []
    for name in [task.replace("_", "-") for task in tasks or task_names()]:
        probe = PROBES.load(name)
        if not tasks and getattr(probe, "ON_REQUEST", False):
            continue
        levels = probe.levels(data) if applies_to(probe, first) else []
        if levels:
            chosen.append(_Task(name, probe, levels))
        elif tasks:
            raise UsageError(
                f"the probe {name!r} does not apply to these labels",
                why=f"classes: {', '.join(data.classes) or 'none'}; terms: {', '.join(data.terms) or 'none'}; "
                f"quantities: {', '.join(data.values) or 'none'}; "
                f"labels of residues: {', '.join(data.residue_labels) or 'none'}; {len(data.trees)} trees"
                + ("" if applies_to(probe, first) else f"; {first.name} has no residue embeddings"),
                fix="see docs/probe.md for the requirements of each probe",
            )
    if not chosen:
        raise UsageError(
            "no probe applies to these labels",
            why="there is no column with several members per class, no quantity, and no tree",
            fix="check the labels table, or name a column with --columns",
        )
    return chosen


def _named(embeddings: SequenceOf[Embedding]) -> Iterable[Embedding]:
    """Yield the embeddings with unique names; the name `chance` is reserved."""
    taken = {CHANCE}
    for embedding in embeddings:
        name, number = embedding.name, 2
        while name in taken:
            name, number = f"{embedding.name}.{number}", number + 1
        taken.add(name)
        yield embedding if name == embedding.name else replace(embedding, name=name)


def _describe(embedding: Embedding) -> EmbeddingInfo:
    metadata = {key: value for key, value in embedding.metadata.items() if len(value) <= 400}
    return EmbeddingInfo(embedding.name, int(embedding.vectors.shape[1]), embedding.source, embedding.baseline, metadata)


def _leakage(data: Dataset, seed: int) -> Leakage | None:
    """Return the leakage between scored and training items, and warn of near-duplicates; None without split or sequences."""
    if not data.sequences or data.evaluate is None or not len(data.rows_of("train")):
        return None
    scored, training = (
        [data.sequences[data.ids[row]] for row in rows if data.ids[row] in data.sequences]
        for rows in (data.evaluated_rows(), data.rows_of("train"))
    )
    if not scored or not training:
        return None
    with console.progress_task("comparing scored and training sequences"):
        found = find_leakage(scored, training, seed)
    if found.near_duplicates:
        logger.warning(
            f"{found.near_duplicates:,} of {found.compared:,} scored sequences are near-duplicates of training sequences "
            "(identity of 0.9 or more)\nfix: split by identity clusters or families; the clades that 'phylocli run' and "
            "'pairs --holdout clades' hold out have no near-duplicates in the rest of their family"
        )
    return found


def _finite(value: float) -> float | None:
    """Return the value, or None if it is infinite or NaN, which JSON cannot represent."""
    return float(value) if math.isfinite(value) else None


class _Figures(TypedDict):
    value: float | None
    low: float | None
    high: float | None
    n: int


def _figures(estimate: Estimate, draws: npt.NDArray[np.float64]) -> _Figures:
    """Return value, 95 % confidence interval and number of items of an estimate, for a row of the report."""
    low, high = interval(estimate, draws)
    return {"value": _finite(estimate.value), "low": _finite(low), "high": _finite(high), "n": estimate.n}


def _corrected(differences: list[DifferenceRow]) -> list[DifferenceRow]:
    """Return the rows with p-values corrected for multiple comparisons (Holm)."""
    corrected = holm([math.nan if row.p is None else row.p for row in differences])
    return [replace(row, p_holm=_finite(float(p))) for row, p in zip(differences, corrected, strict=True)]


@dataclass
class _Scorer:
    """Runs probes and collects the rows of the report."""

    data: Dataset
    embeddings: list[Embedding]
    replicates: int
    seed: int
    metrics: list[MetricRow] = field(default_factory=list)
    differences: list[DifferenceRow] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    layers: list[LayerRow] = field(default_factory=list)

    def score(self, task: _Task, level: str, measured: Iterator[_Cell | None]) -> None:
        """Report every embedding at one level, and compare the first with the others.

        Args:
            task: the probe.
            level: the column of labels.
            measured: the results for each embedding are taken from it; None where the probe does not apply.
        """
        first: dict[str, tuple[Estimate, np.ndarray]] = {}
        chance: dict[str, float] = {}
        for embedding in self.embeddings:
            cell = next(measured)
            if cell is not None:
                self._report(task, level, embedding, cell, first, chance)
        for metric, value in chance.items():
            n = first[metric][0].n if metric in first else 0
            self.metrics.append(
                MetricRow(
                    embedding=CHANCE,
                    task=task.name,
                    level=level,
                    metric=metric,
                    value=_finite(value),
                    low=None,
                    high=None,
                    n=n,
                )
            )

    def _report(
        self,
        task: _Task,
        level: str,
        embedding: Embedding,
        cell: _Cell,
        first: dict[str, tuple[Estimate, np.ndarray]],
        chance: dict[str, float],
    ) -> None:
        found = cell.found
        if embedding is self.embeddings[0] and found.note:
            self.notes.append(Note(task.name, level, found.note))
        for name, (x, y) in found.curves.items():
            self.curves.append(Curve(task.name, level, name, embedding.name, [float(v) for v in x], [float(v) for v in y]))
        estimates = {estimate.metric: estimate for estimate in found.estimates}
        for metric, about in task.probe.METRICS.items():
            estimate = estimates.get(metric)
            if estimate is None:
                continue
            groups, draws = _groups(self.data, estimate), cell.draws[metric]
            figures = _figures(estimate, draws)
            self.metrics.append(MetricRow(embedding=embedding.name, task=task.name, level=level, metric=metric, **figures))
            if estimate.chance is not None:
                chance.setdefault(metric, float(estimate.chance))
            if embedding is self.embeddings[0]:
                first[metric] = (estimate, draws)
            elif about.better is not None and metric in first and not getattr(task.probe, "OF_GENERATED", False):
                # Item i of one generated set has nothing to do with item i of another, so their differences are not paired.
                own, own_draws = first[metric]
                units = len(np.unique(groups)) if groups is not None else estimate.n
                gap = paired_difference(own, estimate, own_draws, draws, units)
                self.differences.append(
                    DifferenceRow(
                        embedding=self.embeddings[0].name,
                        other=embedding.name,
                        task=task.name,
                        level=level,
                        metric=metric,
                        difference=_finite(gap.value),
                        low=_finite(gap.low),
                        high=_finite(gap.high),
                        p=_finite(gap.p),
                        better=about.better,
                        n=estimate.n,
                    )
                )

    def score_layer(self, layer: int, embedding: Embedding, tasks: list[_Task]) -> None:
        """Compute the headline metric of every task for one layer of a model."""
        for task in tasks:
            for level in task.levels:
                found = task.probe.measure(self.data, embedding, level, self.seed)
                estimate = next((e for e in found.estimates if e.metric == task.headline), None)
                if estimate is None:
                    continue
                draws = replicate(estimate, self.replicates, self.seed, self.data.groups(estimate.rows))
                figures = _figures(estimate, draws)
                self.layers.append(LayerRow(task=task.name, level=level, metric=task.headline, layer=layer, **figures))
