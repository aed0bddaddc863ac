"""Training a latent diffusion: from a model with a decoder to a model folder that generates."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from phylocli.core.errors import BadInputError, UsageError
from phylocli.diffusion import LatentDiffusion
from phylocli.models.config import DecoderArchitecture
from phylocli.models.latent_vectors import latent_vectors, log_likelihoods
from phylocli.models.model import Model
from phylocli.train import train_model
from phylocli.train.full_batch import latent_diffusion
from phylocli.train.full_batch.latent_diffusion import Latents, embed_members
from phylocli.train.run_folder import CHECKPOINTS

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS: dict[str, Any] = {
    "diffusion.width": 32,
    "diffusion.depth": 1,
    "diffusion.batch": 64,
    "checkpoints.every": 10,
    "validation.every": 10,
    "optimiser.learning_rate": 0.01,
}


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(4, members=30, in_clan=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    decoder = DecoderArchitecture("convolutional", {"width": 16, "depth": 1, "max_length": 100})
    model = Model.create("convolutional", preset="tiny", seed=0, decoder=decoder)
    return model.save(tmp_path_factory.mktemp("base") / "model")


def trained(families: Path, base: Path, folder: Path, steps: int = 40, **changes: Any) -> Path:
    settings = {**SETTINGS, **changes}
    return train_model(
        [families], folder, recipe="latent-diffusion", latents=str(base), steps=steps, device="cpu", settings=settings
    )


@pytest.fixture(scope="module")
def run(families: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffusion") / "run"
    trained(families, base, folder)
    return folder


def test_the_loss_falls_and_the_model_is_the_same_one_with_a_latent_diffusion(run: Path, base: Path) -> None:
    rows = pl.read_parquet(run / "metrics.parquet")
    assert rows["loss"][-10:].mean() < 0.95 * rows["loss"][:5].mean()
    assert rows["val_loss"].drop_nulls().len() == 4
    model = Model.load(run / "model")
    assert model.fingerprint == Model.load(base).fingerprint
    diffusion = LatentDiffusion.load(run / "model", model.fingerprint)
    assert diffusion.config.conditions == ("PF00000", "PF00001", "PF00002", "PF00003", "CL0001")
    z = diffusion.sample(torch.tensor([0, 1, 5]), seed=0, steps=5)
    assert z.shape == (3, 64) and z.isfinite().all()
    assert "Latent diffusion: 40 steps" in (run / "model" / "MODEL_CARD.md").read_text()


def test_a_run_resumes_to_the_same_weights(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "model")
    (again / CHECKPOINTS / "step-00000040.pt").unlink()
    with caplog.at_level(logging.INFO, "phylocli"):
        train_model([], again, resume=True, device="cpu")
    assert "resuming after step 30" in caplog.text
    for name in ("diffusion.safetensors", "model.safetensors"):
        assert (again / "model" / name).read_bytes() == (run / "model" / name).read_bytes()
    train_model([], again, resume=True, device="cpu")  # complete: nothing to do


@pytest.mark.parametrize("changed", ["the model of --latents has", "the inputs have"])
def test_a_run_does_not_resume_with_another_model_or_other_sequences_at_the_same_path(
    changed: str, families: Path, base: Path, tmp_path: Path
) -> None:
    model, own, folder = tmp_path / "model", tmp_path / "own.sto", tmp_path / "run"
    shutil.copytree(base, model)
    shutil.copy(families, own)
    trained(own, model, folder, steps=2)
    shutil.rmtree(folder / "model")
    if "model" in changed:
        other = Model.load(base)
        with torch.no_grad():
            next(other.encoder.parameters()).mul_(1.01)
        other.save(model)
    else:
        lines = own.read_text().splitlines(keepends=True)
        row = next(i for i, line in enumerate(lines) if line[0] not in "#/\n")
        name, _, residues = lines[row].partition(" ")
        lines[row] = f"{name} {residues.replace('A', 'G')}"
        own.write_text("".join(lines))
    with pytest.raises(BadInputError, match=f"{changed} changed since the run was started"):
        train_model([], folder, resume=True, device="cpu")


def test_the_model_that_was_loaded_is_saved_though_its_folder_is_replaced_in_the_meantime(
    families: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(base, model)

    def replaced(*arguments: Any) -> Latents:
        found = embed_members(*arguments)
        shutil.rmtree(model)
        return found

    monkeypatch.setattr(latent_diffusion, "embed_members", replaced)
    saved = trained(families, model, tmp_path / "run", steps=2)
    assert Model.load(saved).fingerprint == Model.load(base).fingerprint
    assert {path.name for path in saved.iterdir()} == {
        *("config.json", "model.safetensors", "MODEL_CARD.md", "diffusion.json", "diffusion.safetensors")
    }


def test_long_members_are_left_out_with_a_warning(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = tmp_path / "long.fasta"
    other.write_text(">long\n" + "MKVLAAGIVG" * 20 + "\n" + "".join(f">s{i}\nMKVLAAGIVGW{'AG' * i}\n" for i in range(12)))
    with caplog.at_level(logging.WARNING, "phylocli"):
        trained(other, base, tmp_path / "run", steps=2)
    assert "1 sequence of more than 100 residues" in caplog.text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"latents": ""}, UsageError, "needs a model"),
        ({"recipe": "simclr"}, UsageError, "for the recipe latent-diffusion only"),
        ({"latents": "plain"}, UsageError, "has no decoder"),
        ({"inputs": "few"}, BadInputError, "too few"),
    ],
)
def test_what_cannot_be_trained_is_named(
    changes: dict[str, str], error: type[Exception], message: str, families: Path, base: Path, tmp_path: Path
) -> None:
    given = {"recipe": "latent-diffusion", "latents": str(base), **changes}
    if given["latents"] == "plain":
        given["latents"] = str(Model.create("convolutional", preset="tiny").save(tmp_path / "plain"))
    if given.pop("inputs", ""):
        families = tmp_path / "few.fasta"
        families.write_text(">a\nMKVLA\n>b\nMKVLG\n")
    with pytest.raises(error, match=message):
        train_model([families], tmp_path / "run", steps=2, device="cpu", settings=SETTINGS, **given)


def test_latent_vectors_and_likelihoods_do_not_depend_on_the_batch(base: Path) -> None:
    model = Model.load(base)
    sequences = [torch.randint(4, 24, (n,)).to(torch.uint8).numpy() for n in (50, 3, 90, 17)]
    z = latent_vectors(model, sequences)
    nats = log_likelihoods(model, z, sequences)
    for i, sequence in enumerate(sequences):
        alone = latent_vectors(model, [sequence])
        torch.testing.assert_close(alone[0], z[i], rtol=1e-4, atol=1e-5)
        assert log_likelihoods(model, alone, [sequence])[0] == pytest.approx(nats[i], rel=1e-4)
