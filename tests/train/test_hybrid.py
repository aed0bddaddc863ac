"""The objective hybrid in training: pure cases, parts of z, the model that is left, and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import small_run
import torch
from torch import Tensor

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import UsageError
from phylocli.decoders import uniform_numbers
from phylocli.encoders import pad_batch
from phylocli.models.config import DecoderArchitecture
from phylocli.models.model import Model
from phylocli.train import train_model
from phylocli.train.data.loading import load_corpus
from phylocli.train.task import ContrastiveTask

pytestmark = pytest.mark.usefixtures("one_thread")

DECODER = {"decoder.name": "convolutional", "decoder.width": 16, "decoder.depth": 1, "decoder.grid": 4}


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=20)


def config(families: Path, **changes: Any) -> TrainConfig:
    values = {**small_run.UNVALIDATED, "objective.name": "hybrid", **DECODER, **changes}
    return TrainConfig.of(None, {"recipe": "simclr", "inputs": (str(families),), **nested(values)})


def trained(families: Path, steps: int = 3, **changes: Any) -> tuple[ContrastiveTask, list[dict[str, torch.Tensor]]]:
    """Return a task after some steps of plain gradient descent, and its terms."""
    made = config(families, **changes)
    task, corpus, terms = ContrastiveTask(made), load_corpus([families], made), []
    optimiser = torch.optim.SGD(task.parameters(), lr=0.05)
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        terms.append(task(corpus.batch(step)))
        terms[-1]["loss"].backward()
        optimiser.step()
        task.after_step()
    return task, terms


def test_alpha_zero_trains_the_encoder_of_pure_contrast(families: Path) -> None:
    task, terms = trained(families, **{"objective.alpha": 0.0, "decoder.contrast": "all"})
    pure, others = trained(families, **{"objective.name": "infonce", "decoder.name": ""})
    assert [x["loss"].item() for x in terms] == [x["loss"].item() for x in others]
    for name, weight in pure.state_dict().items():
        if name.startswith(("model.", "head.")):
            assert torch.equal(task.state_dict()[name], weight), name
    before = ContrastiveTask(config(families)).model.decoder
    assert before is not None and task.model.decoder is not None
    assert all(map(torch.equal, before.parameters(), task.model.decoder.parameters())), "no gradient reaches the decoder"


def test_alpha_one_trains_no_critic_and_no_head(families: Path) -> None:
    task, terms = trained(families, **{"objective.alpha": 1.0})
    before = ContrastiveTask(config(families))
    assert all(map(torch.equal, before.head.parameters(), task.head.parameters()))
    assert not torch.equal(next(before.model.encoder.parameters()), next(task.model.encoder.parameters()))
    for found in terms:
        assert found["loss"].item() == -found["decoded"].item()


def test_each_part_of_z_receives_the_gradient_of_what_acts_on_it(families: Path) -> None:
    made = config(families, **{"decoder.contrast": "y", "decoder.reads": "w", "decoder.y": 0.25})
    task = ContrastiveTask(made)
    pairs = load_corpus([families], made).batch(0)
    z = task.embed(pairs.a).detach().requires_grad_()
    (by_contrast,) = torch.autograd.grad(task.project(z).square().sum(), z)
    tokens, mask = pad_batch(pairs.a)
    (by_decoder,) = torch.autograd.grad(task.model.log_likelihood(z, tokens, mask).sum(), z)
    y, w = task.model.part("y"), task.model.part("w")
    assert (y, w) == (slice(0, 16), slice(16, 64))
    assert by_contrast[:, y].any() and not by_contrast[:, w].any()
    assert by_decoder[:, w].any() and not by_decoder[:, y].any()


def test_what_is_decoded_is_the_view_or_its_partner(families: Path) -> None:
    for target in ("own", "partner"):
        made = config(families, **{"decoder.target": target})
        task = ContrastiveTask(made).eval()
        pairs = load_corpus([families], made).batch(1)
        decoded = task.forward_views(pairs)[2].decoded
        assert decoded is not None
        tokens, mask = pad_batch(pairs.a if target == "own" else pairs.b)
        expected = task.model.log_likelihood(task.embed(pairs.a), tokens, mask)
        torch.testing.assert_close(decoded.log_likelihood, expected, rtol=1e-4, atol=1e-3)
        assert decoded.lengths is not None and torch.equal(decoded.lengths, mask.sum(1))


def test_the_profile_background_is_that_of_the_family_of_the_pair(families: Path) -> None:
    made = config(families, **{"decoder.background": "profile"})
    task, corpus = ContrastiveTask(made), load_corpus([families], made)
    task.read_families(corpus.families)
    pairs = corpus.batch(0)
    terms = task(pairs)
    assert task.profiles is not None
    tokens, mask = pad_batch(pairs.a)
    nats = task.profiles(tokens - 4, mask.sum(1), torch.from_numpy(pairs.family))
    assert float(terms["decoded_ceiling"]) == pytest.approx(-float(nats.mean()), rel=1e-5)
    unigram = ContrastiveTask(config(families))(pairs)
    assert terms["decoded_ceiling"] < unigram["decoded_ceiling"], "a profile shortens the description of members"
    assert not any("profiles" in name for name in task.state_dict()), "checkpoints stay as they were"


@pytest.mark.parametrize("grad_cache", [False, True])
def test_sequences_are_decoded_in_groups_of_max_tokens(families: Path, grad_cache: bool) -> None:
    """The groups, and recomputing them, change neither the likelihoods nor the gradient."""
    found = []
    for tokens in (10**6, 200):
        made = config(families, **{"batch.max_tokens": tokens, "batch.grad_cache": grad_cache, "objective.alpha": 1.0})
        task = ContrastiveTask(made)
        decoder = task.model.require_decoder()
        sizes: list[int] = []
        plain = decoder.log_likelihood

        def noted(z: Tensor, tokens: Tensor, mask: Tensor, plain: Any = plain, sizes: list[int] = sizes) -> Tensor:
            sizes.append(mask.numel())
            return plain(z, tokens, mask)

        decoder.log_likelihood = noted  # type: ignore[method-assign]
        pairs = load_corpus([families], made).batch(0)
        decoded = task.forward_views(pairs)[2].decoded
        assert decoded is not None
        decoded.log_likelihood.sum().backward()
        assert max(sizes) <= tokens and (len(sizes) > 1) == (tokens == 200 or grad_cache)
        found.append((decoded.log_likelihood.detach(), [p.grad for p in decoder.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def run(families: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the recipe hybrid on few families."""
    folder = tmp_path_factory.mktemp("hybrid") / "run"
    sizes = {"decoder.width": 32, "decoder.depth": 2, "objective.contrast_parameters.queue": 36, "objective.alpha": 0.5}
    settings = {**small_run.SMALL, "validation.every": 20, "checkpoints.every": 10, **sizes}
    train_model([families], folder, recipe="hybrid", steps=20, device="cpu", settings=settings)
    return folder


