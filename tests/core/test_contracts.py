"""Every plugin, built-in and installed, meets the contract of its kind."""

from __future__ import annotations

from typing import Any

import contracts
import pytest

from phylocli.core.plugins import KINDS, Kind


@pytest.mark.parametrize(
    ("kind", "name"), [pytest.param(kind, name, id=f"{kind.noun} {name}") for kind in KINDS for name in kind.names()]
)
def test_the_plugin_meets_the_contract_of_its_kind(kind: Kind[Any], name: str) -> None:
    contracts.check(kind, name)


def test_every_kind_has_a_contract() -> None:
    assert set(contracts.CHECKS) >= {kind.noun for kind in KINDS}
