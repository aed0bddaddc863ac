"""Pretrained protein language models: agreement with transformers, training in all modes, self-contained model folders."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import polars as pl
import pytest
import torch
import transformers

from phylocli.checkpoints import loading
from phylocli.checkpoints.tokenization import ESM_VOCABULARY as VOCABULARY
from phylocli.core.alphabet import MASK, UNKNOWN, encode_tokens
from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError, ServiceError, UsageError
from phylocli.embed import Embedder, embed_sequences
from phylocli.embed.embedder import untrained
from phylocli.encoders import _unpadded, pad_batch
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
    return Model.create("plm", parameters={"checkpoint": str(folder), **parameters}).eval()


KINDS = tuple(checkpoints.ADDED)
SEQUENCES = ["ACDEFGHIKLMNPQRSTVWY", "MXA", "W", "MKVLAGWQ" * 9, "MUBZOK", "KVMLA", "MKVLAGWQ" * 9]


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Within 1e-5 of the largest value, or of 1."""
    return bool((found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_the_plain_call_of_transformers(kind: str, pretrained: Callable[[str], Path]) -> None:
    model, plain = Model.load(pretrained(kind)), checkpoints.plain(kind, pretrained(kind))
    tokens, mask = pad_batch([model.encode(s) for s in SEQUENCES])
    with torch.no_grad():
        for layer in (0, 1, 2, None):
            together = model.residues(tokens, mask, layer)
            assert together.shape == (*tokens.shape, 16)
            for row, sequence in enumerate(SEQUENCES):
                expected = plain(sequence)[2 if layer is None else layer]
                assert close(together[row, : len(sequence)], expected), (layer, sequence)
        embedder = Embedder(model, max_tokens=60)  # batches of other companions
        pooled, residues = embedder.pooled(SEQUENCES), embedder.residues(SEQUENCES)
        for row, sequence in enumerate(SEQUENCES):
            expected = plain(sequence)[-1]
            assert np.abs(pooled[row] - expected.mean(0).numpy()).max() < 1e-5
            assert close(torch.from_numpy(residues[row]), expected)
    assert np.abs(pooled[0] - pooled[3]).max() > 1e-2  # they differ at all


@pytest.mark.parametrize("kind", ["esm2", "protbert", "ankh"])
def test_padded_batches_as_on_gpus_give_the_same_vectors(
    kind: str, pretrained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(pretrained(kind))
    batch = pad_batch([model.encode(s) for s in SEQUENCES])
    with torch.no_grad():
        unpadded = model(*batch)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert close(model(*batch), unpadded)


@pytest.mark.parametrize(("kind", "longest"), [("esm1b", 298), ("protbert", 398)])
def test_sequences_beyond_the_table_of_positions_are_embedded_in_windows_and_never_cut(
    kind: str, longest: int, pretrained: Callable[[str], Path]
) -> None:
    model = Model.load(pretrained(kind))
    assert model.max_length == longest
    sequence = "".join(np.random.default_rng(0).choice(list("ACDEFGHIKLMNPQRSTVWY"), longest + 50))
    embedder = Embedder(model)
    assert (embedder.window, embedder.overlap) == (longest, longest // 4)
    (residues,) = embedder.residues([sequence])
    plain = checkpoints.plain(kind, pretrained(kind))
    assert residues.shape == (longest + 50, 16)
    cut = (longest + 50) // 2  # in the middle of the overlap of the two windows
    first, last = plain(sequence[:longest])[-1], plain(sequence[50:])[-1]
    assert close(torch.from_numpy(residues[:cut]), first[:cut])
    assert close(torch.from_numpy(residues[cut:]), last[cut - 50 :])
    with pytest.raises(BadInputError, match="table of positions"):
        model(*pad_batch([model.encode(sequence)]))
    with pytest.raises(UsageError, match="windows of"):
        Embedder(model, window=longest + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_every_architecture_trains_and_its_folder_needs_no_checkpoint(
    kind: str, mode: str, pretrained: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(pretrained(kind), tmp_path / "gone")
    model = build(folder, mode=mode, project=4).train()
    model.encoder.activation_checkpointing = True
    batch = pad_batch([model.encode(s) for s in SEQUENCES])
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model(*batch).square().sum().backward()
    without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert all(name.endswith("pooler.dense.weight") for name in without), without
    optimiser.step()
    model.eval().save(tmp_path / "model")
    shutil.rmtree(folder)
    with torch.no_grad():
        assert torch.equal(Model.load(tmp_path / "model")(*batch), model(*batch))


def test_models_of_version_0_1_are_read_with_their_fingerprint(checkpoint: Path, tmp_path: Path) -> None:
    model = build(checkpoint, mode="lora")
    description = {key: value for key, value in model.encoder.description.items() if key != "tokens"}
    model.config = replace(model.config, encoder="esm2", parameters={**description, "vocabulary": VOCABULARY})
    model.save(tmp_path / "old")
    again = Model.load(tmp_path / "old")
    assert again.config.encoder == "esm2" and again.fingerprint == model.fingerprint
    assert (again.encode("MUOK") == again.encode("MCKK")).all()  # as it was trained
    (row,) = Embedder(again).residues(["MKV"])
    assert np.abs(row - checkpoints.plain("esm2", checkpoint)("MKV")[-1].numpy()).max() < 1e-5


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_a_new_model_computes_what_its_checkpoint_does(mode: str, checkpoint: Path) -> None:
    model, plain = build(checkpoint, mode=mode), checkpoints.plain("esm2", checkpoint)
    with torch.no_grad():
        found = model.residues(*pad_batch([model.encode(s) for s in SEQUENCES]))
    assert all(close(found[i, : len(s)], plain(s)[-1]) for i, s in enumerate(SEQUENCES))


def test_masked_residues_are_esms_masks(checkpoint: Path, original: Any) -> None:
    tokens = np.array([*encode_tokens("MKV"), MASK, UNKNOWN], dtype=np.uint8)
    with torch.no_grad():
        found = build(checkpoint).residues(*pad_batch([tokens, tokens[:2]]))[0]
        ids = torch.tensor([[0, *map(VOCABULARY.index, ["M", "K", "V", "<mask>", "X"]), 2]])
        assert torch.allclose(found, original(ids).last_hidden_state[0, 1:-1], atol=1e-5)


def test_gradients_go_where_the_mode_says(checkpoint: Path) -> None:
    def trained(pooling: str = "mean", **parameters: Any) -> set[str]:
        model = Model.create("plm", pooling=pooling, parameters={"checkpoint": str(checkpoint), **parameters}).train()
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
    from phylocli.encoders._pretrained import LowRank

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
        "encoder.name": "plm",
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


@pytest.mark.parametrize(("kind", "layer"), [("protbert", "layer"), ("prott5", "block"), ("esmc", "backbone.layers")])
def test_gradient_caching_recomputation_and_layer_decay_train_every_architecture(
    kind: str, layer: str, pretrained: Callable[[str], Path], simulate: Any, tmp_path: Path
) -> None:
    write_families([simulate(f"PF{i:05d}", 12) for i in range(2)], tmp_path / "families.sto")
    settings = {
        "encoder": {"name": "plm", "parameters": {"checkpoint": str(pretrained(kind)), "mode": "full"}},
        "batch": {"pairs": 4, "grad_cache": True, "activation_checkpointing": True, "max_tokens": 200},
        "optimiser": {"layer_decay": 0.5, "learning_rate": 0.001},
        "validation.pairs": 4,
    }
    train_model([tmp_path / "families.sto"], tmp_path / "run", steps=2, device="cpu", settings=settings)
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet")["loss"].is_finite().all()
    before, after = build(pretrained(kind), mode="full").state_dict(), Model.load(tmp_path / "run" / "model").state_dict()
    moved = {name: float((after[name] - t).abs().max()) for name, t in before.items() if not torch.equal(after[name], t)}
    first, second = (max(value for name, value in moved.items() if f"{layer}.{i}." in name) for i in (0, 1))
    assert 0.3 < first / second < 0.7  # Adam's first steps are as long as the learning rate


def test_a_frozen_model_with_nothing_to_train_is_pointed_out(
    checkpoint: Path, simulate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_families([simulate(f"PF{i:05d}", 12) for i in range(2)], tmp_path / "families.sto")
    parameters = {"checkpoint": str(checkpoint), "mode": "frozen"}
    settings = {"encoder": {"name": "plm", "parameters": parameters}, "batch.pairs": 4}
    train_model([tmp_path / "families.sto"], tmp_path / "run", steps=1, device="cpu", settings=settings)
    assert "the model has no trainable weights" in capsys.readouterr().err


def test_without_transformers_the_message_says_how_to_get_it(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError) as caught:
        build(checkpoint)
    assert caught.value.fix == "pip install '.[plm]'"


def test_a_hub_that_cannot_be_reached_is_a_service_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ServiceError, match="facebook/esm2_t6_8M_UR50D"):
        Model.create("plm", preset="tiny")


def change(folder: Path, **words: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **words}))


def unsafe(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def emptied(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "layer.1" not in n}, folder / "model.safetensors", {"format": "pt"})


def protbert_tokens(folder: Path) -> None:
    checkpoints._bert_tokens(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "tokenizer_class": "BertTokenizer"}))


def renamed(folder: Path) -> None:
    change(folder, model_type="protein-thing", auto_map={"AutoModel": "modeling.Thing"})
    (folder / "modeling.py").write_text("raise SystemExit('this code ran')")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change(f, model_type="bert"), "lacks weights of its architecture, 'bert'"),
        (lambda f: change(f, num_attention_heads=3), r"not a multiple of the number of attention heads \(3\)"),
        (lambda f: change(f, hidden_size="many"), "cannot be read as a checkpoint of 'esm'"),
        (lambda f: change(f, model_type="bart", is_encoder_decoder=True), "encoder with a decoder"),
        (lambda f: change(f, is_folding_model=True), "structures"),
        (renamed, "code of its own"),
        (lambda f: (f / "config.json").unlink(), "no checkpoint"),
        (unsafe, "only pytorch_model.bin"),
        (emptied, "lacks weights"),
        (lambda f: change(f, vocab_size=40), "cannot be read|lacks weights"),
        (lambda f: (f / "vocab.txt").write_text("\n".join(VOCABULARY[:-9])), "no token for"),
        (lambda f: (f / "vocab.txt").write_text("\n".join([*VOCABULARY[:4], *"xyz", *VOCABULARY[4:]])), "another model"),
        (protbert_tokens, "belongs to another model\nwhy: its pad_token_id is 0, and that of the model is 1"),
        (lambda f: (f / "vocab.txt").write_text("the\nof\nprotein"), "not a model of proteins|cannot be read"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer of .* cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 99), "cannot be read"),
    ],
    ids=[
        *("bert", "heads", "text-for-a-number", "decoder", "folding", "remote-code", "no-config", "pickle", "incomplete"),
        *("vocabulary", "letters-missing", "more-tokens", "tokens-of-protbert", "words", "tokenizer-damaged", "damaged"),
    ],
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
        Model.create("plm", parameters={"checkpoint": str(checkpoint)}, alphabet="dna")


