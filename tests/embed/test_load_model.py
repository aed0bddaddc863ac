"""`load_model(...).embed(...)`: types of input, and agreement with the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phylocli.core.errors import BadInputError
from phylocli.embed import Embedder, embed_file, load_model, with_pooling
from phylocli.encoders import pad_batch
from phylocli.formats import Sequence
from phylocli.models.model import Model
from phylocli.search.database import open_table
from phylocli.search.queries import embedder_of

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


def test_another_pooling_shares_the_rest_of_the_model_and_has_one_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.create("convolutional", preset="tiny", seed=0, heads={"3di": {}}).eval()
    model.source, model.folder, model.precision = "hf:a/b@c", Path("somewhere"), torch.bfloat16
    before = model.fingerprint
    monkeypatch.setattr(Model, "__init__", lambda *_: pytest.fail("a model was built"))
    found, again = with_pooling(model, "max"), with_pooling(model, "max")
    assert found.encoder is model.encoder and found.heads["3di"] is model.heads["3di"]
    assert (found.source, found.precision) == (model.source, model.precision)
    assert found.folder is None and model.folder is not None  # what was fitted to the model's own pooling is there
    assert found.fingerprint == again.fingerprint != before
    assert model.fingerprint == before and model.config.pooling == "mean"
    batch = pad_batch([model.encode("MKVL")])
    with torch.no_grad():
        assert torch.equal(found(*batch)[0], model.residues(*batch)[0].amax(0))


def test_the_precision_of_a_command_leaves_the_callers_model_as_it_is(folder: Path, tmp_path: Path, examples: Path) -> None:
    model = Model.load(folder)
    embed_file(examples / "globins.fasta", tmp_path / "half.parquet", model=model, precision="bf16", device="cpu")
    assert model.precision is None
    table = open_table(tmp_path / "half.parquet")
    assert embedder_of(table, folder, "cpu").model.precision is torch.bfloat16
    embed_file(examples / "globins.fasta", tmp_path / "whole.parquet", model=model, device="cpu")
    assert embedder_of(open_table(tmp_path / "whole.parquet"), folder, "cpu").model.precision is None
