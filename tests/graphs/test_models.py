"""Deep Graph Infomax and InfoGraph: equal to slow versions and to torch-geometric, node by node."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from phylocli.core.errors import BadInputError, UsageError
from phylocli.graphs import DeepGraphInfomax, Graphs, InfoGraph, embed_graphs, load_graph_model
from phylocli.graphs.saving import FILE, Architecture


def graphs(seed: int = 0) -> Graphs:
    """Three graphs: a cycle with a chord, a path, and a node alone."""
    ends = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3], [4, 5], [5, 6]])
    features = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
    return Graphs(features, ends, torch.tensor([0, 0, 0, 0, 1, 1, 1, 2]), 3)


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def slow_dgi(model: DeepGraphInfomax, given: Graphs, false_nodes: torch.Tensor, shift: int) -> float:
    """Return the loss node by node.

    Args:
        false_nodes: vectors of the false nodes, (N, hidden).
        shift: of the graph with whose summary a false node is scored.
    """
    real, total = model.embed(given).detach(), 0.0
    for node in range(len(given)):
        for vectors, positive, other in ((real, True, 0), (false_nodes, False, shift)):
            graph = (int(given.graph[node]) + other) % given.count
            members = [i for i in range(len(given)) if given.graph[i] == graph]
            summary = [1 / (1 + math.exp(-sum(float(real[i, d]) for i in members) / len(members))) for d in range(8)]
            score = sum(
                float((vectors[node, i] * model.discriminator[i, j]).detach()) * summary[j]
                for i in range(8)
                for j in range(8)
            )
            total += softplus(-score if positive else score)
    return total / (2 * len(given))


@pytest.mark.parametrize("corruption", ["shuffle", "graphs"])
def test_deep_graph_infomax_is_its_formula_node_by_node(corruption: str) -> None:
    torch.manual_seed(0)
    given, model = graphs(), DeepGraphInfomax(4, hidden=8, layers=2, corruption=corruption)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(5))
    shuffled = Graphs(given.features[order], given.ends, given.graph, given.count)
    false = model.embed(given if corruption == "graphs" else shuffled)
    found = model(given, torch.Generator().manual_seed(5))["loss"].item()
    assert found == pytest.approx(slow_dgi(model, given, false, 1 if corruption == "graphs" else 0), rel=1e-4)


def test_deep_graph_infomax_equals_torch_geometrics() -> None:
    from torch_geometric.nn import DeepGraphInfomax as ReferenceDGI  # which takes seconds in each process
    from torch_geometric.nn import GCNConv

    torch.manual_seed(0)
    given = graphs().take(torch.tensor([0]))
    model = DeepGraphInfomax(4, hidden=8)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(3))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.activation = GCNConv(4, 8), nn.PReLU(8)

        def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
            return self.activation(self.convolution(x, edges))

    reference = ReferenceDGI(8, Encoder(), lambda z, *_: z.mean(0).sigmoid(), lambda x, edges: (x[order], edges))
    own = model.encoder[0]
    with torch.no_grad():
        own.bias.normal_()
        reference.encoder.convolution.lin.weight.copy_(own.weight.weight)
        reference.encoder.convolution.bias.copy_(own.bias)
        reference.weight.copy_(model.discriminator)
    edges = torch.cat([given.ends, given.ends.flip(1)]).T
    positive, negative, summary = reference(given.features, edges)
    assert torch.allclose(model.embed(given), positive, atol=1e-5)
    expected = reference.loss(positive, negative, summary) / 2  # theirs is the sum of both terms
    assert model(given, torch.Generator().manual_seed(3))["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_graph_isomorphism_layer_equals_torch_geometrics() -> None:
    from torch_geometric.nn import GINConv

    torch.manual_seed(0)
    given, model = graphs(), InfoGraph(4, hidden=6, layers=1).eval()
    reference = GINConv(model.encoder.perceptrons[0])
    edges = torch.cat([given.ends, given.ends.flip(1)]).T
    nodes = model.encoder.norms[0](reference(given.features, edges))
    expected = torch.stack([nodes[given.graph == graph].sum(0) for graph in range(3)])
    assert torch.allclose(model.embed(given), expected, atol=1e-5)


def test_infograph_is_its_formula_for_each_node_and_graph() -> None:
    torch.manual_seed(0)
    given, model = graphs(), InfoGraph(4, hidden=3, layers=2).eval()
    nodes = torch.cat(model.encoder(given), dim=1)
    whole = torch.stack([nodes[given.graph == graph].sum(0) for graph in range(3)])
    scores = (model.of_nodes(nodes) @ model.of_graphs(whole).T).detach()
    own, other = [], []
    for node in range(8):
        for graph in range(3):
            score = float(scores[node, graph])
            if graph == given.graph[node]:
                own.append(softplus(-score))
            else:
                other.append(softplus(score))
    expected = sum(own) / len(own) + sum(other) / len(other)
    assert len(own) == 8 and model(given)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_the_semi_supervised_form_adds_classes_and_the_agreement_of_each_layer() -> None:
    torch.manual_seed(0)
    given, labels = graphs(), torch.tensor([1, -1, 0])
    model = InfoGraph(4, hidden=3, layers=2, classes=2, agreement=0.1).eval()
    found = model(given, labels)
    logits = model.classify(given).log_softmax(1).detach()
    assert found["classification"].item() == pytest.approx(-float(logits[0, 1] + logits[2, 0]) / 2, rel=1e-5)
    agreements = []
    pairs = zip(model.encoder(given), model.supervised(given), model.ours, model.theirs, strict=True)
    for a, b, ours, theirs in pairs:
        u, v = ours(given.sums(a)).detach(), theirs(given.sums(b)).detach()
        same = [softplus(-float(v[g] @ u[g])) for g in range(3)]
        apart = [softplus(float(v[g] @ u[h])) for g in range(3) for h in range(3) if g != h]
        agreements.append(sum(same) / 3 + sum(apart) / 6)
    assert found["agreement"].item() == pytest.approx(sum(agreements) / 2, rel=1e-4)
    total = found["classification"] + 0.1 * (found["mutual"] + found["agreement"])
    assert found["loss"].item() == pytest.approx(total.item(), rel=1e-5)
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_graphs_that_are_taken_keep_their_edges_and_nodes_order_does_not_matter() -> None:
    torch.manual_seed(0)
    given, model = graphs(), InfoGraph(4, hidden=3, layers=2).eval()
    assert torch.allclose(model.embed(given.take(torch.tensor([0, 2]))), model.embed(given)[[0, 2]], atol=1e-5)
    order = torch.tensor([2, 0, 3, 1, 6, 5, 4, 7])
    place = order.argsort()
    moved = Graphs(given.features[order], place[given.ends], given.graph[order], 3)
    assert torch.allclose(model.embed(moved), model.embed(given), atol=1e-5)
    dgi = DeepGraphInfomax(4, hidden=8)
    assert torch.allclose(dgi.embed(moved), dgi.embed(given)[order], atol=1e-5)


def test_one_graph_has_no_other_graphs_nodes() -> None:
    alone = graphs().take(torch.tensor([1]))
    with pytest.raises(UsageError, match="needs several graphs"):
        DeepGraphInfomax(4, hidden=8, corruption="graphs")(alone)


@pytest.mark.parametrize("kind", ["dgi", "infograph"])
def test_a_saved_model_gives_the_same_vectors_and_a_damaged_one_is_refused(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    model = Architecture(kind, 4, 8, 2, classes=("a", "b") if kind == "infograph" else ()).build()
    model.standardise(graphs().features)
    model.save(tmp_path)
    again = load_graph_model(tmp_path)
    assert embed_graphs(again, graphs()) == pytest.approx(embed_graphs(model, graphs()), abs=1e-6)
    assert embed_graphs(again, graphs()).shape == ((8, 8) if kind == "dgi" else (3, 16))
    with pytest.raises(BadInputError, match="has no graph model"):
        load_graph_model(tmp_path / "elsewhere")
    data = bytearray((tmp_path / FILE).read_bytes())
    data[-3] ^= 255
    (tmp_path / FILE).write_bytes(bytes(data))
    with pytest.raises(BadInputError, match="is damaged"):
        load_graph_model(tmp_path)
