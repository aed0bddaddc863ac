"""Folders of graph models: how features are standardised, the weights, and the embedding of graphs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.formats.embeddings.table import FloatArray
from phylocli.formats.streams import PathLike
from phylocli.graphs.batch import Graphs
from phylocli.graphs.dgi import Corruption, DeepGraphInfomax
from phylocli.graphs.infograph import InfoGraph

FILE = "graphs.safetensors"
"""Description, weights and standardisation of a graph model."""


@dataclass(frozen=True)
class Architecture:
    """What builds a graph model again.

    Attributes:
        kind: `dgi` or `infograph`.
        features: of a node.
        hidden, layers: of the encoder.
        corruption: of Deep Graph Infomax.
        classes: names of the classes of semi-supervised InfoGraph.
        agreement: see `InfoGraph`.
    """

    kind: Literal["dgi", "infograph"]
    features: int
    hidden: int
    layers: int
    corruption: Corruption = "shuffle"
    classes: tuple[str, ...] = ()
    agreement: float = 0.001

    def build(self) -> GraphModel:
        """Return a model with random weights."""
        return GraphModel(self)


class GraphModel(nn.Module):
    """A graph model with the standardisation of its inputs.

    Args:
        architecture: the architecture.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.register_buffer("mean", torch.zeros(a.features))
        self.register_buffer("scale", torch.ones(a.features))
        self.network: DeepGraphInfomax | InfoGraph = (
            DeepGraphInfomax(a.features, hidden=a.hidden, layers=a.layers, corruption=a.corruption)
            if a.kind == "dgi"
            else InfoGraph(a.features, hidden=a.hidden, layers=a.layers, classes=len(a.classes), agreement=a.agreement)
        )

    def standardise(self, features: torch.Tensor) -> None:
        """Set mean and scale from the features of the training nodes, (N, F)."""
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0, correction=0).clamp(min=1e-6))

    def prepared(self, graphs: Graphs) -> Graphs:
        """Return graphs with standardised features."""
        return Graphs((graphs.features - self.mean) / self.scale, graphs.ends, graphs.graph, graphs.count)

    def save(self, folder: PathLike) -> None:
        """Write the model into an existing folder."""
        arrays = {name: values.cpu().numpy() for name, values in self.state_dict().items()}
        write_arrays(Path(folder) / FILE, arrays, {"architecture": json.dumps(asdict(self.architecture), sort_keys=True)})


def load_graph_model(folder: PathLike) -> GraphModel:
    """Load a graph model, for `embed_graphs`.

    Args:
        folder: the model folder of a run of `train --recipe dgi|infograph`.

    Raises:
        BadInputError: the folder has no graph model, or it is damaged.
    """
    path = Path(folder) / FILE
    fix = "name the model folder of a run of 'phylocli train --recipe dgi' or 'infograph'"
    if not path.is_file():
        raise BadInputError(f"{folder} has no graph model", fix=fix)
    arrays, metadata = read_arrays(path, fix=fix)
    try:
        given: dict[str, Any] = json.loads(metadata["architecture"])
        model = Architecture(**{**given, "classes": tuple(given["classes"])}).build()
        model.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in arrays.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(f"{path} is damaged", why=str(error), fix=fix) from error
    return model.eval()


@torch.no_grad()
def embed_graphs(model: GraphModel, graphs: Graphs) -> FloatArray:
    """Return the vectors of the nodes (Deep Graph Infomax), (N, D), or of the graphs (InfoGraph), (G, D)."""
    found: FloatArray = model.eval().network.embed(model.prepared(graphs)).float().cpu().numpy()
    return found


@torch.no_grad()
def classify_graphs(model: GraphModel, graphs: Graphs) -> FloatArray:
    """Return the probability of each class of `model.architecture.classes` for each graph, (G, classes).

    Raises:
        UsageError: the model has no classes: it is not semi-supervised InfoGraph.
    """
    network = model.eval().network
    if not isinstance(network, InfoGraph) or network.supervised is None:
        raise UsageError("the model has no classes", fix="train it with --recipe infograph --set graphs.labels=TABLE")
    found: FloatArray = network.classify(model.prepared(graphs)).softmax(1).float().cpu().numpy()
    return found
