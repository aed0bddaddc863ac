import bz2
import gzip
import io
import lzma
import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats import provenance, stockholm, streams
from phylocli.formats.streams.compression import zstd


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
    with (
        pytest.raises(PhylocliError, match="its folder is a file"),
        streams.open_output(tmp_path / "file" / "x") as handle,
    ):
        handle.write(b"")


@pytest.mark.needs("dev-full")
def test_a_full_disk_is_explained(tmp_path):
    target = tmp_path / "out"
    with (
        pytest.raises(PhylocliError, match="no space left") as caught,
        streams.atomic_path(target),
        Path("/dev/full").open("wb") as handle,
    ):
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


def test_provenance_lists_the_inputs(tmp_path):
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


CONTENT = b">a\nACDEFGHIKL\n" + bytes(range(65, 91)) * 400 + b"\n"
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
PACK = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


def read_back(tmp_path, data):
    path = tmp_path / "in"
    path.write_bytes(data)
    with streams.open_input(path) as stream:
        return stream.read()


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_members_and_frames_that_follow_one_another_are_one_file(tmp_path, pack):
    whole = pack(CONTENT) + pack(b"") + pack(b"tail")
    assert read_back(tmp_path, whole) == CONTENT + b"tail"
    assert read_back(tmp_path, pack(b"")) == b""


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
@pytest.mark.parametrize("first", [b"", b"A first member.\n"], ids=["one", "two"])
def test_a_compressed_file_cut_anywhere_is_never_taken_for_whole(tmp_path, pack, first):
    head = pack(first) if first else b""
    member = pack(CONTENT)
    for cut in {
        *((1, 2, 3) if first else ()),
        6,
        7,
        9,
        12,
        *range(20, len(member), max(len(member) // 20, 1)),
        len(member) - 1,
    }:
        with pytest.raises(BadInputError, match="end too early"):
            read_back(tmp_path, head + member[:cut])


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_a_second_member_that_is_damaged_or_none_is_an_error(tmp_path, pack):
    member = bytearray(pack(CONTENT))
    member[2] ^= 0xFF
    for junk in (bytes(member), b"something else"):
        with pytest.raises(BadInputError, match="damaged"):
            read_back(tmp_path, pack(CONTENT) + junk)


@pytest.mark.parametrize("pack", [PACK["gzip"], PACK["bzip2"], PACK["xz"]])
def test_zero_bytes_after_the_last_member_are_padding(tmp_path, pack):
    assert read_back(tmp_path, pack(CONTENT) + bytes(512)) == CONTENT


def test_zstd_frames_that_are_to_be_skipped_are(tmp_path):
    frame = PACK["zstd"](CONTENT)
    assert read_back(tmp_path, SKIPPABLE + frame + SKIPPABLE + frame) == CONTENT * 2
    with pytest.raises(BadInputError):
        read_back(tmp_path, SKIPPABLE + frame[:-1])


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_decompression_bomb_is_refused_before_it_fills_memory(tmp_path, pack, monkeypatch):
    monkeypatch.setattr("phylocli.formats.streams.reading.BOMB_SIZE", 1 << 20)
    bomb = pack(b">a\n" + b"A" * (1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match="expands to more than"):
            read_back(tmp_path, bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


def test_data_in_a_pipe_are_read_without_waiting_for_its_end():
    reader, writer = os.pipe()
    os.write(writer, b"# STOCKHOLM 1.0\na AC\n//\n# STOCK")
    with os.fdopen(writer, "wb"), streams.open_input(f"/dev/fd/{reader}") as stream:
        families = stockholm.read_stream(stream, "pipe")
        assert next(families).ids == ["a"]
    os.close(reader)


NAMES = ["Zoë", "Ångström", "Пример", "日本", "naïve–dash"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_text_as_editors_save_it_is_read_alike(tmp_path, name, encoding, ends):
    text = f">{name} one\nACDE\n>b\nAC\n"
    try:
        data = text.replace("\n", ends).encode(encoding)
    except UnicodeEncodeError:
        return  # that encoding cannot hold this name
    (tmp_path / "in").write_bytes(data)
    assert streams.read_text(tmp_path / "in") == text.rstrip("\n")
    assert streams.decode_text(data).replace("\r\n", "\n").replace("\r", "\n") == text


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data):
    try:
        text = streams.decode_text(data)
    except BadInputError:
        assert data[:2] in (b"\xff\xfe", b"\xfe\xff")
    else:
        assert isinstance(text, str)
        text.encode("utf-8")  # no lone surrogates, which could not be written


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_utf8_is_preserved(text):
    assert streams.decode_text(text.encode("utf-8-sig")) == text


def test_damaged_utf16_is_refused_by_name(tmp_path):
    (tmp_path / "in").write_bytes(b"\xff\xfe>\0a\0\n\0A")
    with pytest.raises(BadInputError, match="UTF-16"):
        streams.read_text(tmp_path / "in")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(gzip.compress(b">a\nAC\n", mtime=0), mtime=0), "compressed twice"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"family.sto".ljust(257, b"\0") + b"ustar\x0000", "tar archive"),
    ],
)
def test_archives_are_named(tmp_path, data, said):
    (tmp_path / "in").write_bytes(data)
    with pytest.raises(BadInputError, match=said):
        streams.read_text(tmp_path / "in")
