"""reconstruct, interpolate and generate: FASTA in and out, functions of the seed, clear errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from phylocli.cli import build
from phylocli.core.alphabet import decode_tokens, encode_tokens
from phylocli.core.errors import EXIT_BAD_INPUT, EXIT_USAGE, BadInputError
from phylocli.decoders import uniform_numbers
from phylocli.diffusion import DiffusionArchitecture, LatentDiffusion
from phylocli.encoders import pad_batch
from phylocli.formats import Sequence, read_families, read_sequences
from phylocli.generate import interpolate, reconstruct
from phylocli.generate.decoding import AT_ONCE
from phylocli.generate.interpolating import on_the_line
from phylocli.generate.scoring import FamilyProfile, score_sequences
from phylocli.models.config import DecoderArchitecture
from phylocli.models.model import Model
from phylocli.statistics.identity import identity

pytestmark = pytest.mark.usefixtures("one_thread")

A, B = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "MKVLWWAALLKGSHMRYALKNQ"
Call = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a decoder far from its initial weights, and a latent diffusion with random weights."""
    torch.manual_seed(0)
    decoder = DecoderArchitecture("convolutional", {"width": 16, "depth": 1, "grid": 4, "max_length": 60}, y=0.25)
    model = Model.create("convolutional", preset="tiny", seed=0, decoder=decoder)
    with torch.no_grad():
        for weight in model.require_decoder().parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    path = model.save(tmp_path_factory.mktemp("generate") / "model")
    diffusion = LatentDiffusion(DiffusionArchitecture(64, ("PF1", "PF2", "CL1"), width=16, depth=1))
    torch.nn.init.normal_(diffusion.denoiser.output.weight)
    diffusion.save(path, model.fingerprint)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.load(folder)


