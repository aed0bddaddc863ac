"""Training graph models: Deep Graph Infomax on networks and trees, InfoGraph on trees.

It does not share the loop of contrastive training, whose batches are pairs of sequences of families: a graph is in memory as
a whole, its nodes are embedded together, and there is no sequence encoder, view or held-out member.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.streams import atomic_directory, write_text
from phylocli.formats.tables import graph_classes_schema, write_table
from phylocli.graphs import InfoGraph, classify_graphs, embed_graphs
from phylocli.graphs.saving import FILE, Architecture, GraphModel
from phylocli.models.model import CARD
from phylocli.train.data.graph_inputs import GraphInputs, read_graph_labels, read_graphs
from phylocli.train.full_batch.loop import finished, optimise
from phylocli.train.parallel.world import World, stream
from phylocli.train.report.row import Row
from phylocli.train.run_folder import MODEL
from phylocli.train.saved import Saved

logger = logging.getLogger(__name__)

EMBEDDINGS = "embeddings.parquet"
"""Vectors of the nodes of the run, or of its graphs."""
CLASSES = "classes.tsv"
"""Classes of the graphs of a semi-supervised run, as predicted."""


def train(folder: Path, config: TrainConfig, saved: Saved | None, device: torch.device, world: World) -> Path:
    """Train a graph model in a run folder, write the vectors of its nodes or graphs, and return the model folder.

    Args:
        folder: the run folder.
        config: with the task `dgi` or `infograph`.
        saved: the checkpoint to resume from.
        device: where to compute.
        world: of a single process.

    Raises:
        UsageError: there are several processes.
        BadInputError: the inputs cannot be read, nodes have no features, or there are too few graphs.
        DivergedError: the loss is not finite.
        Stopped: interrupted; a checkpoint is saved.
    """
    if finished(folder, config, saved, FILE, world):
        return folder / MODEL
    inputs = read_graphs(config.inputs, config.features)
    labels, classes = read_graph_labels(config, inputs.names)
    if config.task == "infograph" and inputs.graphs.count < 3:
        raise BadInputError(f"InfoGraph needs at least 3 graphs, not {inputs.graphs.count}", fix="give more families")
    if config.task == "dgi" and config.graphs.corruption == "graphs" and inputs.graphs.count < 2:
        raise UsageError("corruption by other graphs needs several graphs", fix="use graphs.corruption=shuffle")
    model = _make(config, inputs, classes).to(device)
    graphs = model.prepared(inputs.graphs.to(device))
    labels = None if labels is None else labels.to(device)
    size = sum(p.numel() for p in model.parameters())
    logger.info(f"training {config.task} ({size:,} weights), {device.type}")

    def terms(step: int) -> dict[str, torch.Tensor]:
        model.train()
        random = torch.Generator().manual_seed(stream(config.seed, step))
        if isinstance(model.network, InfoGraph):
            chosen = torch.randperm(graphs.count, generator=random)[: config.graphs.batch].sort().values
            own = None if labels is None else labels[chosen]
            found: dict[str, torch.Tensor] = model.network(graphs.take(chosen.to(device)), own)
            return found
        return model.network(graphs, random)

    rows = optimise(folder, config, model, saved, world, terms)
    _write(folder, config, model, inputs, labels, rows)
    return folder / MODEL


def _make(config: TrainConfig, inputs: GraphInputs, classes: tuple[str, ...]) -> GraphModel:
    """Return a model with random weights, a function of the seed, with the standardisation of the inputs."""
    given, features = config.graphs, inputs.graphs.features
    kind: Literal["dgi", "infograph"] = "dgi" if config.task == "dgi" else "infograph"
    architecture = Architecture(
        kind, features.shape[1], given.hidden, given.layers, given.corruption, classes, given.agreement
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = architecture.build()
    model.standardise(features)
    return model


def _write(
    folder: Path,
    config: TrainConfig,
    model: GraphModel,
    inputs: GraphInputs,
    labels: torch.Tensor | None,
    rows: list[Row],
) -> None:
    """Write the vectors, the predicted classes and the model folder."""
    vectors = embed_graphs(model, inputs.graphs.to(model.mean.device))
    of_nodes = config.task == "dgi"
    kept = [row for row, name in enumerate(inputs.nodes) if name] if of_nodes else list(range(len(inputs.names)))
    ids = [inputs.nodes[row] for row in kept] if of_nodes else inputs.names
    if len(set(ids)) < len(ids):
        names = [inputs.names[code] for code in inputs.graphs.graph[kept].tolist()] if of_nodes else ids
        ids = [f"{name}:{identity}" for name, identity in zip(names, ids, strict=True)] if of_nodes else _unique(ids)
    table = EmbeddingTable(EMBEDDINGS, ids, vectors.shape[1], vectors=np.ascontiguousarray(vectors[kept]))
    table.write(folder / EMBEDDINGS)
    if labels is not None:
        _write_classes(folder / CLASSES, ids, model, inputs, labels)
    what = counted(len(ids), "node" if of_nodes else "graph")
    card = f"# A graph model\n\n{config.idea}\n\n- {config.paper}\n- Trained {config.steps} steps on {what}; "
    card += f"loss {rows[-1]['loss']:.4f} at the end.\n" if rows else "\n"
    with atomic_directory(folder / MODEL) as part:
        model.save(part)
        write_text(part / CARD, card)
    logger.info(f"the vectors of {what} are in {folder / EMBEDDINGS}, the model is {folder / MODEL}")


def _write_classes(path: Path, ids: list[str], model: GraphModel, inputs: GraphInputs, labels: torch.Tensor) -> None:
    """Write the given and the predicted class of each graph."""
    import polars as pl

    classes = model.architecture.classes
    found = classify_graphs(model, inputs.graphs.to(model.mean.device))
    frame = pl.DataFrame(
        {
            "id": ids,
            "label": [classes[code] if code >= 0 else None for code in labels.tolist()],
            "predicted": [classes[code] for code in found.argmax(1)],
            "probability": found.max(1).astype(np.float64),
        },
        schema_overrides={"label": pl.String},
    )
    write_table(frame, path, graph_classes_schema())
    logger.info(f"the predicted classes, of {counted(int((labels < 0).sum()), 'graph')} without a label, are in {path}")


def _unique(names: list[str]) -> list[str]:
    """Return names of which equal ones are numbered."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return found
