"""Language models of text: agreement with transformers, training in all modes, self-contained model folders."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import text_checkpoints
import torch
import transformers

from phylocli.core.errors import BadInputError, MissingDependencyError, UsageError
from phylocli.encoders import pad_batch
from phylocli.models.model import Model
from phylocli.models.multimodal import MultimodalModel, tower
from phylocli.train import train_model

TEXTS = ["A heme kinase", "kinases of a family", "7", "number of " * 30, "a zinc finger of kind 4"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("text")
    return lambda kind: folder / kind if (folder / kind).is_dir() else text_checkpoints.make(kind, folder / kind)


def build(folder: Path, pooling: str = "mean", **parameters: Any) -> Model:
    given = {"checkpoint": str(folder), **parameters}
    return tower("text", encoder="language-model", pooling=pooling, parameters=given).eval()


def values_of(model: Model, texts: list[str] = TEXTS) -> list[np.ndarray]:
    return [model.encoder.parse(text) for text in texts]


@pytest.mark.parametrize("kind", text_checkpoints.MODELS)
def test_vectors_are_the_means_of_the_plain_call_of_transformers(kind: str, checkpoint: Callable[[str], Path]) -> None:
    folder = checkpoint(kind)
    model = build(folder, max_length=20)
    plain, tokenizer = (
        transformers.AutoModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        found = model(*pad_batch(values_of(model)))
        for row, text in enumerate(TEXTS):
            given = tokenizer(text, truncation=True, max_length=20, return_tensors="pt")
            words = {key: given[key] for key in ("input_ids", "attention_mask")}
            assert torch.allclose(found[row], plain(**words).last_hidden_state[0].mean(0), atol=1e-5), text
    assert (found[0] - found[1]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", text_checkpoints.MODELS)
def test_a_text_is_read_up_to_the_positions_that_the_model_has(kind: str, checkpoint: Callable[[str], Path]) -> None:
    model = build(checkpoint(kind))
    longest = len(values_of(model)[3])
    assert longest == {"bert": 24, "roberta": 20, "distilbert": 24}[kind]
    assert len(build(checkpoint(kind), max_length=7).encoder.parse(TEXTS[3])) == 7
    assert model(*pad_batch(values_of(model))).isfinite().all()


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
@pytest.mark.parametrize("kind", text_checkpoints.MODELS)
def test_each_mode_trains_what_it_says_and_its_folder_needs_no_checkpoint(
    mode: str, kind: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint(kind), tmp_path / "gone")
    model = build(folder, "attention", mode=mode).train()
    batch = pad_batch(values_of(model))
    model(*batch).square().sum().backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert all(name.startswith("pooling") for name in learned) == (mode == "frozen") and learned
    assert any(".up." in name for name in learned) == (mode == "lora")
    whole = MultimodalModel({"sequence": tower("sequence", preset="tiny"), "text": model.eval()}, 8)
    whole.save(tmp_path / "model")
    shutil.rmtree(folder)
    again = MultimodalModel.load(tmp_path / "model")
    assert again.fingerprint == whole.fingerprint
    assert np.array_equal(again.embed("text", TEXTS), whole.embed("text", TEXTS))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_pooler_which_no_token_depends_on_is_no_part_of_the_model(
    kind: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)  # of weights that the checkpoint lacks
        made.append(build(checkpoint(kind), mode="full").train())
    assert made[0].fingerprint == made[1].fingerprint
    assert not any("pooler" in name for name in made[0].state_dict())
    made[0](*pad_batch(values_of(made[0]))).square().sum().backward()
    assert all(p.grad is not None for p in made[0].parameters() if p.requires_grad)


def test_the_fingerprint_depends_on_the_vocabulary(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "other")
    rules = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(rules.replace('"Lowercase"', '"NFC"'))
    assert build(folder).fingerprint != build(checkpoint("bert")).fingerprint


def test_a_run_trains_it_and_a_locked_one_has_the_vectors_of_the_checkpoint(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (
            f"p{k}",
            "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 25)),
            f"a kinase of kind {k % 8}" + " of" * 40,
            f"F{k % 8}",
        )
        for k in range(32)
    ]
    pl.DataFrame(rows, schema=["id", "sequence", "text", "family"], orient="row").write_csv(tmp_path / "t.csv")
    settings = {
        "batch.pairs": 8, "head.dimension": 8, "modality.sequence.preset": "tiny", "validation.fraction": 0.5,
        "modality.text.encoder": "language-model", "modality.text.parameters": {"checkpoint": str(checkpoint("bert"))},
    }  # fmt: skip
    options: dict[str, Any] = {"recipe": "clip", "modalities": ("sequence", "text"), "steps": 2, "device": "cpu"}
    folder = train_model([tmp_path / "t.csv"], tmp_path / "run", settings=settings, **options)
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet")["loss"].is_finite().all()
    assert (tmp_path / "run" / "config.toml").stat().st_size < 20_000  # without the tokenizer
    with pytest.raises(UsageError, match=r"reads \d+ tokens of a value, more than multiview.max_length = 20"):
        train_model([tmp_path / "t.csv"], tmp_path / "short", settings={**settings, "multiview.max_length": 20}, **options)
    assert not (tmp_path / "short").exists()
    locked = {**settings, "modality.text.locked": True, "multiview.max_length": 20}  # whose vectors are of whole texts
    other = MultimodalModel.load(train_model([tmp_path / "t.csv"], tmp_path / "locked", settings=locked, **options))
    plain = build(checkpoint("bert"))
    with torch.no_grad():
        expected = other.joint("text", plain(*pad_batch(values_of(plain))).numpy())
    assert other.embed("text", TEXTS) == pytest.approx(expected, abs=1e-5)
    assert MultimodalModel.load(folder).embed("text", ["a new word"]).shape == (1, 8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": "language-model"}, r"language-model needs a checkpoint|hub"),
        ({"encoder": "language-model", "parameters": {"mode": "half"}}, "no mode 'half'"),
        ({"encoder": "language-model", "parameters": {"max_length": 2}}, "2 tokens are too few"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options: dict[str, Any], said: str, checkpoint: Callable[[str], Path]) -> None:
    parameters = {"checkpoint": str(checkpoint("bert")) if "parameters" in options else "", **options.get("parameters", {})}
    with pytest.raises((UsageError, BadInputError), match=said):
        tower("text", **{**options, "parameters": parameters})


def test_it_reads_texts_only(checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="does not read sequences"):
        Model.create("language-model", parameters={"checkpoint": str(checkpoint("bert"))})
    with pytest.raises(UsageError, match="does not read smiles"):
        tower("smiles", encoder="language-model", parameters={"checkpoint": str(checkpoint("bert"))})


def test_a_checkpoint_without_a_vocabulary_or_with_a_tokenizer_in_python_is_refused(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "without")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BadInputError, match=r"tokenizer of .* is missing"):
        build(folder)
    (folder / "vocab.txt").write_text("a\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))
    with pytest.raises(BadInputError, match="CanineTokenizer"):
        build(folder)


def test_without_transformers_the_message_says_how_to_get_it(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint("bert")  # made with transformers, if no other test has
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"(?s)need transformers.*plm"):
        build(folder)
