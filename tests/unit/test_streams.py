import io
import os
import sys

import pytest

from phylocli.errors import PhylocliError
from phylocli.formats import provenance, streams


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), streams.open_text_output(path) as handle:
        handle.write("half")
        handle.flush()
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]
    with streams.open_text_output(path) as handle:
        handle.write("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), streams.open_output(tmp_path / "x.gz") as handle:
        handle.write(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PhylocliError, match="cannot be written"), streams.open_output(tmp_path / "file" / "x") as handle:
        handle.write(b"")


@pytest.mark.needs("dev-full")
def test_a_full_disk_is_explained(tmp_path):
    target = tmp_path / "out"
    with pytest.raises(PhylocliError, match="no space left") as caught, streams.atomic_path(target) as part:
        part.symlink_to("/dev/full")
        with part.open("wb") as handle:
            handle.write(b"x" * 100_000)
    assert caught.value.exit_code == 1
    assert os.listdir(tmp_path) == []


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("n" * 250)
    with streams.open_output(path) as handle:
        handle.write(b"x")
    assert path.read_bytes() == b"x"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for text in ("one", "two"):
        with streams.atomic_directory(target) as folder:
            (folder / text).write_text(text)
    assert os.listdir(target) == ["two"]
    with pytest.raises(RuntimeError), streams.atomic_directory(target) as folder:
        (folder / "three").write_text("")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(target) == ["two"]


def test_standard_input_has_a_checksum(monkeypatch):
    import hashlib

    data = b">a\nACD\n" * 50_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with streams.recording_inputs() as inputs, streams.open_input("-") as stream:
        assert stream.read() == data
    assert [(i.name, i.bytes, i.sha256) for i in inputs] == [("standard input", len(data), hashlib.sha256(data).hexdigest())]


def test_provenance_says_what_went_in(tmp_path):
    source, target = tmp_path / "in.fasta", tmp_path / "out"
    source.write_text(">a\nAC\n")
    with streams.recording_inputs():
        with streams.open_input(source) as stream:
            stream.read()
        streams.write_text(target, "result")
        provenance.write_sidecar(target, "test", {"x": 1}, seed=3)
    import json

    record = json.loads((tmp_path / "out.provenance.json").read_text())
    assert record["inputs"] == [{"name": str(source), "bytes": 6, "sha256": streams.file_sha256(source)}]
    assert record["output"]["sha256"] == streams.file_sha256(target)
    assert record["seed"] == 3
    assert record["versions"]["phylocli"]


def test_no_sidecar_for_pipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for target in (None, "-", "/dev/null"):
        provenance.write_sidecar(target, "test", {})
    assert os.listdir(tmp_path) == []
