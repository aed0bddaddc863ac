"""Smoothing of embeddings: equal to the definition, for tables and queries; and never mixed with vectors as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phylocli
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.models.model import Model
from phylocli.search.neighbourhoods.smoothing import Smoothing, smooth_embeddings

Run = Callable[..., Any]


def table(vectors: np.ndarray, ids: list[str] | None = None, **metadata: str) -> EmbeddingTable:
    ids = ids or [f"p{i:03d}" for i in range(len(vectors))]
    known = {"phylocli.model": "m", **metadata}
    return EmbeddingTable("t", ids, vectors.shape[1], known, vectors=vectors.astype(np.float32))


def by_definition(vectors: np.ndarray, k: int, rounds: int, query: np.ndarray | None = None) -> np.ndarray:
    """The smoothed table, or the smoothed query, one pair at a time."""
    x = [v / np.linalg.norm(v) for v in vectors.astype(np.float64)]
    for _ in range(rounds):
        near = [sorted((-float(a @ b), j) for j, b in enumerate(x) if j != i)[:k] for i, a in enumerate(x)]
        sets = [{j for _, j in found} for found in near]
        if query is not None:
            query = query / np.linalg.norm(query)
            total = query.copy()
            for negative, j in sorted((-float(query @ b), j) for j, b in enumerate(x))[:k]:
                if len(sets[j]) < k or negative <= near[j][-1][0]:
                    total = total + max(0.0, -negative) * x[j]
            query = total / np.linalg.norm(total)
        new = []
        for i, a in enumerate(x):
            total = a.copy()
            for negative, j in near[i]:
                if i in sets[j]:
                    total += max(0.0, -negative) * x[j]
            new.append(total / np.linalg.norm(total))
        x = new
    return np.array(x) if query is None else query


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 12), st.integers(1, 3))
def test_smoothed_vectors_are_those_of_the_definition(seed: int, n: int, k: int, rounds: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 6)) * rng.uniform(0.1, 10, (n, 1))
    found = smooth_embeddings(table(vectors), neighbours=k, rounds=rounds)
    np.testing.assert_allclose(found.vectors, by_definition(vectors, k, rounds), atol=1e-4)
    query = rng.normal(size=6)
    asked = smooth_embeddings(table(query[None], ["q"]), table(vectors), neighbours=k, rounds=rounds)
    np.testing.assert_allclose(asked.numpy()[0], by_definition(vectors, k, rounds, query), atol=1e-4)
    assert asked.metadata == found.metadata and asked.ids == ["q"]
    own = smooth_embeddings(table(vectors[:1], ["q"]), table(vectors), neighbours=k, rounds=rounds)
    np.testing.assert_allclose(own.numpy()[0], found.numpy()[0], atol=1e-6)


def test_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    vectors, order = rng.normal(size=(80, 8)), rng.permutation(80)
    one = smooth_embeddings(table(vectors)).numpy()
    other = smooth_embeddings(table(vectors[order])).numpy()
    np.testing.assert_allclose(one[order], other, atol=1e-5)


def test_a_row_that_is_among_the_nearest_of_nobody_stays_as_it_is() -> None:
    rng = np.random.default_rng(0)
    family = np.eye(8)[0] + rng.normal(scale=0.05, size=(20, 8))
    orphan = 0.3 * np.eye(8)[0] + np.eye(8)[5]
    smoothed = Smoothing(table(np.vstack([family, orphan])), 5, 2).vectors
    np.testing.assert_allclose(smoothed[-1], unit(orphan[None])[0], atol=1e-6)
    mean = family.mean(0) / np.linalg.norm(family.mean(0))
    assert (smoothed[:-1] @ mean > unit(family) @ mean).all()  # less noise


def test_smoothed_vectors_are_not_mixed_with_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    db, queries = table(rng.normal(size=(30, 8))), table(rng.normal(size=(3, 8)), ["a", "b", "c"])
    smoothed = smooth_embeddings(db)
    with pytest.raises(UsageError, match="smoothed before"):
        smooth_embeddings(smoothed)
    with pytest.raises(BadInputError, match="not been smoothed among the same embeddings"):
        phylocli.search(queries, smoothed)
    with pytest.raises(BadInputError, match="not been smoothed among the same embeddings"):
        phylocli.search(smooth_embeddings(queries, db, neighbours=4), smoothed)
    with pytest.raises(BadInputError, match="different models"):
        smooth_embeddings(table(rng.normal(size=(3, 8)), **{"phylocli.model": "other"}), db)
    with pytest.raises(UsageError, match="has been smoothed, and sequences have not"):
        phylocli.search([("q", "MKVLA")], smoothed)
    hits = phylocli.search(smooth_embeddings(queries, db), smoothed, number=2)
    assert hits["query"].to_list() == ["a", "a", "b", "b", "c", "c"] and hits["evalue"].null_count() == 6


@pytest.mark.parametrize("options", [{"min_cosine": 0.3}, {"max_evalue": 0.5}])
def test_limits_on_cosines_and_evalues_apply_before_the_best_are_taken(examples: Path, options: dict[str, float]) -> None:
    model = phylocli.load_model("default")
    db = model.embed(examples / "globins.fasta")
    every = phylocli.search(db, db, smooth=5, number=45, exclude_self=True)
    kept = every.filter(pl.col("cosine") >= 0.3 if "min_cosine" in options else pl.col("evalue") <= 0.5)
    assert 45 < len(kept) < len(every)
    expected = kept.group_by("query", maintain_order=True).head(3).select("query", "target")
    found = phylocli.search(db, db, smooth=5, number=3, exclude_self=True, **options)
    assert found.select("query", "target").equals(expected)
    best = phylocli.search(db, db, smooth=5, best=True, exclude_self=True, **options)
    assert best["query"].to_list() == kept["query"].unique(maintain_order=True).to_list()


def test_tables_that_do_not_record_a_smoothing_are_not_compared_with_smoothed_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    db = table(rng.normal(size=(30, 8)))
    db.write(tmp_path / "db.parquet")
    db.write(tmp_path / "db.tsv")
    smooth_embeddings(tmp_path / "db.parquet").write(tmp_path / "s.parquet")
    with pytest.raises(BadInputError, match="not been smoothed among the same") as caught:
        phylocli.search(tmp_path / "db.tsv", tmp_path / "s.parquet")
    assert caught.value.why is not None and "db.tsv does not record it" in caught.value.why
    order = rng.permutation(30)
    shuffled = EmbeddingTable("t", [db.ids[i] for i in order], 8, db.metadata, vectors=db.numpy()[order] + np.float32(1e-6))
    asked = smooth_embeddings(table(rng.normal(size=(2, 8)), ["a", "b"]), shuffled)
    assert len(phylocli.search(asked, tmp_path / "s.parquet", number=1)) == 2


def test_values_that_are_not_finite_and_large_k() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 4))
    found = smooth_embeddings(table(vectors), neighbours=10**12)
    np.testing.assert_allclose(found.numpy(), by_definition(vectors, 5, 2), atol=1e-5)
    vectors[3, 1] = np.nan
    with pytest.raises(BadInputError, match="p003"):
        smooth_embeddings(table(vectors))


def test_commands_smooth_targets_and_queries_in_pipes(cli: Run, phylocli: Run, examples: Path, tmp_path: Path) -> None:
    model = Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "mini")
    embedded = ("--model", model)
    db, smoothed = tmp_path / "db.parquet", tmp_path / "db.smooth.parquet"
    assert cli("embed", examples / "globins.fasta", *embedded, "-o", db).exit_code == 0
    done = cli("smooth", db, "-k", 5, "-o", smoothed)
    assert done.exit_code == 0 and "45 smoothed embeddings" in done.stderr, done.stderr
    assert (tmp_path / "db.smooth.parquet.provenance.json").is_file()
    queries = phylocli("smooth", "-", "--among", db, "-k", 5, "--format", "parquet", input=db.read_bytes())
    assert queries.returncode == 0, queries.stderr
    (tmp_path / "q.parquet").write_bytes(queries.stdout)
    hits = cli("search", tmp_path / "q.parquet", smoothed, "--best")
    assert hits.exit_code == 0, hits.stderr
    rows = [line.split("\t") for line in hits.stdout.splitlines()[1:]]
    assert len(rows) == 45 and all(query == target or float(cosine) == 1 for query, target, _, cosine, *_ in rows)
    assert pl.read_parquet(smoothed)["length"].equals(pl.read_parquet(db)["length"])
    before = smoothed.read_bytes()
    piped = phylocli("smooth", "-", "-o", tmp_path / "twice.parquet", input=before)
    assert piped.returncode == 2 and b"smoothed before" in piped.stderr and not (tmp_path / "twice.parquet").exists()
    for args, message in (
        ((smoothed,), "smoothed before"),
        ((db, "-o", db), "is an input"),
        ((db, "-o", tmp_path), "is a folder"),
        (("-", "--among", "-"), "cannot be two inputs"),
    ):
        again = cli("smooth", *args)
        assert again.exit_code == 2 and message in again.stderr and again.stdout == "", again.stderr
    assert "does not record" in cli("smooth", db, "-o", tmp_path / "s.npz").stderr and smoothed.read_bytes() == before


def test_search_ranks_by_smoothed_cosines_and_keeps_the_evalues(examples: Path) -> None:
    model = phylocli.load_model("default")
    db = model.embed(examples / "globins.fasta")
    queries = model.embed([("q1", "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERM"), ("q2", "MGLSDGEWQLVLNVWGKVEADIPGHGQEVLIRLFK")])
    hits = phylocli.search(queries, db, smooth=5, number=45)
    apart = phylocli.search(smooth_embeddings(queries, db, neighbours=5), smooth_embeddings(db, neighbours=5), number=45)
    same = ["query", "target", "rank"]
    assert hits.select("query", "rank", "smoothed").equals(apart.select("query", "rank", smoothed="cosine"))
    order = hits.sort("query", "smoothed", "cosine", descending=[False, True, True], maintain_order=True)
    assert order["target"].equals(hits["target"]) and set(hits["target"]) == set(apart["target"])
    plain = phylocli.search(queries, db, number=45)
    both = hits.join(plain, on=["query", "target"], how="left", maintain_order="left")
    np.testing.assert_allclose(both["cosine"], both["cosine_right"], atol=2e-6)
    np.testing.assert_allclose(both["evalue"], both["evalue_right"], rtol=1e-3)
    assert not hits["target"].equals(plain["target"])
    best = hits.group_by("query", maintain_order=True).first()
    assert [name[:3] for name in best["target"]] == ["HBA", "MYG"]
    aligned = phylocli.search(examples / "globins.fasta", examples / "globins.fasta", smooth=5, align=True, best=True)
    assert aligned.columns[:6] == [*same, "cosine", "evalue", "smoothed"] and aligned["query"].equals(aligned["target"])
    for options in ({"approximate": True}, {"quantise": "int8"}):
        with pytest.raises(UsageError, match="which no index has"):
            phylocli.search(queries, db, smooth=5, **options)
    smoothed = smooth_embeddings(db)
    with pytest.raises(UsageError, match="smoothed before"):
        phylocli.search(smoothed, smoothed, smooth=5)


def test_a_query_is_not_the_row_of_its_name() -> None:
    """A mutant may have the id of an unrelated row: `exclude_self` leaves that row out, and the query stays what it is."""
    vectors = np.random.default_rng(0).normal(size=(40, 16))
    mutant = table(vectors[7:8] + 0.05 * vectors[8:9], ["p000"])
    found = phylocli.search(mutant, table(vectors), number=3, smooth=5, exclude_self=True)["target"].to_list()
    assert found[0] == "p007" and "p000" not in found
