"""Runs probes on every embedding and gathers the rows of the report: figures with intervals, paired differences, curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from phylocli.core import console
from phylocli.core.protocols import ProbePlugin
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.statistics.bootstrap import Figure, interval, paired_difference, replicate

CHANCE = "chance"
"""How rows call the chance level in the metrics table."""


def concerns(module: ProbePlugin, embedding: Embedding) -> bool:
    """Return whether a probe can be asked of an embedding: of residues, of similarities, or of vectors."""
    if embedding.search is not None:
        return getattr(module, "BY_SIMILARITY", False)
    if getattr(module, "NEEDS_RESIDUES", False):
        return embedding.residues is not None
    return not embedding.only_residues


def number(value: float) -> float | None:
    """Return a finite value, or None, as JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


class Scorer:
    """Runs probes and gathers rows; one instance a run."""

    def __init__(self, data: Dataset, embeddings: list[Embedding], replicates: int, seed: int) -> None:
        self.data = data
        self.embeddings = embeddings
        self.replicates = replicates
        self.seed = seed
        self.metrics: list[dict[str, Any]] = []
        self.differences: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.notes: list[dict[str, str]] = []
        self.layers: list[dict[str, Any]] = []

    def score(self, task: str, module: ProbePlugin, level: str, advance: Callable[[], None]) -> None:
        """Measure every embedding at one level and compare the first with the others."""
        first: dict[str, tuple[Figure, np.ndarray]] = {}
        chance: dict[str, float] = {}
        for embedding in self.embeddings:
            if not concerns(module, embedding):
                advance()
                continue
            console.detail(f"{task}, {level}: {embedding.name}")
            found = module.measure(self.data, embedding, level, self.seed)
            if embedding is self.embeddings[0] and found.note:
                self.notes.append({"task": task, "level": level, "note": found.note})
            for name, (x, y) in found.curves.items():
                points = {"x": [float(v) for v in x], "y": [float(v) for v in y]}
                self.curves.append({"task": task, "level": level, "name": name, "embedding": embedding.name, **points})
            figures = {figure.metric: figure for figure in found.figures}
            for metric in module.METRICS:
                if metric in figures:
                    self._add(task, module, level, embedding, figures[metric], first)
                    if figures[metric].chance is not None:
                        chance.setdefault(metric, float(figures[metric].chance or 0.0))
            advance()
        for metric, value in chance.items():
            n = first[metric][0].n if metric in first else 0
            self._row(CHANCE, task, level, metric, value, float("nan"), float("nan"), n)

    def score_layer(self, layer: int, embedding: Embedding, chosen: dict[str, tuple[ProbePlugin, list[str]]]) -> None:
        """Measure the headline of every chosen probe on one layer of a model."""
        for task, (module, levels) in chosen.items():
            headline = next(iter(module.METRICS))
            for level in levels:
                found = module.measure(self.data, embedding, level, self.seed)
                figure = next((f for f in found.figures if f.metric == headline), None)
                if figure is None:
                    continue
                draws = replicate(figure, self.replicates, self.seed, self.data.groups(figure.rows))
                low, high = interval(figure, draws)
                row = {"task": task, "level": level, "metric": headline, "layer": layer, "value": number(figure.value)}
                self.layers.append({**row, "low": number(low), "high": number(high), "n": figure.n})

    def _row(self, name: str, task: str, level: str, metric: str, value: float, low: float, high: float, n: int) -> None:
        self.metrics.append(
            {
                "embedding": name,
                "task": task,
                "level": level,
                "metric": metric,
                "value": number(value),
                "low": number(low),
                "high": number(high),
                "n": n,
            }
        )

    def _add(
        self,
        task: str,
        module: ProbePlugin,
        level: str,
        embedding: Embedding,
        figure: Figure,
        first: dict[str, tuple[Figure, np.ndarray]],
    ) -> None:
        groups = self.data.groups(figure.rows)
        draws = replicate(figure, self.replicates, self.seed, groups)
        low, high = interval(figure, draws)
        self._row(embedding.name, task, level, figure.metric, figure.value, low, high, figure.n)
        if embedding is self.embeddings[0]:
            first[figure.metric] = (figure, draws)
            return
        better = module.METRICS[figure.metric].better
        if better is None or figure.metric not in first:
            return
        own, own_draws = first[figure.metric]
        units = len(np.unique(groups)) if groups is not None else figure.n
        found = paired_difference(own, figure, own_draws, draws, units)
        self.differences.append(
            {
                "embedding": self.embeddings[0].name,
                "other": embedding.name,
                "task": task,
                "level": level,
                "metric": figure.metric,
                "difference": number(found.value),
                "low": number(found.low),
                "high": number(found.high),
                "p": number(found.p),
                "better": better,
                "n": figure.n,
            }
        )
