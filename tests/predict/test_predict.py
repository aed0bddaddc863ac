"""Predictions from single sequences: states, files, and profiles that HMMER reads."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pyhmmer import easel, hmmsearch, plan7
from typer.testing import CliRunner

from phylocli.cli import build
from phylocli.config.assignments import nested, parse_assignment
from phylocli.config.predict import HEAD_OF, PredictConfig
from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import AMINO_ACIDS, encode_tokens
from phylocli.core.errors import BadInputError, UsageError
from phylocli.encoders import pad_batch
from phylocli.formats import Sequence, read_sequences
from phylocli.formats.family import Family
from phylocli.models.heads import HEADS, find_head
from phylocli.models.model import Model
from phylocli.predict import predict_families, predict_file, predict_residues
from phylocli.predict.profiles import ORDER, hmm_bytes, pssm_text, stacked_rows

NETWORK = {"hidden": 8, "kernel": 5}
SEQUENCES = [("one", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"), ("two", "MKVLAXUGW"), ("three", "GSHMRYALKNQ" * 30)]


@pytest.fixture(scope="module")
def model() -> Model:
    heads = dict.fromkeys(HEADS, NETWORK)
    return Model.create("convolutional", preset="tiny", seed=3, heads=heads).eval()


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "seqs.fasta"
    path.write_text("".join(f">{name} described\n{text}\n" for name, text in SEQUENCES))
    return path


@pytest.mark.parametrize(("what", "head"), [("3di", "3di"), ("ss", "ss3"), ("ss8", "ss8"), ("profile", "profile")])
def test_predictions_are_the_softmax_of_the_head(model: Model, what: str, head: str) -> None:
    for (name, text), found in zip(SEQUENCES, predict_residues(SEQUENCES, model, what, max_tokens=64), strict=True):
        padded = pad_batch([encode_tokens(text)])
        with torch.no_grad():
            expected = model.predict_residues(head, model.residues(*padded), padded[1])[0].softmax(1).numpy()
        assert found.sequence.id == name and found.letters == HEADS[head].states
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
        assert found.states == "".join(found.letters[k] for k in expected.argmax(1))


def test_states_are_written_as_fasta_with_a_table_of_confidences(folder: Path, fasta: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(fasta), "-m", str(folder), "--what", "ss", "--confidence", str(tmp_path / "c.tsv")]
    done = CliRunner().invoke(build(), [*arguments, "-o", str(tmp_path / "ss.fasta")], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    written = {s.id: s for s in read_sequences(tmp_path / "ss.fasta")}
    assert {name: len(s.residues) for name, s in written.items()} == {name: len(text) for name, text in SEQUENCES}
    assert set("".join(s.residues for s in written.values())) <= set("HEC")
    assert written["one"].description == "described"
    table = pl.read_csv(tmp_path / "c.tsv", separator="\t")
    assert table.columns == ["id", "position", "residue", "state", "probability"]
    for name, text in SEQUENCES:
        own = table.filter(pl.col("id") == name)
        assert "".join(own["residue"]) == text and "".join(own["state"]) == written[name].residues
        assert own["position"].to_list() == list(range(1, len(text) + 1))
    assert table["probability"].is_between(1 / 3 - 1e-6, 1).all()


def test_three_di_goes_to_standard_output(folder: Path, fasta: Path) -> None:
    done = CliRunner().invoke(build(), ["predict", str(fasta), "-m", str(folder)], catch_exceptions=False)
    texts = dict(re.findall(r">(\w+) described\n([A-Z\n]+)", done.stdout))
    assert {name: len(text.replace("\n", "")) for name, text in texts.items()} == {name: len(t) for name, t in SEQUENCES}


def test_stacked_rows_have_the_frequencies() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.dirichlet(np.full(20, 0.3), size=40)
    rows = stacked_rows(wanted, 100)
    assert len(rows) == 100 and {len(row) for row in rows} == {40}
    counts = np.array([[sum(row[k] == letter for row in rows) for letter in AMINO_ACIDS] for k in range(40)])
    assert (counts.sum(1) == 100).all()
    assert np.abs(counts / 100 - wanted).max() < 0.01
    assert rows == stacked_rows(wanted, 100)


def sharp(text: str) -> np.ndarray:
    """Return a profile in which each residue has three quarters, and the rest is even."""
    p = np.full((len(text), 20), 0.25 / 19)
    p[np.arange(len(text)), [AMINO_ACIDS.index(c) for c in text]] = 0.75
    return p


def test_hmmsearch_reads_the_profile_and_finds_what_it_is_of() -> None:
    rng = np.random.default_rng(1)
    letters = np.array(list(AMINO_ACIDS))
    text = "".join(rng.choice(letters, 90))
    data = hmm_bytes(Sequence("sp|P1|X", text, "a protein"), sharp(text))
    assert data == hmm_bytes(Sequence("sp|P1|X", text, "a protein"), sharp(text))
    with plan7.HMMFile(io.BytesIO(data)) as file:
        (hmm,) = list(file)
    assert hmm.M == 90 and hmm.name == "sp|P1|X" and hmm.consensus.upper() == text
    emissions = np.asarray(hmm.match_emissions)[1:]
    assert (emissions.argmax(1) == [AMINO_ACIDS.index(c) for c in text]).all()
    alphabet = easel.Alphabet.amino()
    changed = "".join(c if rng.random() < 0.6 else rng.choice(letters) for c in text)
    others = ["".join(rng.choice(letters, 90)) for _ in range(300)]
    block = easel.DigitalSequenceBlock(
        alphabet,
        [easel.TextSequence(name=f"t{k}", sequence=t).digitize(alphabet) for k, t in enumerate([changed, *others])],
    )
    (hits,) = hmmsearch([hmm], block, E=10)
    assert hits[0].name == "t0" and hits[0].evalue < 1e-10
    assert sum(hit.evalue < 0.1 for hit in hits) == 1  # calibrated: random sequences have E-values near 1 and above


def test_the_matrix_has_the_layout_and_the_numbers_of_psi_blast() -> None:
    text = "MKW"
    lines = pssm_text(Sequence("a", text), sharp(text)).splitlines()
    assert lines[1].startswith("Last position-specific scoring matrix computed")
    assert lines[2].split() == list(ORDER * 2)
    for k, letter in enumerate(text):
        fields = lines[3 + k].split()
        assert fields[:2] == [str(k + 1), letter] and len(fields) == 2 + 40 + 2
        scores, percent = [int(x) for x in fields[2:22]], [int(x) for x in fields[22:42]]
        background = {"M": 0.02243, "K": 0.05744, "W": 0.01330}[letter]
        assert scores[ORDER.index(letter)] == round(np.log(0.75 / background) / 0.3176)
        assert percent[ORDER.index(letter)] == 75 and sum(percent) == 75 + 19
    assert "PSI Gapped           0.0410     0.2670" in lines


def test_formats_follow_the_suffix_and_must_fit(folder: Path, fasta: Path, tmp_path: Path) -> None:
    single = tmp_path / "single.fasta"
    single.write_text(f">one\n{SEQUENCES[0][1]}\n")
    assert predict_file(single, tmp_path / "p.pssm", model=folder, what="profile") == 1
    assert "position-specific scoring matrix" in (tmp_path / "p.pssm").read_text()
    assert predict_file(fasta, tmp_path / "p.hmm", model=folder, what="profile") == 3
    with plan7.HMMFile(tmp_path / "p.hmm") as file:
        assert [hmm.name for hmm in file] == ["one", "two", "three"]
    with pytest.raises(UsageError, match="of one sequence"):
        predict_file(fasta, tmp_path / "many.pssm", model=folder, what="profile")
    assert not (tmp_path / "many.pssm").exists()
    with pytest.raises(UsageError, match="cannot be written as hmm"):
        predict_file(fasta, tmp_path / "x.hmm", model=folder, what="3di")
    with pytest.raises(UsageError, match="cannot be written as"):
        predict_file(fasta, tmp_path / "x.png", model=folder)
    empty = tmp_path / "empty.fasta"
    empty.write_text("")
    with pytest.raises(BadInputError):
        predict_file(empty, tmp_path / "x.fasta", model=folder)


def test_a_file_that_is_not_there_and_a_model_without_the_head_are_named(fasta: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(build(), ["predict", str(tmp_path / "missing.fasta"), "-o", str(tmp_path / "x.fasta")])
    assert done.exit_code == 65
    with pytest.raises(BadInputError, match=r"missing\.fasta: no such file"):
        predict_file(tmp_path / "missing.fasta")
    plain = Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "plain")
    with pytest.raises(UsageError, match="no head '3di'") as caught:
        predict_file(fasta, tmp_path / "x.fasta", model=plain)
    assert "evolution-structure" in str(caught.value) and not (tmp_path / "x.fasta").exists()
    for what, head in HEAD_OF.items():
        with pytest.raises(UsageError, match=f"no head '{head}'") as caught:
            predict_file(fasta, tmp_path / "x", config=PredictConfig(what=what), model=plain)
        settings = nested(dict(parse_assignment(text) for text in re.findall(r"--set (\S+=\w+)", str(caught.value))))
        assert head in TrainConfig.of(None, settings).residues.heads
        assert f"column {find_head(head).column} of TABLE" in str(caught.value)
    with pytest.raises(UsageError, match="cannot be predicted"):
        predict_residues(["MK"], Model.create("convolutional", preset="tiny"), "fold")


def test_the_default_model_predicts_that_globins_are_helical(tmp_path: Path) -> None:
    globins = Path(__file__).parents[2] / "examples" / "globins.fasta"
    predict_file(globins, tmp_path / "ss.fasta", config=PredictConfig(what="ss"))
    states = "".join(s.residues for s in read_sequences(tmp_path / "ss.fasta"))
    assert states.count("H") > 0.6 * len(states) and states.count("E") < 0.05 * len(states)
    predict_file(globins, tmp_path / "3di.fasta")
    assert len(set("".join(s.residues for s in read_sequences(tmp_path / "3di.fasta")))) > 5


def test_predictions_of_a_family_are_geometric_means_over_its_members(model: Model) -> None:
    family = Family(["a", "b"], ["MKV-LAG", "-KVWL-G"], accession="F")
    (found,) = predict_families([family], model, "ss")
    one, two = (p.probabilities for p in predict_residues([("a", "MKVLAG"), ("b", "KVWLG")], model, "ss"))
    shared = [(0, None), (1, 0), (2, 1), (3, 3), (4, None), (5, 4)]  # residues of a, with those of b in their columns
    expected = np.stack([one[i] if j is None else np.sqrt(one[i] * two[j]) for i, j in shared])
    expected /= expected.sum(axis=1, keepdims=True)
    assert found.sequence.id == "F" and found.sequence.residues == "MKVLAG"
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)


def test_predictions_of_a_family_need_an_alignment(model: Model) -> None:
    with pytest.raises(BadInputError, match="F is not aligned"):
        next(predict_families([Family(["a", "b"], ["MKV", "MKVL"], accession="F", aligned=False)], model))
    with pytest.raises(UsageError, match="not for families"):
        predict_file("examples/families.sto", "out.fasta", per_family=True, translate=True)


def test_table_and_predictions_go_to_two_places(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text(">a\nMKVLAG\n")
    with pytest.raises(UsageError, match="cannot both go to standard output"):
        predict_file(tmp_path / "a.fasta", confidence="-")
    predict_file(tmp_path / "a.fasta", tmp_path / "s.fasta", what="ss", confidence=tmp_path / "s.tsv")
    assert (tmp_path / "s.tsv.provenance.json").is_file()