@pytest.fixture
def call(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in a folder with files of the sequences."""
    (tmp_path / "a.fasta").write_text(f">a first\n{A}\n")
    (tmp_path / "b.fasta").write_text(f">b\n{B}\n")
    (tmp_path / "both.fasta").write_text(f">a first\n{A}\n>b\n{B}\n")
    rows = "".join(f"m{i} {A[:i] + 'A' + A[i + 1 :]}\n" for i in range(6))
    (tmp_path / "one.sto").write_text(f"# STOCKHOLM 1.0\n#=GF AC PF1\n{rows}//\n")
    (tmp_path / "long.fasta").write_text(f">a\n{A}\n>toolong\n{'M' * 61}\n")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        return CliRunner().invoke(build(), [word.replace("MODEL", str(folder)) for word in words])

    return run


def read(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return residues and the key=value pairs of the header of each sequence."""
    Path("read.fasta").write_text(text)
    return {s.id: (s.residues, dict(re.findall(r"(\S+)=(\S+)", s.description))) for s in read_sequences("read.fasta")}


def test_reconstruct_writes_what_is_decoded_from_the_latent_vector(call: Call, model: Model) -> None:
    done = call("reconstruct", "both.fasta", "-m", "MODEL", "-o", "out.fasta")
    assert done.exit_code == 0, done.stderr
    found = read(Path("out.fasta").read_text())
    for name, text in (("a", A), ("b", B)):
        tokens, mask = pad_batch([encode_tokens(text)])
        with torch.no_grad():
            z = model(tokens, mask)
            nats = float(model.log_likelihood(z, tokens, mask))
            (expected,) = model.decode(z, torch.zeros(1, model.require_decoder().draws), 0.0)
        residues, about = found[name]
        assert residues == decode_tokens(expected)
        assert float(about["log_likelihood"]) == pytest.approx(nats, abs=1e-2)
        assert float(about["identity"]) == pytest.approx(identity(text, residues, of="longer"), abs=1e-4)
    assert ">a first identity=" in Path("out.fasta").read_text()
    record = json.loads(Path("out.fasta.provenance.json").read_text())
    assert record["parameters"]["model"] == model.fingerprint and record["inputs"]
    assert "mean identity" in done.stderr


def test_samples_are_functions_of_the_seed_and_not_of_the_chunk(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(seed: int) -> list[str]:
        return [x.residues for x in reconstruct([A, B, A], model, temperature=1.0, seed=seed)]

    first = found(1)
    assert first == found(1) != found(2)
    assert first[0] != first[2], "equal sequences have samples of their own"
    monkeypatch.setattr("phylocli.generate.reconstructing.AT_ONCE", 2)
    assert first == found(1)


def test_interpolation_moves_one_part_and_keeps_the_other(model: Model) -> None:
    z = torch.randn(2, 64)
    for part in ("all", "y", "w"):
        moving = model.part(part)
        line = on_the_line(z, 5, moving)
        torch.testing.assert_close(line[0], z[0])
        torch.testing.assert_close(line[-1, moving], z[1, moving])
        torch.testing.assert_close(line[2, moving], z[:, moving].mean(0))
        rest = torch.ones(64, dtype=torch.bool)
        rest[moving] = False
        assert (line[:, rest] == z[0, rest]).all()
    assert model.part("y") == slice(0, 16)


def test_interpolate_goes_from_one_reconstruction_to_the_other(call: Call, model: Model) -> None:
    files = call("interpolate", "a.fasta", "b.fasta", "-m", "MODEL", "--steps", "4")
    assert files.exit_code == 0, files.stderr
    ids = call("interpolate", "a", "b", "--sequences", "both.fasta", "-m", "MODEL", "--steps", "4")
    assert files.stdout == ids.stdout
    found = read(files.stdout)
    assert list(found) == [f"interpolated_{i}" for i in (1, 2, 3, 4)]
    assert [about["t"] for _, about in found.values()] == ["0.0000", "0.3333", "0.6667", "1.0000"]
    ends = [x.residues for x in reconstruct([A, B], model)]
    assert [found["interpolated_1"][0], found["interpolated_4"][0]] == ends
    along_w = interpolate(A, B, model, steps=3, part="w")
    assert along_w[0].residues == ends[0]
    assert found["interpolated_1"][1]["part"] == "all"


def test_generate_decodes_the_samples_of_the_diffusion(call: Call, folder: Path, model: Model) -> None:
    words = ("generate", "MODEL", "-n", "5", "--steps", "10", "--family", "PF2", "--guidance", "1.5", "--temperature", "1")
    done = call(*words, "--seed", "3", "-o", "new.fasta")
    assert done.exit_code == 0, done.stderr
    found = read(Path("new.fasta").read_text())
    diffusion = LatentDiffusion.load(folder, model.fingerprint)
    z = diffusion.sample(torch.full((AT_ONCE,), 2), seed=3, steps=10, guidance=1.5)
    expected = model.decode(z, uniform_numbers(AT_ONCE, model.require_decoder().draws, seed=3))
    assert [residues for residues, _ in found.values()] == [decode_tokens(x) for x in expected[:5]]
    assert list(found) == [f"generated_{i}" for i in range(1, 6)]
    assert all(about == {"family": "PF2"} for _, about in found.values())
    parameters = json.loads(Path("new.fasta.provenance.json").read_text())["parameters"]
    assert (parameters["family"], parameters["steps"], parameters["model"]) == (["PF2"], 10, model.fingerprint)
    again = call(*words, "--seed", "3")
    assert again.stdout == Path("new.fasta").read_text()
    assert call(*words, "--seed", "4").stdout != again.stdout


def test_several_families_have_sequences_of_their_own(call: Call) -> None:
    both = read(call("generate", "MODEL", "-n", "3", "--family", "PF1", "--family", "PF2", "--steps", "10").stdout)
    assert list(both) == [f"generated_{name}_{i}" for name in ("PF1", "PF2") for i in (1, 2, 3)]
    assert [about["family"] for _, about in both.values()] == ["PF1"] * 3 + ["PF2"] * 3
    more = read(call("generate", "MODEL", "-n", "4", "--family", "PF1", "--family", "PF2", "--steps", "10").stdout)
    assert both.items() <= more.items(), "larger samples contain the smaller ones"


def test_scores_are_those_of_the_profile_and_of_the_nearest_member(call: Call) -> None:
    families = read_families("one.sto")
    profile = FamilyProfile.of(next(families), min_bits=5)
    done = call("generate", "MODEL", "-n", "2", "--family", "PF1", "--score", "one.sto", "--min-bits", "5", "--steps", "10")
    assert done.exit_code == 0, done.stderr
    for residues, about in read(done.stdout).values():
        (scored,) = profile.score([residues])
        assert (about["bits"], about["threshold"]) == (f"{scored.bits:.1f}", "5.0")
        assert (about["nearest"], about["nearest_identity"]) == (scored.nearest, f"{scored.identity:.4f}")
        assert about["above_threshold"] == ("yes" if scored.above else "no") and about["copied"] == "no"
    unconditional = call("generate", "MODEL", "-n", "1", "--score", "one.sto", "--steps", "10").stdout
    assert " family=PF1 bits=" in f" {unconditional}", "the family of the best profile is named"
    assert "1 family without a gathering threshold: 5 bits" in done.stderr


def test_families_whose_names_have_spaces_are_written_and_read_back(call: Call, model: Model, tmp_path: Path) -> None:
    path = model.save(tmp_path / "spaces")
    LatentDiffusion(DiffusionArchitecture(64, ("my family", "PF2"), width=16, depth=1)).save(path, model.fingerprint)
    Path("spaces.sto").write_text(Path("one.sto").read_text().replace("#=GF AC PF1", "#=GF ID my family"))
    words = ("--family", "my family", "--family", "PF2", "-n", "1", "--steps", "2")
    assert list(read(call("generate", str(path), *words).stdout)) == ["generated_my_family_1", "generated_PF2_1"]
    done = call("generate", str(path), "--family", "my family", "--score", "spaces.sto", "-n", "1", "--steps", "2")
    assert done.exit_code == 0, done.stderr
    assert "family=my_family bits=" in done.stdout


def test_a_family_that_is_not_among_the_profiles_is_named(call: Call) -> None:
    profiles = {family.label: FamilyProfile.of(family) for family in read_families("one.sto")}
    with pytest.raises(BadInputError, match="x is of an unknown family, 'PF9'"):
        list(score_sequences([Sequence("x", A, "family=PF9")], profiles))


def test_two_families_of_one_label_are_an_error(call: Call) -> None:
    Path("two.sto").write_text(2 * Path("one.sto").read_text())
    done = call("generate", "MODEL", "--family", "PF1", "--score", "two.sto", "-o", "out.fasta")
    assert done.exit_code == EXIT_BAD_INPUT and "two families are called 'PF1'" in done.stderr
    assert not Path("out.fasta").exists()


def test_a_larger_sample_begins_with_the_smaller_one(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phylocli.generate.sampling.AT_ONCE", 4)
    few, many = (call("generate", "MODEL", "-n", n, "--steps", "10", "--eta", "1").stdout for n in ("3", "6"))
    assert many.count(">") == 6
    shared = zip(read(few).items(), read(many).items(), strict=False)
    assert all(one == other for one, other in shared), "batches are of one size, so sums are rounded alike"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("generate", "MODEL", "--family", "PF3"), EXIT_USAGE, "did you mean 'PF"),
        (("generate", "MODEL", "--family", ""), EXIT_USAGE, "the name of the family is empty"),
        (("generate", "MODEL", "--family", "PF1", "--clan", "CL1"), EXIT_USAGE, "not of both"),
        (("generate", "MODEL", "--family", "PF1", "--family", "PF1"), EXIT_USAGE, "given twice"),
        (("generate", "MODEL", "--profiles", "x.hmm"), EXIT_USAGE, "--score"),
        (("generate", "MODEL", "--min-bits", "5"), EXIT_USAGE, "--min-bits is for scores"),
        (("generate", "MODEL", "--family", "PF2", "--score", "one.sto", "-o", "out.fasta"), EXIT_USAGE, "no family 'PF2'"),
        (("generate", "MODEL", "--score", "a.fasta", "-o", "out.fasta"), EXIT_BAD_INPUT, "a is not aligned"),
        (("generate", "MODEL", "--guidance", "2"), EXIT_USAGE, "guidance needs a family or clan"),
        (("generate", "MODEL", "--steps", "1001"), EXIT_USAGE, "1 to 1000"),
        (("generate", "MODEL", "-n", "0"), EXIT_USAGE, "-n"),
        (("generate", "MODEL", "--eta", "2"), EXIT_USAGE, "eta"),
        (("generate", "default"), EXIT_USAGE, "has no decoder"),
        (("generate", "nowhere"), EXIT_USAGE, "nowhere"),
        (("reconstruct", "a.fasta"), EXIT_USAGE, "has no decoder"),
        (("reconstruct", "long.fasta", "-m", "MODEL", "-o", "out.fasta"), EXIT_BAD_INPUT, "'toolong' has 61 residues"),
        (("interpolate", "a.fasta", "both.fasta", "-m", "MODEL"), EXIT_BAD_INPUT, "has 2 sequences"),
        (("interpolate", "a", "c", "--sequences", "both.fasta", "-m", "MODEL"), EXIT_USAGE, "no sequence 'c'"),
        (("interpolate", "a.fasta", "b.fasta", "-m", "MODEL", "--steps", "1"), EXIT_USAGE, "steps"),
        (("interpolate", "a.fasta", "b.fasta", "-m", "MODEL", "--part", "x"), EXIT_USAGE, "part"),
    ],
)
def test_what_cannot_be_done_is_named(call: Call, words: tuple[str, ...], code: int, message: str) -> None:
    done = call(*words)
    assert message in done.stderr, done.stderr
    assert done.exit_code == code
    assert not Path("out.fasta").exists(), "nothing half written"


