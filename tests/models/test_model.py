"""Encoders and the model folder: padding invariance, reproducible weights, saving and loading."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from phylocli.core import plugins
from phylocli.core.errors import BadInputError, UsageError
from phylocli.encoders import pad_batch
from phylocli.encoders.base.batch import Layout
from phylocli.encoders.recurrent import Reader
from phylocli.models.model import Model

# The presets of the others are on a hub: see tests/encoders.
ENCODERS = sorted({*plugins.ENCODERS.names()} - {"plm", "language-model"})
LENGTHS = [1, 7, 250, 2, 63, 64, 31]


def sequences(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 24, size=n, dtype=np.uint8) for n in lengths]


def small(encoder: str, pooling: str = "mean") -> Model:
    return Model.create(encoder, preset="tiny", pooling=pooling, seed=1).eval()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_a_sequence_embeds_the_same_alone_and_in_any_batch(
    encoder: str, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packed:  # the form of devices other than the CPU, computed here
        original = Layout.__init__

        def padded(self: Layout, mask: torch.Tensor) -> None:
            original(self, mask)
            n, width = mask.shape
            self.rows = None
            self.position = torch.arange(width).expand(n, -1).reshape(-1)
            self.length = mask.sum(1)[:, None].expand(-1, width).reshape(-1)

        monkeypatch.setattr(Layout, "__init__", padded)
    model = small(encoder)
    found = sequences(LENGTHS)
    with torch.no_grad():
        tokens, mask = pad_batch(found)
        together, residues = model(tokens, mask), model.residues(tokens, mask)
        for i, sequence in enumerate(found):
            tokens, mask = pad_batch([sequence])
            assert torch.allclose(model(tokens, mask)[0], together[i], atol=1e-5)
            assert torch.allclose(model.residues(tokens, mask)[0], residues[i, : len(sequence)], atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradient_depends_on_every_residue_and_on_no_other_sequence(encoder: str) -> None:
    model = small(encoder)
    first, second = sequences([40, 30])
    other = second.copy()
    other[0] = 4 + (other[0] - 3) % 20
    with torch.no_grad():
        before = model.residues(*pad_batch([first, second]))
        after = model.residues(*pad_batch([first, other]))
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert (before[1, 0] - after[1, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("encoder", ENCODERS)
def test_layers_can_be_taken_one_by_one_and_the_last_is_the_default(encoder: str) -> None:
    model = small(encoder)
    batch = pad_batch(sequences([9, 5]))
    with torch.no_grad():
        layers = [model.residues(*batch, layer=k) for k in range(model.depth + 1)]
        assert torch.equal(layers[-1], model.residues(*batch))
    assert all(not torch.allclose(a, b) for a, b in itertools.pairwise(layers))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_presets_can_be_built_and_grow(encoder: str) -> None:
    presets = plugins.ENCODERS.load(encoder).Encoder.PRESETS
    with torch.device("meta"):
        sizes = [Model.create(encoder, preset=name).size for name in presets]
    assert list(presets)[:3] == ["tiny", "small", "medium"]
    assert sizes == sorted(sizes)
    if encoder != "bag-of-words":  # an embedding of letters alone
        assert 0.4e6 < sizes[1] < 0.9e6
        assert 5e6 < sizes[2] < 8.5e6


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_weight_gets_a_gradient(encoder: str) -> None:
    model = small(encoder)
    model(*pad_batch(sequences([30, 20]))).square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_the_convolution_is_what_conv1d_computes() -> None:
    from phylocli.encoders.convolutional import Block

    torch.manual_seed(0)
    block = Block(width=6, hidden=8, kernel=5, dilation=2, depth=1)
    x = torch.randn(1, 23, 6)
    layout = Layout(torch.ones(1, 23, dtype=torch.bool))
    weight = block.look.weight.view(8, 5, 6).transpose(1, 2)
    plain = torch.nn.functional.conv1d(block.norm(x).transpose(1, 2), weight, block.look.bias, dilation=2, padding=4)
    expected = x + block.back(torch.nn.functional.gelu(plain.transpose(1, 2)))
    assert torch.allclose(block(x[0], layout), expected[0], atol=1e-5)


@pytest.mark.parametrize("pooling", plugins.POOLINGS.names())
def test_poolings_do_not_see_padding(pooling: str) -> None:
    model = small("convolutional", pooling)
    torch.manual_seed(0)
    residues = torch.randn(3, 8, model.encoder.dimension)
    mask = torch.arange(8)[None] < torch.tensor([8, 3, 1])[:, None]
    pooled = model.pool(residues, mask)
    residues = torch.where(mask[..., None], residues, torch.full_like(residues, 1e4))
    assert torch.allclose(model.pool(residues, mask), pooled, atol=1e-5)
    assert torch.allclose(model.pool(residues[1:2, :3], mask[1:2, :3]), pooled[1:2], atol=1e-5)


def test_mean_max_first_and_generalised_mean_follow_their_definitions() -> None:
    residues = torch.rand(2, 5, 64) + 0.1
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    rows = [residues[0], residues[1, :2]]

    def pool(name: str) -> torch.Tensor:
        return small("convolutional", name).pool(residues, mask)

    assert torch.allclose(pool("mean"), torch.stack([r.mean(0) for r in rows]))
    assert torch.allclose(pool("max"), torch.stack([r.amax(0) for r in rows]))
    assert torch.allclose(pool("first"), residues[:, 0])
    cubic = torch.stack([r.pow(3).mean(0).pow(1 / 3) for r in rows])
    assert torch.allclose(pool("generalised-mean"), cubic, atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = (Model.create(preset="tiny", seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert a.fingerprint == b.fingerprint != c.fingerprint


def test_saved_model_is_loaded_unchanged(tmp_path) -> None:
    model = small("convolutional", "attention")
    model.save(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["MODEL_CARD.md", "config.json", "model.safetensors"]
    again = Model.load(tmp_path / "model")
    batch = pad_batch(sequences([12, 30]))
    assert again.fingerprint == model.fingerprint
    assert not again.training
    assert torch.equal(again(*batch), model(*batch))
    model.save(tmp_path / "model")  # replacing a model is allowed


def test_saving_never_replaces_a_folder_that_is_no_model(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="does not contain a model"):
        small("convolutional").save(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_damaged_or_foreign_models_are_refused(tmp_path) -> None:
    with pytest.raises(BadInputError, match="not a model folder"):
        Model.load(tmp_path)
    folder = small("convolutional").save(tmp_path / "model")
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-4] + b"\0\0\0\1")
    with pytest.raises(BadInputError, match="damaged"):
        Model.load(folder)
    weights.write_bytes(good)
    config = json.loads((folder / "config.json").read_text())
    wider = {**config, "parameters": {**config["parameters"], "width": 32}}
    (folder / "config.json").write_text(json.dumps(wider))
    with pytest.raises(BadInputError, match=r"config\.json was edited or is damaged"):
        Model.load(folder)
    del wider["config_sha256"]  # as earlier versions wrote it
    (folder / "config.json").write_text(json.dumps(wider))
    with pytest.raises(BadInputError, match="do not fit"):
        Model.load(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(BadInputError, match="does not describe a model"):
        Model.load(folder)
    weights.unlink()


@pytest.mark.parametrize(
    "arguments",
    [
        {"encoder": "convolutionl"},
        {"preset": "gigantic"},
        {"pooling": "median"},
        {"parameters": {"wings": 2}},
        {"parameters": {"kernel": 4}},
    ],
    ids=str,
)
def test_unknown_parts_and_parameters_are_usage_errors(arguments: dict) -> None:
    with pytest.raises(UsageError):
        Model.create(**arguments)


def test_rotary_scores_depend_on_the_distance_between_residues_only() -> None:
    from phylocli.encoders.transformer import rotary, rotate

    torch.manual_seed(0)
    query, key = torch.randn(1, 8), torch.randn(1, 8)
    positions = rotary(50, 8, torch.device("cpu"))
    q, k = rotate(query.expand(50, -1), *positions), rotate(key.expand(50, -1), *positions)
    scores = q @ k.T
    for distance in (-7, 0, 3):
        assert scores.diagonal(distance).std() < 1e-4
    assert torch.allclose(q.norm(dim=1), query.norm().expand(50), atol=1e-5)


def test_a_long_sequence_goes_through_every_linear_encoder() -> None:
    tokens, mask = pad_batch(sequences([40_000, 10]))
    with torch.no_grad():
        assert torch.isfinite(small("convolutional")(tokens, mask)).all()


def test_a_recurrent_layer_is_a_bidirectional_gru_on_packed_sequences_and_takes_its_weights() -> None:
    torch.manual_seed(0)
    packed, reader, lengths = nn.GRU(8, 4, batch_first=True, bidirectional=True), Reader(8), torch.tensor([9, 1, 5])
    reader.load_state_dict(packed.state_dict())  # as models of 0.1 have them
    x, place = torch.randn(3, 9, 8), torch.arange(9)
    mask = place[None] < lengths[:, None]
    mirrored = torch.where(mask, lengths[:, None] - 1 - place, place)
    expected = pad_packed_sequence(packed(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0], True)
    assert torch.allclose(reader(x, mirrored)[mask], expected[0][mask], atol=1e-6)
