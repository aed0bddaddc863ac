"""Parquet files that phylocli writes carry checksums, and whoever reads one notices a flipped bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats.embeddings import read_embeddings
from phylocli.formats.embeddings.table import ResidueTable
from phylocli.formats.tables import embeddings_schema, read_table, residues_schema, write_table

ROWS, WIDTH = 40, 32
VECTORS = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


def pooled(path: Path) -> Path:
    frame = {"id": [f"p{i}" for i in range(ROWS)], "length": [9] * ROWS, "embedding": list(VECTORS)}
    write_table(pl.DataFrame(frame, schema_overrides={"length": pl.Int32}), path, embeddings_schema(WIDTH))
    return path


def residues(path: Path) -> Path:
    ids, places = [f"p{i // 10}" for i in range(ROWS)], [i % 10 + 1 for i in range(ROWS)]
    frame = {"id": ids, "position": places, "residue": ["A"] * ROWS, "embedding": list(VECTORS)}
    write_table(pl.DataFrame(frame, schema_overrides={"position": pl.Int32}), path, residues_schema(WIDTH))
    return path


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "a table": (pooled, read_table),
    "embeddings": (pooled, lambda path: read_embeddings(path).numpy()),
    "residues by id": (residues, lambda path: ResidueTable(path)(["p2", "p0"])),
    "residues, pooled": (residues, lambda path: ResidueTable(path).pooled()),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_flipped_bit_among_the_values_is_noticed(kind: str, tmp_path: Path) -> None:
    write, read = READERS[kind]
    path = write(tmp_path / "table.parquet")
    read(path)
    whole = path.read_bytes()
    middle = len(whole) // 2  # among the embeddings, which make up most of the file
    for offset in (middle, middle + 5):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
        with pytest.raises(BadInputError, match=r"table\.parquet cannot be read"):
            read(path)


def test_residues_of_some_ids_come_in_their_order(tmp_path: Path) -> None:
    found = ResidueTable(residues(tmp_path / "table.parquet"))(["p3", "p1"])
    assert [x.tolist() for x in found] == [VECTORS[30:40].tolist(), VECTORS[10:20].tolist()]
