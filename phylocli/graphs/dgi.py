"""Deep Graph Infomax: vectors of nodes that agree with a summary of their graph (Velickovic et al. 2019, arXiv 1809.10341).

    H = encoder(X, A)        s = sigmoid(mean of H)        D(h, s) = sigmoid(h^T W s)

    minimise  -1/2 ( E_nodes[ log D(h, s) ] + E_corrupted[ log(1 - D(h~, s)) ] )

The encoder is one or more graph convolutions (Kipf & Welling 2017, arXiv 1609.02907) with PReLU. Corrupted nodes h~ are
those of the same graph with permuted rows of X, or the nodes of another graph of the batch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.graphs.batch import Graphs

Corruption = Literal["shuffle", "graphs"]


class GraphConvolution(nn.Module):
    """A graph convolution: PReLU(P X W + b), where P is the normalised adjacency matrix with loops.

    Args:
        features: of a node.
        hidden: output features.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Linear(features, hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.activation = nn.PReLU(hidden)
        nn.init.xavier_uniform_(self.weight.weight)

    def forward(self, x: Tensor, propagation: Tensor) -> Tensor:
        """Return the output, (N, hidden), for features (N, features) and a sparse matrix (N, N)."""
        found: Tensor = self.activation(torch.sparse.mm(propagation, self.weight(x)) + self.bias)
        return found


class DeepGraphInfomax(nn.Module):
    """Encoder, readout and discriminator of Deep Graph Infomax.

    Args:
        features: of a node.
        hidden: features of a node's vector.
        layers: graph convolutions.
        corruption: `shuffle`, permuted rows of the features; or `graphs`, nodes of the next graph of the batch.

    Examples:
        >>> import torch
        >>> from phylocli.graphs import DeepGraphInfomax, Graphs
        >>> ring = Graphs(torch.randn(6, 4), torch.tensor([[i, (i + 1) % 6] for i in range(6)]), torch.zeros(6).long(), 1)
        >>> model = DeepGraphInfomax(4, hidden=8)
        >>> model.embed(ring).shape, model(ring)["loss"].shape
        (torch.Size([6, 8]), torch.Size([]))
    """

    def __init__(self, features: int, *, hidden: int = 128, layers: int = 1, corruption: Corruption = "shuffle") -> None:
        super().__init__()
        sizes = [features, *[hidden] * layers]
        self.encoder = nn.ModuleList(GraphConvolution(a, b) for a, b in pairwise(sizes))
        self.discriminator = nn.Parameter(torch.empty(hidden, hidden))
        self.corruption = corruption
        nn.init.uniform_(self.discriminator, -(hidden**-0.5), hidden**-0.5)

    def encode(self, x: Tensor, propagation: Tensor) -> Tensor:
        """Return the nodes' vectors, (N, hidden)."""
        for layer in self.encoder:
            x = layer(x, propagation)
        return x

    def embed(self, graphs: Graphs) -> Tensor:
        """Return the nodes' vectors, (N, hidden)."""
        return self.encode(graphs.features, graphs.propagation())

    def forward(self, graphs: Graphs, random: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return the loss, and `accuracy`, the fraction of nodes that the discriminator classifies correctly.

        Args:
            graphs: one or more graphs.
            random: for the permutation of rows.

        Raises:
            UsageError: there is one graph, and corruption by other graphs is asked for.
        """
        propagation = graphs.propagation()
        vectors = self.encode(graphs.features, propagation)
        summary = graphs.means(vectors).sigmoid() @ self.discriminator.T  # W s of each graph
        if self.corruption == "graphs":
            if graphs.count < 2:
                raise UsageError("corruption by other graphs needs several graphs", fix="use graphs.corruption=shuffle")
            corrupted, of = vectors, summary[(graphs.graph + 1) % graphs.count]
        else:
            order = torch.randperm(len(graphs), generator=random).to(graphs.features.device)
            corrupted, of = self.encode(graphs.features[order], propagation), summary[graphs.graph]
        real, false = (vectors * summary[graphs.graph]).sum(1), (corrupted * of).sum(1)
        loss = (F.softplus(-real).mean() + F.softplus(false).mean()) / 2
        accuracy = ((real > 0).float().mean() + (false < 0).float().mean()) / 2
        return {"loss": loss, "accuracy": accuracy.detach()}
