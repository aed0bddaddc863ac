"""Clusters of embeddings: thresholds hold, representatives are members, and no order matters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from phylocli.core.errors import UsageError
from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.search.neighbourhoods.clustering import cluster_embeddings


def table(vectors: np.ndarray, ids: list[str] | None = None) -> EmbeddingTable:
    ids = ids or [f"p{i:03d}" for i in range(len(vectors))]
    return EmbeddingTable("t", ids, vectors.shape[1], vectors=vectors.astype(np.float32))


@given(st.integers(0, 10**6), st.floats(-0.5, 0.95))
def test_every_member_has_the_requested_similarity_to_its_representative(seed: int, threshold: float) -> None:
    vectors = np.random.default_rng(seed).normal(size=(40, 3))
    found = cluster_embeddings(table(vectors), min_cosine=threshold)
    at = {name: row for row, name in enumerate(found["id"])}
    rows = [at[name] for name in found["representative"]]
    cosines = np.einsum("nd,nd->n", unit(vectors), unit(vectors)[rows])
    np.testing.assert_allclose(found["cosine"], cosines, atol=1e-5)
    assert (cosines >= threshold - 1e-5).all()
    own = found.filter(pl.col("id") == pl.col("representative"))
    assert own["cluster"].sort().to_list() == list(range(1, found["cluster"].n_unique() + 1))  # one in each cluster
    sizes = found.group_by("cluster").len().sort("cluster")["len"].to_list()
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("options", [{"min_cosine": 0.7}, {"number": 5}])
def test_the_order_of_the_rows_does_not_matter(options: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 4)).astype(np.float32)
    order = rng.permutation(60)
    first = cluster_embeddings(table(vectors), **options)
    other = cluster_embeddings(table(vectors[order], [f"p{i:03d}" for i in order]), **options)
    assert first.drop("cosine").equals(other.sort("id").drop("cosine"))


def test_groups_that_are_apart_are_found_by_threshold_and_by_number() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(4)[np.repeat(np.arange(4), [9, 7, 5, 3])]
    vectors = centres + rng.normal(scale=0.02, size=centres.shape)
    expected = np.repeat([1, 2, 3, 4], [9, 7, 5, 3]).tolist()
    assert cluster_embeddings(table(vectors), min_cosine=0.9)["cluster"].to_list() == expected
    assert cluster_embeddings(table(vectors), number=4)["cluster"].to_list() == expected
    for options in ({"min_cosine": 0.9}, {"number": 4}):
        own = cluster_embeddings(table(vectors), **options).filter(pl.col("id") == pl.col("representative"))
        assert own["cosine"].to_list() == [1.0] * 4


def test_the_representative_of_a_threshold_is_the_one_with_most_neighbours() -> None:
    angles = np.radians([0, 20, 40, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = cluster_embeddings(table(vectors), min_cosine=0.9)  # 20° has both neighbours, and 0° and 40° are too far apart
    assert found["representative"].to_list() == ["p001", "p001", "p001", "p003"]


def test_options_with_a_short_name_are_called_by_both(cli: Callable[..., Result]) -> None:
    assert "-k/-n/--number must be at least 1, not 0" in cli("cluster", "x.parquet", "-k", "0").stderr


def test_options_that_exclude_each_other_and_too_many_clusters_are_usage_errors() -> None:
    vectors = np.eye(3)
    with pytest.raises(UsageError, match="exclude each other"):
        cluster_embeddings(table(vectors), min_cosine=0.5, number=2)
    with pytest.raises(UsageError, match="4 clusters of 3 embeddings"):
        cluster_embeddings(table(vectors), number=4)