def test_the_decoder_learns_and_is_kept_in_the_model(run: Path) -> None:
    rows = pl.read_parquet(run / "metrics.parquet")
    assert rows["decoded"][-5:].mean() > rows["decoded"][:5].mean() + 5
    assert (rows["decoded"] < rows["decoded_ceiling"]).all()
    assert rows["val_decoded"][-1] < rows["val_decoded_ceiling"][-1]
    model = Model.load(run / "model")
    assert model.config.decoder is not None and model.config.decoder.name == "convolutional"
    tokens, mask = pad_batch([torch.arange(4, 24).numpy().astype("uint8")])
    with torch.no_grad():
        z = model.latents(model.residues(tokens, mask), mask)
        torch.testing.assert_close(z, model(tokens, mask))
    (sequence,) = model.decode(z, uniform_numbers(1, model.require_decoder().draws, seed=0))
    assert len(sequence) >= 1
    assert "Decoder: convolutional" in (run / "model" / "MODEL_CARD.md").read_text()


def test_a_run_resumes_to_the_same_weights(run: Path, families: Path, tmp_path: Path) -> None:
    import shutil

    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "model")
    (again / "checkpoints" / "step-00000020.pt").unlink()
    train_model([], again, resume=True, device="cpu")
    assert Model.load(again / "model").fingerprint == Model.load(run / "model").fingerprint


def test_another_contrastive_part_drops_the_parameters_of_the_one_before() -> None:
    made = TrainConfig.of(None, {"recipe": "hybrid", "objective": {"contrast": "nt-xent"}})
    assert made.objective.parameters == {"alpha": 0.02, "contrast": "nt-xent"}
    made = TrainConfig.of(None, {"recipe": "hybrid", "objective": {"contrast_parameters": {"queue": 9}}})
    assert made.objective.parameters["contrast_parameters"] == {"queue": 9, "momentum": 0.99}
    made = TrainConfig.of(None, {"recipe": "hybrid", "decoder": {"name": "autoregressive", "width": 8}})
    assert made.decoder.parameters == {"width": 8} and made.decoder.y == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder.name": ""}, "'hybrid' needs a decoder"),
        ({"objective.name": "infonce"}, "does not train the decoder"),
        ({"decoder.name": "convolutionell"}, "did you mean 'convolutional'"),
        ({"decoder.y": 1.0, "decoder.contrast": "w"}, "latent part w has no features"),
        ({"decoder.max_length": 20}, "the decoder's max_length is 20"),
    ],
)
def test_settings_that_cannot_work_are_named(families: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        trained(families, steps=1, **changes)
    assert message in str(error.value)


def test_a_model_without_a_decoder_says_how_to_get_one() -> None:
    model = Model.create("convolutional", preset="tiny")
    with pytest.raises(UsageError, match="recipe hybrid"):
        model.require_decoder()
    with pytest.raises(UsageError, match="no latent part 'y'"):
        model.part("y")


def test_weights_of_equal_decoders_are_blended() -> None:
    decoder = DecoderArchitecture("autoregressive", {"width": 8, "max_length": 30})
    one, two = (Model.create("convolutional", preset="tiny", seed=seed, decoder=decoder) for seed in (0, 1))
    one.blend(two, 1.0)
    assert one.fingerprint == two.fingerprint
