"""`load_model(...).embed(...)`: types of input, and agreement with the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phylocli.core.errors import BadInputError
from phylocli.embed import Embedder, embed_file, load_model
from phylocli.formats import Sequence
from phylocli.models.model import Model

LETTERS = ["MKVLAAGHTW" * 30, "MKV", "ACDEFGHIKLMNPQRSTVWY"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Model.create("convolutional", preset="tiny", seed=3).save(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return load_model(folder, "cpu")


def test_strings_get_ids_and_keep_their_order_whatever_their_lengths(embedder: Embedder) -> None:
    table = embedder.embed(LETTERS)
    assert table.ids == ["seq1", "seq2", "seq3"]
    assert table.to_polars()["length"].to_list() == [300, 3, 20]
    assert table.numpy().shape == (3, embedder.dimension)
    backwards = embedder.embed(LETTERS[::-1]).numpy()[::-1]
    assert np.abs(table.numpy() - backwards).max() < 1e-5


def test_sequences_pairs_strings_and_a_file_give_the_same_vectors(embedder: Embedder, tmp_path: Path) -> None:
    ids = ["a", "b", "c"]
    (tmp_path / "s.fasta").write_text("".join(f">{i}\n{s}\n" for i, s in zip(ids, LETTERS, strict=True)))
    forms = [
        list(zip(ids, LETTERS, strict=True)),
        [Sequence(i, s.lower()) for i, s in zip(ids, LETTERS, strict=True)],
        (pair for pair in zip(ids, LETTERS, strict=True)),
        tmp_path / "s.fasta",
        str(tmp_path / "s.fasta"),
    ]
    wanted = embedder.embed(LETTERS).numpy()
    for form in forms:
        table = embedder.embed(form)
        assert table.ids == ids
        assert np.array_equal(table.numpy(), wanted)


@pytest.mark.parametrize("suffix", ["parquet", "tsv"])
def test_a_written_table_has_the_bytes_of_the_command(folder: Path, tmp_path: Path, suffix: str, examples: Path) -> None:
    embed_file(examples / "globins.fasta", tmp_path / f"command.{suffix}", model=folder, device="cpu")
    load_model(folder, "cpu").embed(examples / "globins.fasta").write(tmp_path / f"python.{suffix}")
    assert (tmp_path / f"python.{suffix}").read_bytes() == (tmp_path / f"command.{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no sequences"),
        (["MKV", "MK1"], "'seq2' contains '1' at position 3"),
        ([("a", "MKV"), ("a", "MKL")], "the id 'a'"),
        ([("a", "---")], "'a' has no residues"),
        ("MKVLA", "as a list"),
    ],
)
def test_input_that_cannot_be_embedded_is_named(embedder: Embedder, given: object, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        embedder.embed(given)  # type: ignore[arg-type]


def test_a_model_is_loaded_by_name() -> None:
    assert Model.load("default").fingerprint == load_model("default", "cpu").model.fingerprint
