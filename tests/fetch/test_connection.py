"""Without a connection, commands fail at once with advice; lost connections are retried."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from standin import Standin, reset

from phylocli.fetch import Policy, fetch_families, fetch_members, fetch_proteins, fetch_release
from phylocli.fetch.connection import UnreachableError, explain_no_connection
from phylocli.fetch.http import Client, TransientError
from phylocli.store import Store

NOWHERE = "http://interpro.invalid/interpro/api"
CLOSED = "http://127.0.0.1:9/api"
CLOSE = {"Connection": "close"}
PATIENT = Policy(attempts=6, backoff=30.0)  # a second attempt would take the test half a minute

ENDS: dict[str, Callable[[Store, str], object]] = {
    "families": lambda store, base: list(fetch_families(["PF00042", "PF00076"], store=store, base_url=base, policy=PATIENT)),
    "a clan": lambda store, base: list(fetch_families([], clans=["CL0090"], store=store, base_url=base, policy=PATIENT)),
    "a release": lambda store, base: fetch_release("current", store=store, base_url=base, policy=PATIENT),
    "members": lambda store, base: fetch_members(["PF00042"], store.root / "x.fasta", base_url=base, policy=PATIENT),
    "proteins": lambda store, base: fetch_proteins(store.root / "x.fasta", query="x", base_url=base, policy=PATIENT),
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("what", ENDS)
@pytest.mark.parametrize(("base", "reason"), [(NOWHERE, "its name cannot be resolved"), (CLOSED, "Connection refused")])
def test_no_network_ends_a_request_at_once_with_one_sentence(what: str, base: str, reason: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        ENDS[what](Store(tmp_path / "store"), base)
    assert time.monotonic() - start < 20  # no attempt after the first
    error = caught.value
    assert f"cannot reach {requests.utils.urlparse(base).netloc}: {reason}" in error.what
    assert "Connection(" not in str(error) and "Max retries" not in str(error)
    assert "store import FILE" in str(error.fix) and "--offline" in str(error.fix) and "HTTPS_PROXY" in str(error.fix)


def test_all_families_that_were_not_fetched_are_one_failure_and_those_in_the_store_still_come(
    standin: Standin, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    list(fetch_families(["PF00042"], store=store))
    found = []
    with pytest.raises(UnreachableError, match="not fetched: PF00076, PF00134"):
        for family in fetch_families(["PF00076", "PF00042", "PF00134"], store=store, base_url=NOWHERE, policy=PATIENT):
            found.append(family.accession)
    assert found == ["PF00042"]


@pytest.mark.parametrize("command", [("align",), ("tree",), ("pairs",), ("views", "phylogenetic")], ids=lambda c: c[0])
def test_every_command_with_family_fails_at_once_without_a_network_and_has_offline(
    command: tuple[str, ...], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYLOCLI_INTERPRO_URL", NOWHERE)
    without = cli(*command, "--family", "PF00042")
    assert without.exit_code == 69
    assert "cannot reach interpro.invalid: its name cannot be resolved; not fetched: PF00042" in without.stderr
    offline = cli(*command, "--family", "PF00042", "--offline")
    assert offline.exit_code == 69
    assert "PF00042: not in the store" in offline.stderr
    assert "store import FILE" in offline.stderr


def test_a_proxy_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    with pytest.raises(UnreachableError, match=r"the proxy proxy\.invalid: its name cannot be resolved") as caught:
        list(fetch_families(["PF00042"], store=Store(tmp_path), base_url=NOWHERE, policy=PATIENT))
    assert "the proxy in HTTPS_PROXY" in str(caught.value.fix)


def test_a_connection_that_does_not_open_in_time_is_not_waited_for_again() -> None:
    # The exception of requests if a firewall drops packets.
    slow = urllib3.exceptions.ConnectTimeoutError(None, "timed out")
    error = requests.exceptions.ConnectTimeout(urllib3.exceptions.MaxRetryError(None, "/", slow))  # type: ignore[arg-type]
    failure = explain_no_connection(error, NOWHERE, "interpro.invalid", 15.0)
    assert failure is not None
    assert failure.what == "cannot reach interpro.invalid: no connection within 15 s"


def test_a_connection_that_breaks_is_tried_again(standin: Standin, tmp_path: Path) -> None:
    standin.script("/PF00042/", reset, reset)
    policy = Policy(attempts=3).scaled(0.001)
    assert [f.accession for f in fetch_families(["PF00042"], store=Store(tmp_path), policy=policy)] == ["PF00042"]
    assert standin.count("/PF00042/") == 3


def test_connection_lost_after_an_answer_is_retried() -> None:
    with Client(Policy()) as client:
        with Standin() as server, client.open(f"{server.interpro}/utils/release/current/", headers=CLOSE) as reply:
            assert reply.status == 200
            reply.content()
        with pytest.raises(TransientError, match="Connection refused"), client.open(server.interpro):
            pass
    with Client(Policy()) as other, pytest.raises(UnreachableError), other.open(server.interpro):
        pass
