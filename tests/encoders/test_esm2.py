"""ESM-2 as backbone: agreement with transformers in all modes, and self-contained model folders."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import transformers

from phylocli.core.alphabet import MASK, UNKNOWN, encode_tokens
from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError, ServiceError, UsageError
from phylocli.embed import embed_sequences
from phylocli.embed.embedder import untrained
from phylocli.encoders import pad_batch
from phylocli.encoders._esm_checkpoint import VOCABULARY
from phylocli.formats import read_families, write_families
from phylocli.models.model import Model
from phylocli.train import train_model
from phylocli.tree import infer_trees


@pytest.fixture
def checkpoint(esm_checkpoint: Path) -> Path:
    return esm_checkpoint


@pytest.fixture
def original(checkpoint: Path) -> Any:
    return transformers.EsmForMaskedLM.from_pretrained(checkpoint).esm.eval()


def build(folder: Path, **parameters: Any) -> Model:
    return Model.create("esm2", parameters={"checkpoint": str(folder), **parameters}).eval()


def words(letters: str) -> torch.Tensor:
    """Return ESM's tokens by its own rule: <cls>, the letters, <eos>."""
    return torch.tensor([[0, *(VOCABULARY.index(letter) for letter in letters), 2]])


SEQUENCES = ["ACDEFGHIKLMNPQRSTVWY", "MXA", "W", "MKVLAGWQ" * 9]


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_residues_are_what_transformers_computes_at_every_layer(mode: str, checkpoint: Path, original: Any) -> None:
    model = build(checkpoint, mode=mode)
    tokens, mask = pad_batch([encode_tokens(s) for s in SEQUENCES])
    with torch.no_grad():
        together = [model.residues(tokens, mask, layer=k) for k in (0, 1, 2, None)]
        for row, sequence in enumerate(SEQUENCES):
            alone = original(words(sequence), output_hidden_states=True)
            expected = [*alone.hidden_states[:2], alone.last_hidden_state, alone.last_hidden_state]
            for found, reference in zip(together, expected, strict=True):
                assert torch.allclose(found[row, : len(sequence)], reference[0, 1:-1], atol=1e-5), (mode, sequence)
    assert together[-1].shape == (*tokens.shape, 16)
    assert (together[-1][0] - together[1][0]).abs().max() > 0.1


def test_masked_residues_are_esms_masks(checkpoint: Path, original: Any) -> None:
    tokens = np.array([*encode_tokens("MKV"), MASK, UNKNOWN], dtype=np.uint8)
    with torch.no_grad():
        found = build(checkpoint).residues(*pad_batch([tokens, tokens[:2]]))[0]
        ids = torch.tensor([[0, *map(VOCABULARY.index, ["M", "K", "V", "<mask>", "X"]), 2]])
        assert torch.allclose(found, original(ids).last_hidden_state[0, 1:-1], atol=1e-5)


def test_gradients_go_where_the_mode_says(checkpoint: Path) -> None:
    def trained(pooling: str = "mean", **parameters: Any) -> set[str]:
        model = Model.create("esm2", pooling=pooling, parameters={"checkpoint": str(checkpoint), **parameters}).train()
        vectors = model(*pad_batch([encode_tokens(s) for s in SEQUENCES]))
        if vectors.requires_grad:
            vectors.square().sum().backward()
        with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
        assert with_gradient == {n for n, p in model.named_parameters() if p.requires_grad}
        assert model.trained_size == sum(p.numel() for n, p in model.named_parameters() if n in with_gradient)
        return with_gradient

    assert trained(mode="frozen") == set()
    assert all("projection" in name for name in trained(mode="frozen", project=8))
    assert all(name.startswith("pooling") for name in trained("attention", mode="frozen"))
    updates = trained(mode="lora", rank=3)
    assert len(updates) == 2 * 4 * 2
    assert all(name.rsplit(".", 2)[1] in ("up", "down") for name in updates)
    assert len(trained(mode="full")) > 30


def test_a_low_rank_update_is_w_plus_ba(checkpoint: Path) -> None:
    from phylocli.encoders.esm2 import LowRank

    torch.manual_seed(0)
    base = torch.nn.Linear(6, 5)
    adapted = LowRank(base, rank=2, alpha=3.0)
    x = torch.randn(4, 6)
    assert torch.equal(adapted(x), base(x))  # B is zero at first
    torch.nn.init.normal_(adapted.up.weight)
    merged = base.weight + 1.5 * adapted.up.weight @ adapted.down.weight
    assert torch.allclose(adapted(x), torch.nn.functional.linear(x, merged, base.bias), atol=1e-6)


@pytest.mark.parametrize("parameters", [{"mode": "lora"}, {"mode": "full", "project": 4}], ids=str)
def test_recomputed_activations_give_the_same_gradient(parameters: dict[str, Any], checkpoint: Path) -> None:
    def gradients(recompute: bool) -> list[torch.Tensor]:
        model = build(checkpoint, **parameters).train()
        model.encoder.activation_checkpointing = recompute
        assert model.encoder.activation_checkpointing is recompute
        model(*pad_batch([encode_tokens(s) for s in SEQUENCES])).square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for plain, again in zip(gradients(False), gradients(True), strict=True):
        assert torch.allclose(plain, again, atol=1e-6)


