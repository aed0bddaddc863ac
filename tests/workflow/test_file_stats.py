"""What files contain: right counts for every kind of file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import Result

from phylocli.core.errors import BadInputError
from phylocli.formats import Family, write_families
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.newick import NewickTree
from phylocli.workflow.file_stats import as_lines, file_stats


def only(path: Path) -> dict[str, object]:
    row = file_stats(path).row(0, named=True)
    return {key: value for key, value in row.items() if value is not None and key != "file"}


def test_sequences_are_counted_compressed_or_not(tmp_path: Path) -> None:
    (tmp_path / "x.fasta.gz").write_bytes(gzip.compress(b">a\nMKV\n>b\nMKVLA*\n"))
    expected = {"format": "FASTA", "type": "sequences", "families": 1, "sequences": 2, "residues": 8, "trees": 0}
    assert only(tmp_path / "x.fasta.gz") == expected | {"min_length": 3, "mean_length": 4.0, "max_length": 5}


def test_families_have_columns_identities_and_trees(tmp_path: Path) -> None:
    one = Family(["a", "b"], ["MKV-", "MRVL"], accession="PF1", tree=NewickTree("(a:1,b:1);"))
    two = Family(["c", "d", "e"], ["MKVLAA"] * 3, accession="PF2")
    write_families([one, two], tmp_path / "x.sto")
    found = only(tmp_path / "x.sto")
    assert found["families"] == 2 and found["sequences"] == 5 and found["trees"] == 1 and found["columns"] == 5.0
    assert found["identity"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-4)
    assert (found["min_length"], found["max_length"], found["residues"]) == (3, 6, 25)


def test_tables_trees_and_models_are_known(tmp_path: Path) -> None:
    (tmp_path / "x.nwk").write_text("(a,b,c);(d,e);")
    assert only(tmp_path / "x.nwk") == {"format": "Newick", "type": "trees", "trees": 2, "sequences": 5}
    for suffix, format in (("parquet", "Parquet"), ("npz", "NPZ")):
        EmbeddingTable("x", ["a", "b"], 3, vectors=np.ones((2, 3), dtype=np.float32)).write(tmp_path / f"x.{suffix}")
        found = only(tmp_path / f"x.{suffix}")
        assert found == {"format": format, "type": "embeddings", "sequences": 2, "rows": 2, "dimension": 3}
    pairs = {"family": ["PF1"] * 2, "id_a": ["a", "a"], "id_b": ["b", "c"], "distance": [0.5, 1], "seq_a": ["MK"] * 2}
    pl.DataFrame(pairs).write_csv(tmp_path / "p.tsv", separator="\t")
    expected = {"type": "pairs", "pairs": 2, "rows": 2, "families": 1, "sequences": 3}
    assert only(tmp_path / "p.tsv") == expected | {"format": "TSV, CSV"}
    from phylocli import models

    model = only(models.find("default"))
    assert (model["dimension"], model["parameters"], model["model"]) == (1024, 3_309_739, "default")


def test_a_missing_and_an_empty_file_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for name in ("empty", "nowhere"):
        with pytest.raises(BadInputError, match=name):
            file_stats([tmp_path / name])


def test_the_command_writes_one_row_a_file_and_the_terminal_shows_what_applies(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "x.fa").write_text(">a\nMKV\n")
    (tmp_path / "x.nwk").write_text("(a,b);")
    done = cli("stats", tmp_path / "x.fa", tmp_path / "x.nwk")
    head, *rows = done.stdout.splitlines()
    assert head.split("\t")[:4] == ["file", "format", "type", "families"] and len(rows) == 2
    lines = as_lines(file_stats([tmp_path / "x.fa", tmp_path / "x.nwk"]))
    assert "dimension" not in lines[0] and len({len(line) for line in lines[:1]}) == 1


def test_files_that_cannot_be_described_are_named_after_the_rest(
    cli: Callable[..., Result], examples: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.fasta").touch()
    done = cli("stats", tmp_path / "gone.sto", examples / "globins.fasta", tmp_path / "empty.fasta", "--format", "csv")
    assert done.exit_code == 65
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["file", str(examples / "globins.fasta")]
    assert f"{tmp_path / 'gone.sto'}: no such file" in done.stderr and "empty.fasta is empty" in done.stderr
    nothing = cli("stats", tmp_path / "gone.sto", "-o", tmp_path / "stats.tsv")
    assert nothing.exit_code == 65 and not (tmp_path / "stats.tsv").exists()


@pytest.mark.parametrize(("name", "format"), [("e.pt", "PyTorch"), ("e.npz", "NPZ"), ("e.npy", "NPY")])
def test_arrays_are_known_by_their_format(tmp_path: Path, name: str, format: str) -> None:
    EmbeddingTable("made", ["a", "b"], 3, vectors=np.ones((2, 3), np.float32)).write(tmp_path / name)
    (row,) = file_stats(tmp_path / name).to_dicts()
    assert (row["format"], row["type"], row["dimension"]) == (format, "embeddings", 3)
