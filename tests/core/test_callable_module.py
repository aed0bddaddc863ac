"""`phylocli.probe` and `phylocli.search` are both packages and functions, in any order of import."""

from __future__ import annotations

import importlib
import types

import pytest

import phylocli
from phylocli.core.errors import UsageError


@pytest.mark.parametrize("name", ["probe", "search"])
def test_a_room_can_be_called_and_keeps_its_modules(name: str) -> None:
    for _ in range(2):  # loaded lazily, then as an attribute
        with pytest.raises(UsageError):
            getattr(phylocli, name)([], [], replicates=1, number=0)
    room = importlib.import_module(f"phylocli.{name}")
    assert getattr(phylocli, name) is room and isinstance(room.pipeline, types.ModuleType)