def test_the_configuration_of_a_checkpoint_chooses_neither_kernels_nor_quantisation(
    pretrained: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(pretrained("esmc"), tmp_path / "checkpoint")
    plain = Model.load(folder)
    change(
        folder,
        attn_implementation="kernels-community/flash-attn2",
        _attn_implementation="flash_attention_2",
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True},
    )
    model = Model.load(folder)
    assert model.encoder.backbone.config._attn_implementation in ("sdpa", "eager")
    assert model.fingerprint == plain.fingerprint
    assert Model.load(model.save(tmp_path / "model")).fingerprint == model.fingerprint


@pytest.mark.parametrize("kind", ["esm2", "esm1b", "prott5", "protbert", "esmc"])
def test_the_fingerprint_is_changed_by_what_changes_the_vectors_and_by_nothing_else(
    kind: str, pretrained: Callable[[str], Path], tmp_path: Path
) -> None:
    def of(name: str, **words: Any) -> tuple[str, np.ndarray]:
        folder = shutil.copytree(pretrained(kind), tmp_path / name)
        change(folder, **words)
        model = Model.load(folder)
        assert Model.load(model.save(tmp_path / f"{name}-saved")).fingerprint == model.fingerprint
        return model.fingerprint, Embedder(model).pooled(["MKVLAAGG"])

    before, vector = of("before")
    training = {"initializer_range": 0.5, "use_cache": False, "id2label": {"0": "x"}, "attention_dropout": 0.3}
    training |= {"t5": {"dropout_rate": 0.3}, "esm": {"hidden_dropout_prob": 0.3}}.get(kind[:3], {})
    same, equal = of("same", **training)
    assert same == before and np.array_equal(equal, vector)
    decisive: dict[str, Any] = {
        "prott5": {"layer_norm_epsilon": 0.5},
        "esmc": {"rope_parameters": {"rope_theta": 10.0, "rope_type": "default"}},
    }.get(kind, {"layer_norm_eps": 0.5})
    other, moved = of("other", **decisive)
    assert other != before and np.abs(moved - vector).max() > 1e-4


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        ({"dense_act_fn": "silu"}, True),
        ({"dense_act_fn": "relu", "is_gated_act": False}, False),
        ({"num_attention_heads": 4, "d_kv": 8}, True),
        ({"num_attention_heads": 2}, False),
    ],
)
def test_fields_of_t5_count_by_what_transformers_makes_of_them(words: dict[str, Any], differs: bool) -> None:
    """`dense_act_fn` beats `feed_forward_proj`, and `num_attention_heads` is another name of `num_heads`."""
    given = {"model_type": "t5", "feed_forward_proj": "relu", "d_model": 32}
    before = loading.decisive({**given, "num_heads": 2})
    after = loading.decisive({**given, **words} if "num_attention_heads" in words else {**given, "num_heads": 2, **words})
    assert (before != after) == differs