def test_an_id_that_is_nearly_one_of_many_is_recognised(call: Call) -> None:
    Path("many.fasta").write_text("".join(f">protein{i}\n{A}\n" for i in range(1500)) + f">HBA_MACFA\n{A}\n")
    done = call("interpolate", "HBA_MACAF", "protein3", "--sequences", "many.fasta", "-m", "MODEL")
    assert "did you mean 'HBA_MACFA'" in done.stderr and "protein7, …" in done.stderr and "protein8" not in done.stderr


def test_a_model_without_a_latent_diffusion_says_how_to_train_one(call: Call, model: Model, tmp_path: Path) -> None:
    bare = model.save(tmp_path / "bare")
    done = call("generate", str(bare))
    assert done.exit_code == EXIT_USAGE
    assert f"--recipe latent-diffusion --latents {bare}" in done.stderr


def test_reconstructions_keep_the_order_and_ids_of_the_input(model: Model) -> None:
    names = [x.to_sequence().id for x in reconstruct([Sequence("x", A), Sequence("w", "MK"), Sequence("y", B)], model)]
    assert names == ["x", "w", "y"]


@pytest.mark.parametrize(
    "words",
    [
        ("reconstruct", "gene.fasta", "-m", "MODEL"),
        ("interpolate", "gene.fasta", "a.fasta", "-m", "MODEL"),
        ("interpolate", "gene", "gene", "--sequences", "gene.fasta", "-m", "MODEL"),
    ],
)
def test_nucleotides_that_are_read_as_proteins_are_named(call: Call, words: tuple[str, ...]) -> None:
    Path("gene.fasta").write_text(">gene\nATGACCGATTCAGGAACCGATTCAGGA\n")
    done = call(*words)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("gene.fasta looks like nucleotides but is read as protein") == 1, done.stderr