def test_a_model_folder_needs_no_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(checkpoint, tmp_path / "gone")
    model = build(gone, mode="lora", project=8)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    model.save(tmp_path / "model")
    shutil.rmtree(gone)
    again = Model.load(tmp_path / "model")
    batch = pad_batch([encode_tokens(s) for s in SEQUENCES])
    with torch.no_grad():
        assert torch.equal(again(*batch), model(*batch))
        assert again.fingerprint == model.fingerprint
        assert not torch.allclose(untrained(again)(*batch), model(*batch))  # a baseline of the same architecture
    model.save(tmp_path / "half", half=True)
    frequencies = "encoder.backbone.rotary_embeddings.inv_freq"
    assert torch.equal(Model.load(tmp_path / "half").state_dict()[frequencies], model.state_dict()[frequencies])
    described = json.loads((tmp_path / "model" / "config.json").read_text())["parameters"]
    assert described["backbone"]["num_hidden_layers"] == 2
    assert described["checkpoint"] == str(gone)


def test_training_from_a_checkpoint_gives_a_model_that_embeds(
    phylocli: Any, checkpoint: Path, examples: Path, tmp_path: Path
) -> None:
    families = sorted(read_families(examples / "families.sto"), key=len)[:3]
    write_families(infer_trees(families, engine="nj"), tmp_path / "few.sto")
    settings = {
        "encoder.name": "esm2",
        "encoder.parameters.checkpoint": checkpoint,
        "batch.pairs": 8,
        "validation.pairs": 8,
    }
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = phylocli("train", "few.sto", "-o", "run", "--steps", 3, "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr.decode()
    assert "weights" in done.stderr.decode() and done.stdout == b""
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet")["loss"].is_finite().all()
    model = Model.load(tmp_path / "run" / "model")
    moved = {n: t for n, t in model.state_dict().items() if n.endswith("up.weight")}
    assert len(moved) == 8 and all(t.abs().max() > 0 for t in moved.values())
    kept = build(checkpoint).state_dict()
    assert all(torch.equal(t, kept[n]) for n, t in model.state_dict().items() if ".up." not in n and ".down." not in n)
    [(_, _, vectors)] = embed_sequences(list(families[0].sequences())[:2], model)
    assert vectors.shape == (2, 16)


def test_a_frozen_model_with_nothing_to_train_is_pointed_out(
    checkpoint: Path, simulate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_families([simulate(f"PF{i:05d}", 12) for i in range(2)], tmp_path / "families.sto")
    parameters = {"checkpoint": str(checkpoint), "mode": "frozen"}
    settings = {"encoder": {"name": "esm2", "parameters": parameters}, "batch.pairs": 4}
    train_model([tmp_path / "families.sto"], tmp_path / "run", steps=1, device="cpu", settings=settings)
    assert "the model has no trainable weights" in capsys.readouterr().err


def test_without_transformers_the_message_says_how_to_get_it(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError) as caught:
        build(checkpoint)
    assert caught.value.fix == "pip install '.[esm]'"


def test_a_hub_that_cannot_be_reached_is_a_service_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ServiceError, match="facebook/esm2_t6_8M_UR50D"):
        Model.create("esm2", preset="tiny")


def change(folder: Path, **words: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **words}))


def unsafe(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def emptied(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "layer.1" not in n}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change(f, model_type="bert"), "not an ESM-2"),
        (lambda f: change(f, position_embedding_type="absolute"), "not an ESM-2"),
        (lambda f: (f / "config.json").unlink(), "no checkpoint"),
        (unsafe, "safetensors"),
        (emptied, "lacks weights"),
        (lambda f: change(f, vocab_size=40), "cannot be read|lacks weights|not ESM's letters"),
        (lambda f: (f / "vocab.txt").write_text("\n".join(VOCABULARY[:-9])), "not ESM's letters"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 99), "cannot be read"),
    ],
    ids=["bert", "esm-1b", "no-config", "pickle", "incomplete", "vocabulary", "vocab.txt", "damaged"],
)
def test_other_checkpoints_are_refused(damage: Any, message: str, checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    damage(folder)
    with pytest.raises(BadInputError, match=message):
        build(folder)


@pytest.mark.parametrize(
    "parameters", [{"mode": "half"}, {"rank": 0}, {"project": -1}, {"checkpoint": ""}, {"checkpoint": "a/b/c d"}], ids=str
)
def test_invalid_parameters_are_usage_errors(parameters: dict[str, Any], checkpoint: Path) -> None:
    with pytest.raises(UsageError):
        build(checkpoint, **{"checkpoint": str(checkpoint), **parameters})


def test_proteins_only(checkpoint: Path) -> None:
    with pytest.raises(PhylocliError, match="dna"):
        Model.create("esm2", parameters={"checkpoint": str(checkpoint)}, alphabet="dna")
