"""The residue predictor: features of columns, the network and its file, and predictions by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import Embedder
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.formats.family import Family
from phylocli.formats.streams import file_sha256
from phylocli.models.model import Model
from phylocli.models.residue_predictor import DILATIONS, FILE, ColumnNetwork, ResiduePredictor, _Block
from phylocli.predict import column_features, log_probabilities, predict_families, predict_file, predict_residues

FAMILY = Family(["a", "b"], ["MKV-LAG", "-KXwL-G"], accession="F", column_features={"RF": "xxx.xxx"})
HEADS = {"3di": {"hidden": 8, "kernel": 3}, "profile": {"hidden": 8, "kernel": 3}}
FEATURES = 32 * 2 + 40 + 21 + 21 + 2
STATES = {"3di": 20, "ss8": 8}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    made = Model.create(preset="tiny", parameters={"width": 32}, heads=HEADS, seed=1)
    return Model.load(made.save(tmp_path / "model"))


def network(seed: int) -> ColumnNetwork:
    torch.manual_seed(seed)
    made = ColumnNetwork(FEATURES, STATES, width=16, depth=3, kernel=3).eval()
    made.mean.normal_()
    made.scale.uniform_(0.5, 2)
    return made


@pytest.fixture
def networks() -> ResiduePredictor:
    return ResiduePredictor([network(0), network(1)])


def test_features_are_those_of_the_residue_and_means_over_its_column(model: Model) -> None:
    members = ["MKVLAG", "KXWLG"]
    residues = list(Embedder(model).residues(members))
    found = column_features(model, members, residues, FAMILY)
    assert found.shape == (6, FEATURES) and found.dtype == np.float32
    for i, j in enumerate([None, 0, 1, 3, None, 4]):  # residues of b in the columns of those of a
        column = [(0, i)] if j is None else [(0, i), (1, j)]
        letters = [AMINO_ACIDS.find(members[m][k]) for m, k in column]
        ones = [np.eye(21)[letter] for letter in letters]  # the last is for other letters
        logs = [[log_probabilities(model, head, residues[m])[k] for m, k in column] for head in ("3di", "profile")]
        expected = [
            residues[0][i],
            np.mean([residues[m][k] for m, k in column], axis=0),
            *(np.mean(of, axis=0) for of in logs),
            np.mean(ones, axis=0),
            ones[0],
            [np.log(len(column)), len(column) / 2],
        ]
        np.testing.assert_allclose(found[i], np.concatenate(expected), rtol=1e-5, atol=1e-6)


def test_a_sequence_has_the_features_of_a_family_of_one(model: Model) -> None:
    residues = list(Embedder(model).residues(["MKVLAG"]))
    alone = column_features(model, ["MKVLAG"], residues)
    family = column_features(model, ["MKVLAG"], residues, Family(["a"], ["MKVLAG"], accession="F"))
    np.testing.assert_array_equal(alone, family)


def test_letters_are_read_as_the_model_reads_them(model: Model) -> None:
    vectors = list(Embedder(model).residues(["MKVLAG"]))
    for letters, read_as in (("MKULAG", "MKCLAG"), ("MOVLAG", "MKVLAG"), ("MKBLAG", "MKXLAG"), ("mkvlag", "MKVLAG")):
        np.testing.assert_array_equal(column_features(model, [letters], vectors), column_features(model, [read_as], vectors))


def test_deep_columns_count_as_those_of_the_deepest_in_training(model: Model) -> None:
    family = Family([f"m{number}" for number in range(30)], ["MKVLAG"] * 30, accession="F")
    residues = list(Embedder(model).residues(family.rows))
    np.testing.assert_allclose(
        column_features(model, family.rows, residues, family)[:, -2:], [[np.log(21), 1]] * 6, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("what", "of_this_model", "named"), [("3di", True, True), ("3di", False, False), ("profile", True, False)]
)
def test_output_names_the_predictor_that_was_used(
    model: Model, networks: ResiduePredictor, tmp_path: Path, what: str, of_this_model: bool, named: bool
) -> None:
    assert model.folder is not None
    networks.save(model.folder / FILE, model.fingerprint if of_this_model else "0" * 64)
    (tmp_path / "a.fasta").write_text(">a\nMKVLAG\n")
    predict_file(tmp_path / "a.fasta", tmp_path / "out.fasta", what=what, format="fasta", model=model.folder)
    found = json.loads((tmp_path / "out.fasta.provenance.json").read_text())["parameters"]
    assert found.get("residue_predictor") == (file_sha256(model.folder / FILE) if named else None)


def test_probabilities_of_networks_are_averaged(networks: ResiduePredictor) -> None:
    columns, mask = torch.randn(1, 9, FEATURES), torch.ones(1, 9, dtype=torch.bool)
    found = networks(columns, mask)
    for head in STATES:
        each = [made(columns, mask)[head].softmax(-1) for made in networks.networks]
        torch.testing.assert_close(found[head].exp(), (each[0] + each[1]) / 2)


def test_padding_has_no_influence() -> None:
    made = network(0)
    short, long = torch.randn(5, FEATURES), torch.randn(40, FEATURES)
    columns = torch.full((2, 40, FEATURES), 7.0)
    columns[0, :5], columns[1] = short, long
    mask = torch.arange(40) < torch.tensor([[5], [40]])
    both = made(columns, mask)
    for head in STATES:
        for row, alone in enumerate((short, long)):
            expected = made(alone[None], torch.ones(1, len(alone), dtype=torch.bool))[head][0]
            torch.testing.assert_close(both[head][row, : len(alone)], expected, rtol=1e-4, atol=1e-5)


def test_blocks_convolve_like_torch() -> None:
    for number, block in enumerate(network(0).blocks):
        assert isinstance(block, _Block) and block.convolution.dilation == (DILATIONS[number],)
        values = torch.randn(2, 11, 16)
        expected = block.convolution(values.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(block._convolved(values), expected, rtol=1e-4, atol=1e-5)


def test_file_keeps_the_networks_and_knows_its_model(
    model: Model, networks: ResiduePredictor, caplog: pytest.LogCaptureFixture
) -> None:
    assert model.folder is not None and ResiduePredictor.load(model) is None
    networks.save(model.folder / FILE, model.fingerprint)
    found = ResiduePredictor.load(model)
    assert found is not None and not found.training
    columns, mask = torch.randn(1, 9, FEATURES), torch.ones(1, 9, dtype=torch.bool)
    assert found.heads == list(STATES)
    for head, logs in networks(columns, mask).items():
        torch.testing.assert_close(found(columns, mask)[head], logs, rtol=0.01, atol=0.01)  # half precision
    networks.save(model.folder / FILE, "another")
    assert ResiduePredictor.load(model) is None and "a model with other weights" in caplog.text


def test_damaged_files_are_errors(model: Model, networks: ResiduePredictor) -> None:
    assert model.folder is not None
    path = model.folder / FILE
    networks.save(path, model.fingerprint)
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b"abcd")
    with pytest.raises(BadInputError, match=f"{FILE} is damaged"):
        ResiduePredictor.load(model)
    assert next(predict_residues(["MKVLAG"], model, "profile")).states  # which the head predicts
    path.write_bytes(data)
    arrays, metadata = read_arrays(path, fix="")
    even = {"networks.1.blocks.0.convolution.weight": np.zeros((16, 16, 2), np.float32)}
    for change in ({"networks.0.first.weight": np.zeros(3)}, even, {"x": 0}):
        changed = {**arrays, **{name: np.asarray(value) for name, value in change.items()}}
        write_arrays(path, changed, metadata)
        with pytest.raises(BadInputError, match="is not a residue predictor"):
            ResiduePredictor.load(model)
    for part in ("blocks", ""):
        write_arrays(path, {name: values for name, values in arrays.items() if part not in name}, metadata)
        with pytest.raises(BadInputError, match="is not a residue predictor"):
            ResiduePredictor.load(model)
    write_arrays(path, arrays, {**metadata, "format": "later"})
    with pytest.raises(BadInputError, match="has the format 'later'"):
        ResiduePredictor.load(model)


def test_predictions_are_those_of_the_networks_where_they_have_the_state(model: Model, networks: ResiduePredictor) -> None:
    assert model.folder is not None
    by_head = next(predict_residues(["MKVLAG"], model, "3di")).probabilities
    profile = next(predict_residues(["MKVLAG"], model, "profile")).probabilities
    with pytest.raises(UsageError, match="no head 'ss8'"):
        predict_residues(["MKVLAG"], model, "ss8")
    networks.save(model.folder / FILE, model.fingerprint)
    found = ResiduePredictor.load(model)
    assert found is not None
    members = ["MKVLAG", "KXWLG"]
    residues = list(Embedder(model).residues(members))
    for family, prediction in (
        (None, next(predict_residues(["MKVLAG"], model, "ss8"))),
        (FAMILY, next(predict_families([FAMILY], model, "ss8"))),
    ):
        of = slice(1 if family is None else 2)
        columns = torch.from_numpy(column_features(model, members[of], residues[of], family))[None]
        with torch.no_grad():
            expected = found(columns, torch.ones(1, 6, dtype=torch.bool))["ss8"][0].exp().numpy()
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
        assert prediction.sequence.residues == "MKVLAG" and len(prediction.letters) == 8
    assert np.abs(next(predict_residues(["MKVLAG"], model, "3di")).probabilities - by_head).max() > 0.01
    np.testing.assert_array_equal(next(predict_residues(["MKVLAG"], model, "profile")).probabilities, profile)
