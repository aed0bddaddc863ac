"""InfoGraph: vectors of whole graphs that agree with those of their nodes (Sun et al. 2020, arXiv 1908.01000).

The encoder is a graph isomorphism network (Xu et al. 2019, arXiv 1810.00826). A node's vector is the concatenation of the
outputs of all layers, a graph's vector the sum of its nodes' vectors. The Jensen-Shannon objective of Deep InfoMax is
maximised for each node and its graph; negatives are the nodes and graphs of the batch that do not belong together.

The semi-supervised form (InfoGraph*) has a second encoder that learns the labels; the graph vectors of both encoders are
made to agree, layer by layer, so that the second one learns from graphs without labels, but is not made to serve both tasks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.graphs.batch import Graphs
from phylocli.objectives import jsd


class GraphIsomorphismNetwork(nn.Module):
    """Layers h' = norm(MLP(h + sum of the neighbours' h)).

    Args:
        features: of a node.
        hidden: of each layer.
        layers: number of layers.
    """

    def __init__(self, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [features, *[hidden] * layers]
        self.perceptrons = nn.ModuleList(
            nn.Sequential(nn.Linear(a, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()) for a in sizes[:-1]
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(layers))

    def forward(self, graphs: Graphs) -> list[Tensor]:
        """Return the output of each layer, (N, hidden) each."""
        adjacency, x, found = graphs.adjacency(), graphs.features, []
        for perceptron, norm in zip(self.perceptrons, self.norms, strict=True):
            x = norm(perceptron(x + torch.sparse.mm(adjacency, x)))
            found.append(x)
        return found


class Projection(nn.Module):
    """A perceptron with a linear shortcut, before nodes and graphs are compared.

    Args:
        features: of input and output.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        parts = [part for _ in range(3) for part in (nn.Linear(features, features), nn.ReLU())]
        self.block, self.shortcut = nn.Sequential(*parts), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projection, (n, features)."""
        found: Tensor = self.block(x) + self.shortcut(x)
        return found


class InfoGraph(nn.Module):
    """Encoder and projections of InfoGraph; with classes, its semi-supervised form.

    Args:
        features: of a node.
        hidden: of each layer.
        layers: of each encoder; a graph's vector has hidden · layers features.
        classes: of labelled graphs; 0: there are no labels.
        agreement: weight of the agreement of the two encoders.

    Examples:
        >>> import torch
        >>> from phylocli.graphs import Graphs, InfoGraph
        >>> two = Graphs(torch.randn(5, 3), torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 0, 1, 1, 1]), 2)
        >>> InfoGraph(3, hidden=4, layers=2).embed(two).shape
        torch.Size([2, 8])
    """

    def __init__(
        self, features: int, *, hidden: int = 32, layers: int = 3, classes: int = 0, agreement: float = 0.001
    ) -> None:
        super().__init__()
        self.encoder = GraphIsomorphismNetwork(features, hidden, layers)
        self.of_nodes, self.of_graphs = Projection(hidden * layers), Projection(hidden * layers)
        self.agreement = agreement
        self.supervised: GraphIsomorphismNetwork | None = None
        if classes:
            self.supervised = GraphIsomorphismNetwork(features, hidden, layers)
            self.classifier = nn.Sequential(nn.Linear(hidden * layers, hidden), nn.ReLU(), nn.Linear(hidden, classes))
            self.ours, self.theirs = (nn.ModuleList(Projection(hidden) for _ in range(layers)) for _ in range(2))

    def embed(self, graphs: Graphs) -> Tensor:
        """Return the graphs' vectors, (G, hidden · layers): of the supervised encoder if there are classes."""
        encoder = self.encoder if self.supervised is None else self.supervised
        return graphs.sums(torch.cat(encoder(graphs), dim=1))

    def classify(self, graphs: Graphs) -> Tensor:
        """Return the logits of the classes, (G, classes), of a model with classes."""
        logits: Tensor = self.classifier(self.embed(graphs))
        return logits

    def forward(self, graphs: Graphs, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return the loss and its terms: `mutual`; with classes also `classification` and `agreement`.

        Args:
            graphs: at least two.
            labels: class of each graph, (G,), -1 where unknown.
        """
        layers = self.encoder(graphs)
        nodes = torch.cat(layers, dim=1)
        scores = self.of_nodes(nodes) @ self.of_graphs(graphs.sums(nodes)).T
        own = graphs.graph[:, None] == torch.arange(graphs.count, device=scores.device)
        terms = {"mutual": F.softplus(-scores[own]).mean() + F.softplus(scores[~own]).mean()}
        loss = terms["mutual"]
        if self.supervised is not None:
            learned = self.supervised(graphs)
            known = torch.zeros(graphs.count, dtype=torch.bool) if labels is None else labels >= 0
            if labels is not None and known.any():
                logits = self.classifier(graphs.sums(torch.cat(learned, dim=1)))
                terms["classification"] = F.cross_entropy(logits[known], labels[known])
                loss = self.agreement * loss + terms["classification"]
            negatives = ~torch.eye(graphs.count, dtype=torch.bool, device=scores.device)
            agreements = [
                jsd.loss(theirs(graphs.sums(b)) @ ours(graphs.sums(a)).T, negatives)
                for ours, theirs, a, b in zip(self.ours, self.theirs, layers, learned, strict=True)
            ]
            terms["agreement"] = torch.stack(agreements).mean()
            loss = loss + self.agreement * terms["agreement"]
        return {"loss": loss, **{name: value.detach() for name, value in terms.items()}}
