"""`search(queries, targets)`: objects in memory give the hits that the command writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import phylocli
from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import load_model
from phylocli.formats import read_sequences
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.search import search, search_file
from phylocli.search import targets as search_targets
from phylocli.search.queries import embed_queries
from phylocli.search.rerank import read_residues


@pytest.fixture(scope="module")
def table(examples: Path) -> EmbeddingTable:
    return load_model("default", "cpu").embed(examples / "globins.fasta")


def test_objects_and_files_give_the_same_hits(examples: Path, table: EmbeddingTable, tmp_path: Path) -> None:
    table.write(tmp_path / "db.parquet")
    search_file(examples / "globins.fasta", tmp_path / "db.parquet", tmp_path / "hits.parquet", number=4)
    written = pl.read_parquet(tmp_path / "hits.parquet")
    sequences = list(read_sequences(examples / "globins.fasta"))
    for queries, targets in ((sequences, table), (table, table), (sequences, tmp_path / "db.parquet")):
        assert search(queries, targets, number=4).equals(written)


def test_a_single_string_finds_itself_first_and_is_left_out_on_request(examples: Path, table: EmbeddingTable) -> None:
    first = next(iter(read_sequences(examples / "globins.fasta")))
    hits = search([(first.id, first.residues)], table, number=3)
    assert hits["target"][0] == first.id and hits["cosine"][0] == 1 and hits["evalue"][0] < 1e-6
    without = search([(first.id, first.residues)], table, number=2, exclude_self=True)
    assert without["target"].to_list() == hits["target"].to_list()[1:]


def test_hits_are_reranked_by_alignment_of_sequences_in_memory(examples: Path, table: EmbeddingTable) -> None:
    sequences = list(read_sequences(examples / "globins.fasta"))
    hits = search(sequences[:1], table, number=5, align=True, sequences=sequences)
    assert hits["align_bits"].is_sorted(descending=True) and hits["target"][0] == sequences[0].id


def test_a_prepared_table_has_the_same_hits_and_loads_its_model_once(
    examples: Path, table: EmbeddingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            loaded.append(function.__name__)
            return function(*given, **options)

        return call

    monkeypatch.setattr(search_targets, "embedder_of", counted(search_targets.embedder_of))
    monkeypatch.setattr(search_targets, "background_of", counted(search_targets.background_of))
    prepared = search_targets.PreparedTable(table)
    sequences = list(read_sequences(examples / "globins.fasta"))
    letters = {sequence.id: sequence.residues for sequence in sequences}
    for queries in (sequences[:3], sequences[5:8]):
        assert search(queries, prepared, number=4).equals(search(queries, table, number=4))
    assert search(sequences[:1], prepared, number=2, align=True, sequences=letters)["target"][0] == sequences[0].id
    assert loaded.count("embedder_of") == loaded.count("background_of") == 3  # two of them for the table as it is


def test_what_reranking_lacks_is_named(table: EmbeddingTable) -> None:
    with pytest.raises(UsageError, match="query sequences"):
        search(table, table, rerank="residues")
    with pytest.raises(UsageError, match="target sequences"):
        search(["MKTAYIAKQRQISFVKSHFSRQ"], table, rerank="residues")
    with pytest.raises(UsageError, match="needs a table in a file"):
        search(table, table, approximate=True)


def test_no_queries_and_values_that_are_not_finite_are_errors() -> None:
    embedder = phylocli.load_model("default")
    calls: list[int] = []
    embedder.on_batch = calls.append
    with pytest.raises(BadInputError, match="there are no queries"):
        embed_queries([], embedder)
    embed_queries(["MKVLAG"], embedder)
    assert embedder.on_batch == calls.append and not calls
    table = EmbeddingTable("t", ["a", "b"], 2, {}, vectors=np.array([[1, 0], [np.nan, 1]], dtype=np.float32))
    for source in (table, dataclasses.replace(table, unit=True)):
        with pytest.raises(BadInputError, match="'b' has values that are not numbers"):
            phylocli.search(source, source)


def test_sequences_in_a_mapping_are_read_like_others() -> None:
    assert read_residues(["a"], {"a": "mk-v.L"}) == {"a": "MKVL"}
    with pytest.raises(BadInputError, match="a"):
        read_residues(["a"], {"a": "MK1"})
