"""Arrays with checksums: round trip, and detection of damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats.arrays import read_arrays, write_arrays

ARRAYS = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array([-3, 5], dtype=np.int8)}


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.safetensors", {**ARRAYS, "a": ARRAYS["a"].T}, {"of": "é"})
    found, metadata = read_arrays(tmp_path / "x.safetensors", fix="make it again")
    assert metadata == {"of": "é"} and sorted(found) == ["a", "b"]
    assert found["a"].tolist() == ARRAYS["a"].T.tolist() and found["b"].dtype == np.int8


def test_every_bit_is_covered_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_arrays(path, ARRAYS, {"of": "model"})
    whole = path.read_bytes()
    for offset in range(len(whole)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        try:
            found, metadata = read_arrays(path, fix="make it again")
        except BadInputError as error:
            assert "x.safetensors is damaged" in str(error) and "make it again" in str(error)
        else:  # padding, or a letter of white space, that changes nothing of what is read
            assert metadata == {"of": "model"} and all((found[name] == ARRAYS[name]).all() for name in ARRAYS)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInputError, match="is damaged"):
            read_arrays(path, fix="make it again")
