"""TOML as saved by editors, and invalid TOML."""

from __future__ import annotations

import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats.toml import read_toml


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_toml_as_editors_save_it(tmp_path, encoding, ends):
    (tmp_path / "x.toml").write_bytes(f'name = "Zoë"{ends}[train]{ends}seed = 1{ends}'.encode(encoding))
    assert read_toml(tmp_path / "x.toml") == {"name": "Zoë", "train": {"seed": 1}}


@pytest.mark.parametrize(
    "data",
    [b"a = ", b"a = [", b"a = " + b"[" * 100_000, b"a = " + b"9" * 10_000, b"\xff\xfea", b"\0", b"a.b = 1\na = 2"],
    ids=["value", "array", "deep", "digits", "utf16", "zero", "twice"],
)
def test_invalid_toml_is_refused_with_the_file_name(tmp_path, data):
    (tmp_path / "x.toml").write_bytes(data)
    with pytest.raises(BadInputError, match=r"x\.toml"):
        read_toml(tmp_path / "x.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        read_toml(tmp_path / "no.toml")
    with pytest.raises(BadInputError, match="is a folder"):
        read_toml(tmp_path)
