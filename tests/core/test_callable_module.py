"""`phylocli.probe` and `phylocli.search` are functions to their users, whether or not the rooms were imported before."""

from __future__ import annotations

import importlib

import pytest

import phylocli
from phylocli.core.errors import UsageError


@pytest.mark.parametrize("name", ["probe", "search"])
def test_a_room_can_be_called_before_and_after_it_is_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    room = importlib.import_module(f"phylocli.{name}")
    for attribute in (room, getattr(room, name)):
        monkeypatch.setattr(phylocli, name, attribute)
        with pytest.raises(UsageError):
            getattr(phylocli, name)([], [], replicates=1, number=0)
