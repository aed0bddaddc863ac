"""Edges from embeddings: the same as those of a slow comparison of all pairs, with the E-values of a search."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from phylocli.config.network import NetworkConfig
from phylocli.core.errors import UsageError
from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.formats.networks import Network
from phylocli.network import similarity
from phylocli.network.communities import cover
from phylocli.network.similarity import edges_by_embedding, pairs_above, within
from phylocli.search import PreparedTable, search
from phylocli.search.evalues import cosine_cutoffs, log_p_values

RANDOM = np.random.default_rng(0)
GROUPS = np.repeat(RANDOM.normal(size=(60, 16)) * 1.2, 20, axis=0)
VECTORS = unit((RANDOM.normal(size=(1_200, 16)) + GROUPS).astype(np.float32))


@pytest.fixture(scope="module")
def table() -> EmbeddingTable:
    return EmbeddingTable("mine", [f"p{i}" for i in range(len(VECTORS))], 16, vectors=VECTORS)


def test_pairs_are_those_of_a_double_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", 7)
    vectors, cutoffs = VECTORS[:40], RANDOM.uniform(0, 1, 40)
    i, j, cosines = pairs_above(vectors, cutoffs)
    slow = {
        (a, b): float(vectors[a] @ vectors[b])
        for a, b in combinations(range(40), 2)
        if vectors[a] @ vectors[b] >= min(cutoffs[a], cutoffs[b])
    }
    assert len(slow) > 20 and set(zip(i.tolist(), j.tolist(), strict=True)) == set(slow)
    assert cosines == pytest.approx([slow[pair] for pair in zip(i.tolist(), j.tolist(), strict=True)], abs=1e-5)


@pytest.mark.parametrize("log_p", [-30.0, -8.0, np.log(20 / 1200) - 1e-9, np.log(20 / 1200), -2.0, -0.1, 0.0])
def test_a_cutoff_is_the_smallest_cosine_that_is_significant(log_p: float) -> None:
    queries = VECTORS[:50]
    cutoffs = cosine_cutoffs(queries, log_p, VECTORS)
    finite = np.isfinite(cutoffs)
    cosines = np.linspace(-0.999, 0.999, 401)[None].repeat(50, axis=0)
    significant = log_p_values(queries, cosines, VECTORS) <= log_p
    assert np.array_equal(significant[finite], (cosines >= cutoffs[:, None])[finite])
    assert not significant[~finite].any()


def test_all_edges_within_an_evalue_are_those_that_search_finds(table: EmbeddingTable) -> None:
    network = edges_by_embedding(PreparedTable(table), NetworkConfig(max_evalue=2.0))
    hits = search(table, table, number=len(table), max_evalue=2.0, exclude_self=True)
    found: dict[tuple[str, ...], float] = {}
    for query, target, evalue in hits.select("query", "target", "evalue").iter_rows():
        pair = tuple(sorted((query, target)))
        found[pair] = min(found.get(pair, np.inf), evalue)
    network = within(network, NetworkConfig(max_evalue=2.0))
    ours = {tuple(sorted((table.ids[a], table.ids[b]))): row for row, (a, b) in enumerate(network.ends.tolist())}
    assert len(found) > 100 and set(ours) == set(found)
    assert [network.attributes["evalue"][row] for row in ours.values()] == pytest.approx(
        [found[pair] for pair in ours], rel=1e-3
    )


def test_nearest_neighbours_are_joined_whichever_finds_the_other(table: EmbeddingTable) -> None:
    network = edges_by_embedding(PreparedTable(table), NetworkConfig(number=3))
    cosines = VECTORS @ VECTORS.T - 2 * np.eye(len(VECTORS), dtype=np.float32)
    slow = {tuple(sorted((i, int(j)))) for i, row in enumerate(cosines) for j in np.argsort(-row)[:3]}
    assert {tuple(pair) for pair in network.ends.tolist()} == slow
    assert network.degree.min() >= 3


def test_thresholds_and_the_best_of_each_node_apply_to_given_edges() -> None:
    ends = np.array([[0, 1], [0, 2], [0, 3], [1, 2]])
    network = Network("n", list("abcd"), ends, {"evalue": np.array([1e-9, 1e-5, 1e-3, 1e-7])})
    assert within(network, NetworkConfig(max_evalue=1e-5)).ends.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert within(network, NetworkConfig(), 1).ends.tolist() == [[0, 1], [0, 3], [1, 2]]
    assert within(network, NetworkConfig(max_evalue=1e-4), 1).ends.tolist() == [[0, 1], [1, 2]]
    with pytest.raises(UsageError, match="--min-identity needs edges with identity") as caught:
        within(network, NetworkConfig(min_identity=0.5))
    assert "--align" in (caught.value.fix or "")


def test_every_protein_is_similar_to_its_representative_and_hubs_represent() -> None:
    ends = np.array([[0, 1], [0, 2], [0, 3], [3, 4], [4, 5]])
    network, similarity_ = Network("n", list("abcdef"), ends), np.array([0.9, 0.9, 0.9, 0.9, 0.2])
    assert cover(network, similarity_, 0.5).tolist() == [0, 0, 0, 0, 4, 5]
    assert cover(network, similarity_, 0.95).tolist() == [0, 1, 2, 3, 4, 5]
