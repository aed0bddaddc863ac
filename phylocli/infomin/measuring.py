"""Evaluation of one run: mutual information of held-out views, and embedding quality of held-out members."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from phylocli.config.mi_estimate import MiEstimateConfig
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.embed import Embedder
from phylocli.encoders import pad_batch
from phylocli.formats import Family
from phylocli.infomin.replicated import remembered
from phylocli.mi import Paired, estimate
from phylocli.models.model import Model
from phylocli.probe import Dataset, Embedding, evaluate
from phylocli.train.data.compiled import Cache
from phylocli.train.data.loading import load_corpus
from phylocli.train.run_folder import CONFIG, MODEL

QUALITIES = {
    "retrieval": ("retrieval", "family", "sensitivity to first FP"),
    "clan": ("retrieval", "superfamily", "sensitivity to first FP"),
    "patristic": ("patristic", None, "patristic correlation"),
}
"""Quality metrics by name: the probe's task, level (None: its only one) and metric."""
BOUNDS = {"retrieval": (0.0, 1.0), "clan": (0.0, 1.0), "patristic": (-1.0, 1.0)}
"""Least and greatest value of each."""
ESTIMATORS = ("infonce", "smile:clip=5")
"""NWJ is excluded: its exponential is unbounded and gave minus a hundred million nats on held-out pairs of wide
embeddings."""
PAIRS = 1200
STEPS = 400
MEASURED = "infomin.json"
SETTLED = ("model", "estimators", "asked", "steps", "on")
"""Dependencies of a measurement: if one of them changes, it is repeated."""


Figures = dict[str, str | int | float | list[str] | None]
"""Measurements of a run by name, None if undefined, and their dependencies."""


def measure(
    run: Path,
    inputs: Sequence[Path],
    scored: Sequence[Family],
    seed: int,
    *,
    cache: Cache = True,
) -> Figures:
    """Return the metrics of one trained run; earlier results are read from its folder.

    The mutual information is that between the run's own embeddings of the two views of held-out pairs: a lower bound on the
    information shared by the views (data processing inequality). Critics are trained on some of these pairs and evaluated on
    others (`phylocli.mi.estimate`); the ceiling of InfoNCE is log K. Quality is measured by the probes.

    Args:
        run: folder of a completed training run.
        inputs: the inputs of the run.
        scored: families with trees on which quality is measured; the run was not trained on any of their members.
        seed: of the run.
        cache: cache of compiled families, as in `train_model`.

    Returns:
        `nats_<estimator>`, `ceiling_nats`, `pairs`, `distance` (mean of the sampled pairs, None if undefined), and for each
        of `QUALITIES` its value or None; `members`: number of members on which quality was measured.

    Raises:
        UsageError: the run has no held-out members.
        BadInputError: too few held-out members.
    """
    model = Model.load(run / MODEL)
    on = hashlib.sha256("".join(f.tree.to_newick() if f.tree else "" for f in scored).encode()).hexdigest()
    key: Figures = {"model": model.fingerprint, "estimators": list(ESTIMATORS), "asked": PAIRS, "steps": STEPS, "on": on}
    config = TrainConfig.read(run / CONFIG).updated(seed=seed)

    def compute() -> Figures:
        with _silence():
            return {**_information(model, config, inputs, cache), **_quality(model, scored)}

    return remembered(run / MEASURED, key, compute)


def _silence() -> contextlib.AbstractContextManager[None]:
    # Training has already reported on the families, and no baseline is needed here.
    return contextlib.nullcontext() if console.level() == console.VERBOSE else console.at_level(console.SILENT)


@torch.no_grad()
def _vectors(model: Model, tokens: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    order = np.argsort([len(t) for t in tokens], kind="stable")
    found = np.zeros((len(tokens), model.dimension), dtype=np.float32)
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        found[rows] = model(*pad_batch([tokens[row] for row in rows])).float().numpy()
    return found


def _information(model: Model, config: TrainConfig, inputs: Sequence[Path], cache: Cache) -> Figures:
    """Return the mutual information of held-out views in nats, by estimator."""
    pairs = load_corpus(inputs, config, cache=cache).validation(PAIRS)
    if pairs is None:
        raise UsageError("no members are held out", fix="train with validation.fraction above 0, on larger families")
    # Dropout is a view only if the encoder is in training mode.
    model.train(config.view.name == "dropout")
    torch.manual_seed(config.seed)
    a, b = _vectors(model, pairs.a), _vectors(model, pairs.b)
    model.eval()
    data = Paired([str(row) for row in range(len(a))], a, b)
    estimation = MiEstimateConfig(estimators=ESTIMATORS, steps=STEPS, control=False, replicates=100, seed=config.seed)
    found: Figures = {"pairs": len(a)}
    for one in estimate(data, estimation):
        name = one.estimator.split(":")[0]
        found[f"nats_{name}"] = one.estimate_nats
        if name == "infonce":
            found["ceiling_nats"] = one.ceiling_nats
    known = pairs.distance[np.isfinite(pairs.distance)]
    return {**found, "distance": float(known.mean()) if len(known) else None}


def _quality(model: Model, families: Sequence[Family]) -> Figures:
    """Return the probe metrics on whole members of these families."""
    rows = [
        (s.id, family.accession or family.label, family.clan or family.accession or family.label, s.residues)
        for family in families
        for s in family.sequences()
    ]
    frame = pl.DataFrame(rows, schema=["id", "family", "superfamily", "sequence"], orient="row")
    frame = frame.unique("id", keep="first", maintain_order=True)
    ids = frame["id"].to_list()
    embedding = Embedding("run", ids, Embedder(model).pooled(frame["sequence"].to_list()))
    data = Dataset.from_labels(frame.drop("sequence"), "held-out members", trees=families)
    tasks = sorted({task for task, _, _ in QUALITIES.values()})
    metrics = evaluate(data, [embedding], tasks=tasks, replicates=100).to_polars()
    found: Figures = {"members": len(ids)}
    for name, (task, level, metric) in QUALITIES.items():
        chosen = metrics.filter(
            (pl.col("embedding") == "run") & (pl.col("task") == task) & (pl.col("metric") == metric)
            & (pl.lit(True) if level is None else pl.col("level") == level)
        )  # fmt: skip
        found[name] = chosen["value"][0] if chosen.height else None
    return found
