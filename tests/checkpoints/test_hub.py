"""Models of the Hugging Face hub: pinned, verified, offline when there, and clear messages for all else."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hub import Hub, Repository

from phylocli import models
from phylocli.checkpoints import store
from phylocli.checkpoints.hub import _explained
from phylocli.checkpoints.store import HubId
from phylocli.core.errors import BadInputError, MissingDependencyError, ServiceError, UsageError
from phylocli.formats.streams import OutputError, file_sha256

Run = Callable[..., Any]
ESM = "facebook/esm2_t6_8M_UR50D"
FOLDER = "facebook--esm2_t6_8M_UR50D"


def sharded(checkpoint: Path, folder: Path) -> Path:
    """Copy a checkpoint with its weights in two files and an index."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-{1 + i % 2}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in files if files[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


def cache(hub: Hub, folder: Path, names: tuple[str, ...]) -> None:
    """Put files of the model into the cache of huggingface_hub."""
    import huggingface_hub

    for name in names:
        huggingface_hub.hf_hub_download(ESM, name, endpoint=hub.address, cache_dir=folder / "cache")


@pytest.fixture
def hub(pretrained: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, and an empty folder of models."""
    monkeypatch.setenv("PHYLOCLI_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with Hub() as server:
        server.models[ESM] = Repository()
        server.models[ESM].commit(pretrained("esm2"), README__md=b"# ESM-2\n\nEight million weights.\n")
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_embed_downloads_a_model_once_and_records_its_commit(
    cli: Run, hub: Hub, examples: Path, tmp_path: Path, offline: Callable[[], None]
) -> None:
    first = cli("embed", examples / "globins.fasta", "--model", ESM, "-o", tmp_path / "a.parquet")
    assert first.exit_code == 0, first.stderr
    offline()
    again = cli("embed", examples / "globins.fasta", "-m", f"hf:{ESM}", "-o", tmp_path / "b.parquet", "--max-tokens", 500)
    assert again.exit_code == 0, again.stderr
    a, b = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in "ab")
    assert a["id"].equals(b["id"]) and len(a) == 45
    assert np.abs(np.stack(a["embedding"].to_list()) - np.stack(b["embedding"].to_list())).max() < 1e-5
    commit = hub.models[ESM].revisions["main"]
    record = json.loads((tmp_path / "b.parquet.provenance.json").read_text())
    assert record["parameters"]["source"] == f"hf:{ESM}@{commit}"
    folder = tmp_path / "models" / "facebook--esm2_t6_8M_UR50D"
    assert {"name": str(folder / "model.safetensors"), "sha256": file_sha256(folder / "model.safetensors")}.items() <= next(
        item for item in record["inputs"] if item["name"].endswith("safetensors")
    ).items()
    assert not list((tmp_path / "models").glob(".*.part")) and not (folder / ".cache").exists()
    (tmp_path / "a.parquet.provenance.json").unlink()
    searched = cli("search", examples / "globins.fasta", tmp_path / "a.parquet", "-o", tmp_path / "hits.tsv")
    assert searched.exit_code == 0, searched.stderr  # the table names its model and commit
    best = pl.read_csv(tmp_path / "hits.tsv", separator="\t").group_by("query", maintain_order=True).first()
    assert (best["query"] == best["target"]).all()


def test_models_are_added_listed_shown_updated_and_removed(
    cli: Run, hub: Hub, pretrained: Callable[[str], Path], tmp_path: Path
) -> None:
    added = cli("models", "add", ESM)
    folder = tmp_path / "models" / "facebook--esm2_t6_8M_UR50D"
    assert added.exit_code == 0 and added.stdout == f"{folder}\n"
    old = hub.models[ESM].revisions["main"]
    row = next(line.split("\t") for line in cli("models").stdout.splitlines() if line.startswith(ESM))
    assert row[1] == "plm" and row[4] == "16" and row[6] == f"pretrained esm, hf:{ESM}@{old}"
    assert "Eight million weights." in cli("models", "show", ESM).stdout
    new = hub.models[ESM].commit(pretrained("esm2"), README__md=b"# ESM-2\n\nAgain.\n")
    assert models.load(ESM).source == f"hf:{ESM}@{old}"  # pinned, although main has moved
    assert cli("models", "add", ESM).exit_code == 0
    assert models.load(ESM).source == f"hf:{ESM}@{new}"
    asked = len(hub.requests)
    assert cli("models", "add", ESM).exit_code == 0 and len(hub.requests) == asked + 1  # nothing is downloaded twice
    assert cli("models", "add", f"{ESM}@{old}").exit_code == 0
    assert models.load(f"{ESM}@{old}").source == f"hf:{ESM}@{old}"
    assert cli("models", "rm", ESM).exit_code == 0 and not folder.exists()
    assert cli("models", "rm", ESM).exit_code == 2
    assert cli("models", "rm", "default").exit_code == 2  # the package's own stays
    assert store.locate(store.HubId(ESM, old)) is not None


def test_a_copy_in_the_cache_of_huggingface_hub_is_used_offline(
    hub: Hub, tmp_path: Path, offline: Callable[[], None]
) -> None:
    cache(hub, tmp_path, ("config.json", "model.safetensors", "vocab.txt"))
    offline()
    assert models.load(ESM).source == f"hf:{ESM}@{hub.models[ESM].revisions['main']}"


@pytest.mark.parametrize("recorded", [True, False])
def test_files_of_the_cache_without_checksums_are_compared_with_an_installed_copy_or_reported(
    recorded: bool, hub: Hub, tmp_path: Path, offline: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    cache(hub, tmp_path, ("config.json", "model.safetensors", "vocab.txt"))
    for path in (tmp_path / "cache").rglob("snapshots/*/*"):  # as the cache is on Windows, and on file systems without links
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    commit = hub.models[ESM].revisions["main"]
    if recorded:
        models.add(f"{ESM}@{commit}")
    offline()
    folder = models.find(ESM)
    assert ("not verified" in caplog.text) is not recorded
    if not recorded:
        assert all(name in caplog.text for name in ("config.json", "model.safetensors", "vocab.txt"))
        return
    shutil.rmtree(folder)
    path.write_bytes(content + b" ")
    with pytest.raises(ServiceError, match="is damaged"):
        models.find(ESM)
    assert not folder.exists()


@pytest.mark.parametrize("names", [("config.json",), ("config.json", "model.safetensors.index.json", "model-1.safetensors")])
def test_an_incomplete_copy_in_the_cache_is_not_used(
    names: tuple[str, ...], hub: Hub, pretrained: Callable[[str], Path], tmp_path: Path, offline: Callable[[], None]
) -> None:
    whole = sharded(pretrained("esm2"), tmp_path / "sharded")
    hub.models[ESM].commit(whole)
    cache(hub, tmp_path, names)
    offline()
    with pytest.raises(ServiceError, match="could not be downloaded") as refused:
        models.find(ESM)
    assert "incomplete" in str(refused.value.why) and not (tmp_path / "models" / FOLDER).exists()
    cache(hub, tmp_path, tuple(path.name for path in whole.iterdir()))
    assert models.load(ESM).source == f"hf:{ESM}@{hub.models[ESM].revisions['main']}"


def test_a_repository_that_lacks_a_shard_of_its_index_is_refused(
    hub: Hub, pretrained: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = sharded(pretrained("esm2"), tmp_path / "sharded")
    (whole / "model-2.safetensors").unlink()
    hub.models[ESM].commit(whole)
    with pytest.raises(ServiceError, match=r"lacks model-2\.safetensors"):
        models.find(ESM)


def test_without_network_add_keeps_the_installed_commit(
    cli: Run, hub: Hub, pretrained: Callable[[str], Path], tmp_path: Path, offline: Callable[[], None]
) -> None:
    cache(hub, tmp_path, ("config.json", "model.safetensors", "vocab.txt"))
    new = hub.models[ESM].commit(pretrained("esm2"), README__md=b"# newer\n")
    assert cli("models", "add", ESM).exit_code == 0
    offline()
    again = cli("models", "add", ESM)
    assert again.exit_code == 0 and "no connection" in again.stderr
    assert models.load(ESM).source == f"hf:{ESM}@{new}"


def test_add_replaces_no_folder_of_the_user_and_keeps_what_was_fitted_to_the_same_weights(
    cli: Run, hub: Hub, pretrained: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "models" / FOLDER
    shutil.copytree(pretrained("esm2"), folder)
    assert cli("models", "add", ESM).exit_code == 2 and (folder / "model.safetensors").is_file()
    shutil.rmtree(folder)
    models.add(ESM)
    for name in ("homology", "background", "background-layer1"):
        (folder / f"{name}.safetensors").write_bytes(b"fitted")
    hub.models[ESM].commit(pretrained("esm2"), README__md=b"# Same weights\n")
    assert "Same weights" in (models.add(ESM) / "README.md").read_text()
    for name in ("homology", "background", "background-layer1"):
        assert (folder / f"{name}.safetensors").read_bytes() == b"fitted"
    models.load(ESM)
    hub.models[ESM].commit(sharded(pretrained("esm2"), tmp_path / "sharded"))
    assert not (models.add(ESM) / "homology.safetensors").exists()
    assert sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock") == [FOLDER]


def test_files_that_were_not_downloaded_from_the_commit_are_refused_or_removed(hub: Hub, tmp_path: Path) -> None:
    part = tmp_path / "models" / f".{FOLDER}.part"
    part.mkdir(parents=True)
    for name in ("tokenizer.json", "model-1.safetensors"):
        (part / name).write_bytes(b"of another commit")
    folder = models.find(ESM)
    assert not (folder / "tokenizer.json").exists() and not (folder / "model-1.safetensors").exists()
    for name in ("tokenizer.json", "other.safetensors", "adapter_config.json"):
        (folder / name).write_text("{}")
        with pytest.raises(BadInputError, match="not one of the files that were downloaded"):
            models.load(ESM)
        (folder / name).unlink()


def test_a_mirror_without_checksums_is_refused(hub: Hub) -> None:
    hub.publishes_checksums = False
    with pytest.raises(ServiceError, match="publishes no checksum"):
        models.find(ESM)


def test_a_full_disk_is_not_reported_as_a_lack_of_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(OutputError, match="full"):
        models.find(ESM)


@pytest.mark.parametrize("name", ["..", ".", "../models", "models", ""])
def test_only_names_of_models_can_be_removed(name: str, cli: Run, hub: Hub, tmp_path: Path) -> None:
    folder = models.find(ESM)
    shutil.copy(folder / "config.json", tmp_path)
    shutil.copy(folder / "config.json", tmp_path / "models")
    assert cli("models", "rm", name).exit_code == 2
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("text", ["./nowhere", "nowhere", "a/b/c", "hf:nowhere", "a b/c"])
def test_what_is_not_an_id_is_named_in_messages_as_it_was_written(text: str, cli: Run, hub: Hub) -> None:
    for action in ("add", "rm"):
        failed = cli("models", action, text)
        assert failed.exit_code == 2 and f"'{text}'" in failed.stderr
    assert hub.requests == []


def test_of_a_linked_model_only_the_link_is_removed(cli: Run, hub: Hub, tmp_path: Path) -> None:
    kept = shutil.move(models.find(ESM), tmp_path / "kept")
    link = tmp_path / "models" / "mine"
    link.symlink_to(kept)
    assert cli("models", "rm", "mine").exit_code == 0
    assert not link.is_symlink() and (kept / "model.safetensors").is_file()


def test_the_branch_main_is_the_model_without_a_revision(hub: Hub) -> None:
    assert models.find(f"{ESM}@main") == models.find(ESM)
    assert store.parse_id("runs/my--model") is None and store.parse_id("runs/model.") is None
    assert store.parse_id("a/b.c-d_e") == store.HubId("a/b.c-d_e")


def test_without_network_the_message_says_what_to_download_and_where_to_put_it(
    cli: Run, hub: Hub, pretrained: Callable[[str], Path], examples: Path, tmp_path: Path, offline: Callable[[], None]
) -> None:
    offline()
    failed = cli("embed", examples / "globins.fasta", "--model", ESM, "-o", tmp_path / "a.parquet")
    folder = tmp_path / "models" / "facebook--esm2_t6_8M_UR50D"
    assert failed.exit_code == 69 and not (tmp_path / "a.parquet").exists()
    assert "model.safetensors" in failed.stderr and f"{ESM}/tree/main" in failed.stderr and str(folder) in failed.stderr
    shutil.copytree(pretrained("esm2"), folder)  # by hand
    assert cli("embed", examples / "globins.fasta", "--model", ESM, "-o", tmp_path / "a.parquet").exit_code == 0
    assert models.load(ESM).source is None


def test_damaged_downloads_and_changed_files_are_refused(cli: Run, hub: Hub, tmp_path: Path) -> None:
    hub.damaged.add("model.safetensors")
    with pytest.raises(ServiceError, match="is damaged"):
        models.find(ESM)
    folder = tmp_path / "models" / "facebook--esm2_t6_8M_UR50D"
    assert not folder.exists()
    hub.damaged.clear()
    assert models.find(ESM) == folder
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(BadInputError, match="damaged"):
        models.load(ESM)
    (folder / "source.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"source\.json is damaged"):
        models.load(ESM)


def test_only_safetensors_and_vocabularies_are_downloaded(hub: Hub, pretrained: Callable[[str], Path]) -> None:
    hub.models[ESM].commit(pretrained("esm2"), pytorch_model__bin=b"pickle", modeling__py=b"raise SystemExit", tf__h5=b"x")
    names = {path.name for path in models.find(ESM).iterdir()}
    assert names == {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "source.json"}


def test_what_the_hub_cannot_give_is_explained(hub: Hub, pretrained: Callable[[str], Path], tmp_path: Path) -> None:
    pickled = shutil.copytree(pretrained("esm2"), tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for name in ("some/pickles", "some/gated", "some/nothing"):
        hub.models[name] = Repository()
    hub.models["some/pickles"].commit(pickled)
    hub.models["some/gated"].commit(pretrained("esm2"))
    hub.models["some/gated"].gated = True
    hub.models["some/nothing"].commit(pretrained("esm2"))
    next(iter(hub.models["some/nothing"].commits.values())).pop("config.json")
    cases: list[tuple[str, type[Exception], str]] = [
        ("some/unknown", ServiceError, "has no model 'some/unknown'"),
        (f"{ESM}@nowhere", ServiceError, "no revision 'nowhere'"),
        ("some/pickles", BadInputError, "no weights in safetensors, only pytorch_model.bin"),
        ("some/gated", ServiceError, "gated"),
        ("some/nothing", BadInputError, "no config.json"),
        ("hf:esm2", UsageError, "not the id of a model"),
        ("hf:a/../b", UsageError, "not the id of a model"),
    ]
    for name, kind, message in cases:
        with pytest.raises(kind, match=message):
            models.find(name)
    assert sorted(path.name for path in (tmp_path / "models").iterdir() if not path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("status", "body", "why", "fix"),
    [
        (401, b"no", "401", "HF_TOKEN"),
        (403, b"<html>forbidden</html>", "403", "HF_TOKEN"),
        (404, b"", "404", "HF_ENDPOINT"),
        (407, b"", "407", "proxy"),
        (429, b"slow down", "429", "again later"),
        (500, b"", "500", "on another computer"),
        (200, b"<html>log in</html>", "not answer as the hub", "on another computer"),
        (200, b"{}", "not answer as the hub", "on another computer"),
    ],
)
def test_answers_of_mirrors_and_proxies_are_explained(
    status: int, body: bytes, why: str, fix: str, cli: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_answer", lambda request: hub._send(request, status, body))
    failed = cli("models", "add", ESM)
    assert failed.exit_code == 69, failed.exception
    reason, remedy = failed.stderr.split("why: ")[1].split("fix: ")
    assert why in reason and fix in remedy


def test_faults_of_the_program_are_not_taken_for_answers_of_the_hub(hub: Hub) -> None:
    """Only what the library makes of an answer may be one."""
    with pytest.raises(TypeError, match="a fault"), _explained(HubId("a/b", "")):
        raise TypeError("a fault")


def test_without_transformers_nothing_is_downloaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for start in (lambda: models.load(ESM), lambda: models.Model.create("plm", preset="tiny")):
        with pytest.raises(MissingDependencyError, match="transformers"):
            start()
    assert hub.requests == []


def test_what_could_be_a_path_is_not_looked_up_on_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for text in ("run/model", "./some/unknown", "/some/unknown", "a/b/c"):
        with pytest.raises(BadInputError):
            models.load(text)
    assert hub.requests == []


def test_training_starts_from_a_model_of_the_hub_and_records_its_commit(hub: Hub) -> None:
    model = models.Model.create("plm", parameters={"checkpoint": ESM, "mode": "lora"})
    assert model.encoder.description["checkpoint"] == ESM
    assert model.encoder.description["revision"] == hub.models[ESM].revisions["main"]


def test_a_search_says_that_the_model_of_its_table_could_not_be_downloaded(
    cli: Run, hub: Hub, examples: Path, tmp_path: Path, offline: Callable[[], None]
) -> None:
    assert cli("embed", examples / "globins.fasta", "--model", ESM, "-o", tmp_path / "a.parquet").exit_code == 0
    assert cli("models", "rm", ESM).exit_code == 0
    offline()
    failed = cli("search", examples / "globins.fasta", tmp_path / "a.parquet", "-o", tmp_path / "hits.tsv")
    assert failed.exit_code == 2 and f"downloading hf:{ESM}@" in failed.stderr
    assert "could not be downloaded" in failed.stderr