@pytest.mark.parametrize("kind", ["bert", "bloom"])
def test_code_of_a_tokenizer_is_neither_run_nor_asked_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"
    shape = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 1}
    config = transformers.CONFIG_MAPPING[kind](**shape)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    code = "open({!r}, 'w')\nfrom transformers import PreTrainedTokenizer\nclass Tok(PreTrainedTokenizer): pass\n"
    (folder / "tokenization_own.py").write_text(code.format(str(tmp_path / "ran")))
    named = {"tokenizer_class": "Tok", "auto_map": {"AutoTokenizer": ["tokenization_own.Tok", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    with pytest.raises(BadInputError, match="tokenizer"):
        Model.load(folder)
    assert not asked and not (tmp_path / "ran").exists()


def test_positions_of_roberta_start_behind_its_padding(tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 33}
    config = transformers.RobertaConfig(**shape, max_position_embeddings=34, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    checkpoints._esm_tokens(tmp_path)
    model = Model.load(tmp_path)
    assert model.max_length == 34 - 2 - 2  # positions 2 … 33, of which start and end take two
    batch = pad_batch([model.encode("A" * 30)])
    assert model(*batch).isfinite().all()


def test_attention_with_relative_positions_takes_memory_linear_in_the_length() -> None:
    length, heads = 1024, 8
    query, key, value = torch.randn(3, length, heads, 16, generator=torch.Generator().manual_seed(0))
    distances = torch.randn(heads, 2 * length - 1)
    rows = _unpadded.Rows(torch.ones(1, length, dtype=torch.bool))
    with torch.profiler.profile(profile_memory=True) as profile, torch.inference_mode():
        found = _unpadded.attention(query, key, value, rows, 1.0, 0.0, distances)
    table = heads * length * length * 4
    assert max(event.cpu_memory_usage for event in profile.key_averages()) < table / 4
    place = torch.arange(length)
    bias = distances[:, place[None, :] - place[:, None] + length - 1]
    scores = torch.einsum("ihd,jhd->hij", query, key) + bias
    expected = torch.einsum("hij,jhd->ihd", scores.softmax(-1), value).reshape(length, -1)
    assert close(found, expected)
