"""What is known of the proteins of a table: labels, descriptions and sequences, and where they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.serve.proteins import Proteins, read_proteins

IDS = ["HBA_HUMAN", "HBB_HUMAN", "MYG_PHYCA", "hba"]
VECTORS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def proteins(
    table: EmbeddingTable, labels: pl.DataFrame | None = None, sequences: Path | None = None, column: str | None = None
) -> Proteins:
    return read_proteins(table, labels, sequences, column, ColumnOptions())


def fasta(path: Path, ids: list[str] = IDS) -> Path:
    path.write_text("".join(f">{name} globin {number}\nMKVLA\n" for number, name in enumerate(ids)))
    return path


@pytest.mark.parametrize("suffix", ["parquet", "tsv"])
def test_columns_of_text_in_the_table_are_labels_and_sequences(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame(
        {
            "id": IDS,
            "description": ["alpha", "beta", "muscle", None],
            "family": ["globin"] * 4,
            "sequence": ["MKVLA", "mk-VL", None, "MKV"],
            **{f"d{k}": VECTORS[:, k] for k in range(3)},
        }
    )
    path = tmp_path / f"table.{suffix}"
    frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path, separator="\t")
    found = proteins(read_embeddings(path))
    assert found.known(0) == {"family": "globin", "description": "alpha"}
    assert found.known(3) == {"family": "globin"}
    assert found.sequences == {"HBA_HUMAN": "MKVLA", "HBB_HUMAN": "MKVL", "hba": "MKV"}
    assert found.labels is not None and found.labels.texts == ["globin"] * 4


def test_a_streamed_table_has_its_text_columns_too(tmp_path: Path) -> None:
    vectors = pl.Series(VECTORS, dtype=pl.Array(pl.Float32, 3))
    pl.DataFrame({"id": IDS, "embedding": vectors, "species": ["a", "b", "c", "d"]}).write_parquet(tmp_path / "t.parquet")
    found = proteins(read_embeddings(tmp_path / "t.parquet"))
    assert [found.known(row) for row in range(4)] == [{"species": name} for name in "abcd"]


def test_headers_are_descriptions_and_labels_if_there_are_no_others(tmp_path: Path) -> None:
    table = EmbeddingTable("t", IDS, 3, vectors=VECTORS)
    found = proteins(table, sequences=fasta(tmp_path / "seqs.fasta"))
    assert found.known(1) == {"species": "HUMAN", "description": "globin 1"}
    assert found.sequences == dict.fromkeys(IDS, "MKVLA")
    labels = pl.DataFrame({"id": IDS, "family": list("abcd"), "description": ["told"] * 4})
    assert proteins(table, labels, tmp_path / "seqs.fasta").known(1) == {"family": "b", "description": "told"}
    assert proteins(table).about.columns == ["id"]


def test_proteins_are_found_by_all_words_the_best_names_first(tmp_path: Path) -> None:
    labels = pl.DataFrame({"id": IDS, "family": ["Globin (x)", "Globin (x)", "hba", "other"]})
    found = proteins(EmbeddingTable("t", IDS, 3, vectors=VECTORS), labels)
    assert found.find("HBA", 10) == (3, [3, 0, 2])  # the id itself, ids that begin with it, others
    assert found.find("human GLOBIN", 10) == (2, [0, 1])
    assert found.find("(x)", 1) == (2, [0])
    assert found.find("  ", 10) == found.find("nothing", 10) == (0, [])


def test_sources_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    table = EmbeddingTable("t", IDS, 3, vectors=VECTORS)
    with pytest.raises(BadInputError, match="no id of t is in"):
        proteins(table, sequences=fasta(tmp_path / "other.fasta", ["x", "y"]))
    with pytest.raises(BadInputError, match="no id of the embeddings"):
        proteins(table, pl.DataFrame({"id": ["x"], "family": ["y"]}))
    with pytest.raises(UsageError, match="no labels are given"):
        proteins(table, column="family")
    with pytest.raises(UsageError, match="no column 'colour'"):
        proteins(table, pl.DataFrame({"id": IDS, "family": list("abcd")}), column="colour")


def test_proteins_without_a_sequence_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = EmbeddingTable("t", IDS, 3, vectors=VECTORS)
    found = proteins(table, sequences=fasta(tmp_path / "some.fasta", IDS[:3]))
    assert len(found.sequences) == 3
    assert "1 of 4 proteins have no sequence" in caplog.text or "1 of 4 proteins have no sequence" in " ".join(
        caplog.messages
    )


def test_labels_that_the_user_has_not_given_are_not_spoken_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = EmbeddingTable("t", IDS, 3, vectors=VECTORS)
    with caplog.at_level("INFO", "phylocli"):
        found = proteins(table, sequences=fasta(tmp_path / "one.fasta", IDS[:1]))
    assert found.known(0) == {"species": "HUMAN", "description": "globin 0"}
    assert [record.getMessage().split(" have no sequence")[0] for record in caplog.records] == ["3 of 4 proteins"]
    caplog.clear()
    with caplog.at_level("INFO", "phylocli"):
        proteins(table, pl.DataFrame({"id": IDS[:1], "family": ["a"]}))
    assert "3 of 4 embeddings have no row in labels" in caplog.messages
