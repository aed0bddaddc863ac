"""Graphs as one disconnected graph: features of all nodes, edges, and the graph of each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Graphs:
    """Undirected graphs without loops.

    Attributes:
        features: of the N nodes, (N, F).
        ends: the nodes of each edge, (E, 2), each edge once.
        graph: the graph of each node, (N,), ascending.
        count: number of graphs, G.

    Examples:
        >>> import torch
        >>> from phylocli.graphs import Graphs
        >>> pair = Graphs(torch.eye(3), torch.tensor([[0, 1]]), torch.tensor([0, 0, 1]), 2)
        >>> pair.take(torch.tensor([1])).features
        tensor([[0., 0., 1.]])
    """

    features: Tensor
    ends: Tensor
    graph: Tensor
    count: int

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device) -> Self:
        """Return the graphs on a device."""
        return type(self)(self.features.to(device), self.ends.to(device), self.graph.to(device), self.count)

    def take(self, chosen: Tensor) -> Self:
        """Return some distinct graphs, (g,), in ascending order."""
        kept = torch.zeros(self.count, dtype=torch.bool, device=self.graph.device)
        kept[chosen] = True
        nodes = kept[self.graph]
        place, number = nodes.cumsum(0) - 1, kept.cumsum(0) - 1
        ends = self.ends[nodes[self.ends[:, 0]]]
        return type(self)(self.features[nodes], place[ends], number[self.graph[nodes]], len(chosen))

    def adjacency(self) -> Tensor:
        """Return the adjacency matrix, sparse, (N, N), symmetric."""
        both = torch.cat([self.ends, self.ends.flip(1)]).T
        ones = torch.ones(both.shape[1], dtype=self.features.dtype, device=both.device)
        return torch.sparse_coo_tensor(both, ones, (len(self), len(self)), check_invariants=False).coalesce()

    def propagation(self) -> Tensor:
        """Return D^-1/2 (A + I) D^-1/2, sparse, (N, N), where D are the degrees of A + I (Kipf & Welling 2017)."""
        loops = torch.arange(len(self), device=self.ends.device)
        both = torch.cat([self.ends, self.ends.flip(1), torch.stack([loops, loops], 1)]).T
        scale = torch.bincount(both[0], minlength=len(self)).to(self.features.dtype).rsqrt()
        values = scale[both[0]] * scale[both[1]]
        return torch.sparse_coo_tensor(both, values, (len(self), len(self)), check_invariants=False).coalesce()

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum of the nodes' values (N, D) over each graph, (G, D)."""
        return values.new_zeros(self.count, values.shape[1]).index_add(0, self.graph, values)

    def means(self, values: Tensor) -> Tensor:
        """Return the mean of the nodes' values (N, D) over each graph, (G, D)."""
        sizes = torch.bincount(self.graph, minlength=self.count).clamp(min=1).to(values.dtype)
        return self.sums(values) / sizes[:, None]
