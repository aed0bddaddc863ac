"""Models by name: listing, location, and verification of the weights."""

from __future__ import annotations

import json
import resource
import shutil
import time
from pathlib import Path

import pytest
import torch

from phylocli import models
from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import Embedder
from phylocli.models import catalogue
from phylocli.models.model import Model
from phylocli.workflow.doctor import diagnose

CARD = "# A small one\n\nSees 30 residues to either side. Made\nfor tests.\n\nMore of it.\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two models, named in the environment; the package brings none."""
    monkeypatch.setattr(catalogue, "_ROOM", tmp_path / "none")
    monkeypatch.setenv("PHYLOCLI_MODELS", f"{tmp_path / 'missing'}:{tmp_path / 'shelf'}")
    Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "shelf" / "default", CARD, half=True)
    Model.create("recurrent", preset="tiny", seed=0).save(tmp_path / "shelf" / "another")
    (tmp_path / "shelf" / "notes").mkdir()
    return tmp_path / "shelf"


def test_the_list_says_what_each_model_is_without_loading_it(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load(shelf / "default")
    monkeypatch.setattr(Model, "load", lambda *a, **k: pytest.fail("weights were loaded"))
    first, second = models.available()
    assert (first.name, second.name) == ("default", "another")  # the default comes first
    assert (first.parameters, first.features, first.encoder) == (model.size, 64, "convolutional")
    assert first.summary == "Sees 30 residues to either side" and first.bytes < 2.2 * model.size
    assert models.listing().splitlines()[1].split("\t") == [
        *("default", "convolutional", str(model.size), str(model.size), "64", f"{first.bytes / 1e6:.1f}", first.summary)
    ]
    assert models.card("default") == CARD
    assert next(f for f in diagnose() if f.group == "models").state == "ok"


def test_names_and_folders_go_through_one_door(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.find() == models.find("default") == shelf / "default"
    assert models.find(shelf / "another") == shelf / "another"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shelf / "another", "default")
    assert models.find("default") == shelf / "default" and models.find("./default") == Path("./default")
    assert models.load("./default").config.encoder == "recurrent"
    with pytest.raises(UsageError, match="did you mean 'default'"):
        models.find("defualt")
    with pytest.raises(BadInputError, match="check the path"):
        models.load("./run/model")


def test_without_a_default_model_the_error_says_what_to_do(shelf: Path) -> None:
    shutil.rmtree(shelf / "default")
    with pytest.raises(UsageError, match=r"includes none[\s\S]*phylocli train .* --model run/model"):
        models.load()
    assert next(f for f in diagnose() if f.group == "models").state == "optional"


def test_damage_is_found_when_a_model_is_loaded_or_listed(shelf: Path) -> None:
    weights = shelf / "default" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert models.available()  # listing reads no weights
    with pytest.raises(BadInputError, match="is damaged"):
        models.load("default")
    weights.write_bytes(data[:5])
    with pytest.raises(BadInputError, match=r"'default'.*is damaged"):
        models.entry("default")


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"encoder": 1}', "[" * 100_000])
def test_damaged_model_does_not_hide_the_others(shelf: Path, capsys: pytest.CaptureFixture[str], config: str) -> None:
    (shelf / "bad").mkdir()
    (shelf / "bad" / "config.json").write_text(config)
    assert [entry.name for entry in models.available()] == ["default", "another"]
    assert "'bad'" in capsys.readouterr().err
    found = {finding.name: finding.state for finding in diagnose() if finding.group == "models"}
    assert found == {"default": "ok", "another": "ok", "bad": "unusable"}


HOSTILE = [
    {"encoder": ["convolutional"]},
    {"encoder": None},
    {"encoder": "../../etc/passwd"},
    {"encoder": "_model"},
    {"parameters": []},
    {"parameters": {"depth": 10_000_000}},
    {"parameters": {"kernel": 1_000_001}},
    {"parameters": {"width": 10**9}},
    {"parameters": {"width": 10**400}},
    {"parameters": {"width": "64"}},
    {"parameters": {"width": 1.5}},
    {"parameters": {"width": [64]}},
    {"parameters": {"width": -64}},
    {"parameters": {"width": 0}},
    {"parameters": {"depth": 5000}},
    {"parameters": {"dropout": float("nan")}},
    {"parameters": {"no_such": 1}},
    {"pooling": "no-such"},
    {"pooling": "attention", "pooling_parameters": {"heads": 0}},
    {"pooling": "feature-mean", "pooling_parameters": {"features": 10**12}},
    {"pooling_parameters": None},
    {"kernel": 10**12},
    {"kernel": "many"},
    {"whitened": "much"},
    {"whitened": 0.5, "whitened_to": 10**12},
    {"alphabet": "klingon"},
]


@pytest.mark.parametrize("changes", HOSTILE, ids=[str(c)[:60] for c in HOSTILE])
def test_a_configuration_of_wrong_kinds_or_sizes_is_an_error_before_anything_is_allocated(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = Model.create("convolutional", preset="tiny", seed=1).save(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config.pop("config_sha256", None)
    if isinstance(changes.get("parameters"), dict):
        changes = {"parameters": {**config["parameters"], **changes["parameters"]}}  # type: ignore[dict-item]
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    start, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInputError):
        Model.load(folder)
    assert time.process_time() - start < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000  # kB


def test_half_precision_weights_load_as_float32_and_embed_alike(tmp_path: Path) -> None:
    model = Model.create("convolutional", preset="tiny", seed=1).eval()
    halved = Model.load(model.save(tmp_path / "m", half=True))
    assert {p.dtype for p in halved.parameters()} == {torch.float32}
    a, b = (torch.from_numpy(Embedder(m).pooled(["MKTAYIAKQRQISFVKSHFSRQ", "MKV"])) for m in (model, halved))
    assert torch.cosine_similarity(a, b).min() > 1 - 1e-5
    assert Model.load(halved.save(tmp_path / "again", half=True)).fingerprint == halved.fingerprint


def test_a_checkpoint_without_a_card_shows_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "esm").mkdir()
    (tmp_path / "esm" / "config.json").write_text('{"model_type": "esm", "hidden_size": 320}\n')
    assert '"hidden_size": 320' in models.card(tmp_path / "esm")
    (tmp_path / "esm" / "README.md").write_text("# ESM\n")
    assert models.card(tmp_path / "esm") == "# ESM\n"
