"""Representations of nodes and of whole graphs, learned without labels: Deep Graph Infomax and InfoGraph."""

from __future__ import annotations

from phylocli.graphs.batch import Graphs
from phylocli.graphs.dgi import DeepGraphInfomax
from phylocli.graphs.infograph import InfoGraph
from phylocli.graphs.saving import classify_graphs, embed_graphs, load_graph_model

__all__ = ["DeepGraphInfomax", "Graphs", "InfoGraph", "classify_graphs", "embed_graphs", "load_graph_model"]
