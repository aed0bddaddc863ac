"""Client of InterPro against a stand-in server with the responses of the real service."""

from __future__ import annotations

import gzip
import io
import logging
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from standin import (
    HTML,
    Answer,
    Standin,
    body,
    changed,
    computing,
    cut,
    example_families,
    hmm_text,
    html,
    repacked,
    reset,
    status,
    stockholm_text,
)

from phylocli.core import console
from phylocli.core.errors import BadInputError, ServiceError, UsageError
from phylocli.executors import summary
from phylocli.fetch import Policy, fetch_families, fetch_members, http
from phylocli.formats import Family, read_sequences
from phylocli.store import Store

FAST = Policy().scaled(0.001)
SEED = "/entry/pfam/PF00042/?annotation=alignment:seed"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def fetch(standin: Standin, store: Store, *accessions: str, policy: Policy = FAST, **options: object) -> list[Family]:
    return list(fetch_families(accessions, store=store, base_url=standin.interpro, policy=policy, **options))  # type: ignore[arg-type]


def nothing_was_kept(store: Store) -> bool:
    return not store.root.exists() or not [p for p in store.root.rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_family_is_fetched_completely_and_stored(standin: Standin, store: Store) -> None:
    (family,) = fetch(standin, store, "PF00042")
    served = example_families()["PF00042"]
    assert (family.ids, family.rows) == (served.ids, served.rows)
    assert (family.accession, family.version, family.clan) == ("PF00042", "27", "CL0090")
    source = store.origin("PF00042")["source"]
    assert source["url"] == f"{standin.interpro}/entry/pfam/PF00042/?annotation=alignment:seed&download"
    assert source["release"] == "107.0"
    assert source["alignment"] == "seed"
    assert len(source["sha256"]) == 64
    assert source["time"]


def test_stored_family_is_fetched_again_only_on_request(standin: Standin, store: Store) -> None:
    fetch(standin, store, "PF00042")
    fetch(standin, store, "PF00042")
    assert standin.count(SEED) == 1
    fetch(standin, store, "PF00042", refresh=True)
    assert standin.count(SEED) == 2


def test_large_answer_has_its_own_progress_bar(standin: Standin, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, color_system=None, width=120, soft_wrap=True)
    monkeypatch.setattr(console, "progress_is_shown", lambda: True)
    monkeypatch.setattr(console, "stderr", lambda: screen)
    monkeypatch.setattr(http, "_LARGE", 1000)
    assert len(fetch(standin, store, "PF00042", "PF00076", alignment="full")) == 2
    assert "the full alignment of PF00042" in out.getvalue() and " kB" in out.getvalue()
    assert "2/2 families" in out.getvalue()
    small = len(out.getvalue())
    monkeypatch.setattr(http, "_LARGE", 1 << 22)
    fetch(standin, store, "PF00042", alignment="full", refresh=True)
    assert "the full alignment" not in out.getvalue()[small:]


def test_full_alignment_replaces_the_seed_on_request(standin: Standin, store: Store) -> None:
    fetch(standin, store, "PF00042")
    fetch(standin, store, "PF00042", alignment="full")
    assert standin.count("annotation=alignment:full") == 1
    assert store.origin("PF00042")["source"]["alignment"] == "full"


def test_the_order_is_that_of_the_request(standin: Standin, store: Store) -> None:
    standin.script("/PF05893/", changed(stall=0.3))
    asked = ["PF05893", "PF00042", "PF00076", "PF00042"]
    assert [f.accession for f in fetch(standin, store, *asked)] == ["PF05893", "PF00042", "PF00076"]


def test_clan_is_fetched_with_all_families_and_available_offline(standin: Standin, store: Store) -> None:
    for accession in ("PF00076", "PF00134"):
        standin.families[accession].clan, old = "CL0999", standin.families[accession].clan
        assert old
    try:
        found = fetch(standin, store, "PF00042", clans=["CL0999"])
        assert [f.accession for f in found] == ["PF00042", "PF00076", "PF00134"]
        again = fetch(standin, store, clans=["CL0999"], offline=True)
        assert [f.accession for f in again] == ["PF00076", "PF00134"]
    finally:
        example_families.cache_clear()


def test_an_unknown_clan_is_named(standin: Standin, store: Store) -> None:
    with pytest.raises(BadInputError, match="no clan CL9999"):
        fetch(standin, store, clans=["CL9999"])


def test_request_has_no_version_and_a_different_one_is_reported(
    standin: Standin, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(standin, store, "PF00042.26")
    assert standin.count("PF00042.") == 0
    assert "requested PF00042.26, received PF00042.27" in capsys.readouterr().err
    fetch(standin, store, "PF00042.27")
    assert "asked for" not in capsys.readouterr().err


def test_the_request_carries_the_headers_that_the_service_wants(standin: Standin, store: Store) -> None:
    fetch(standin, store, "PF00042", clans=["CL0090"])
    for request in standin.requests:
        assert request.headers["user-agent"].startswith("phylocli/")
        assert "https://" in request.headers["user-agent"]
        assert request.headers["accept"] == ("application/json" if "/set/" in request.path else "*/*")


def test_a_content_encoding_over_the_file_is_taken_off(standin: Standin, store: Store) -> None:
    text = stockholm_text(example_families()["PF00042"])
    encoded = changed(body=gzip.compress(gzip.compress(text)), headers={"Content-Encoding": "gzip"})
    standin.script(SEED, encoded)
    assert len(fetch(standin, store, "PF00042")[0]) == 45
    standin.script(SEED, changed(body=gzip.compress(text), kind="text/plain", headers={"Content-Encoding": "gzip"}))
    assert len(fetch(standin, store, "PF00042", refresh=True)[0]) == 45
    standin.script(SEED, changed(body=text, kind="text/plain"))
    assert len(fetch(standin, store, "PF00042", refresh=True)[0]) == 45
    assert standin.count(SEED) == 3


def test_latin_1_in_a_record_is_read(standin: Standin, store: Store) -> None:
    latin = repacked(lambda text: text.replace(b"#=GF SQ", b"#=GF RA   M\xfcller A, Garc\xeda B;\n#=GF SQ"))
    standin.script(SEED, latin)
    (family,) = fetch(standin, store, "PF00042")
    assert ("RA", "Müller A, García B;") in family.features


# ---- invalid responses: repeated, never stored ----

WRONG_ROW = repacked(lambda text: text.replace(b"#=GF SQ   45", b"#=GF SQ   46"))
LIES = {
    "empty object although the family exists": body(b"{}", "application/json"),
    "empty object, compressed": body(gzip.compress(b"{}")),
    "HTML page with 200": html,
    "HTML page, compressed": body(gzip.compress(HTML)),
    "empty body with 200": body(b""),
    "cut short, with the length of the whole": cut(0.7),
    "cut short, with the length of the part": cut(0.7, honest_length=True),
    "cut in the gzip's last bytes": cut(0.9999, honest_length=True),
    "no // at the end": repacked(lambda text: text.removesuffix(b"//\n")),
    "fewer rows than SQ says": WRONG_ROW,
    "no SQ line": repacked(lambda text: text.replace(b"#=GF SQ   45\n", b"")),
    "another family": body(gzip.compress(stockholm_text(example_families()["PF00076"]))),
    "no accession": repacked(lambda text: text.replace(b"#=GF AC   PF00042.27\n", b"")),
    "two records": repacked(lambda text: text + text),
    "text after the gzip": changed(body=gzip.compress(b"# STOCKHOLM 1.0\n") + b"Error encountered when streaming data."),
    "not Stockholm": body(gzip.compress(b">a\nACDEF\n")),
    "404 with another text": status(404, b'{"Error":"connection already closed"}'),
    "404 that is no JSON": status(404, b"<html>not found</html>", "text/html"),
    "429": status(429),
    "500": status(500, b"oops", "text/plain"),
    "502": status(502, HTML, "text/html"),
    "503": status(503),
    "connection reset": reset,
    "408": computing,
}


@pytest.mark.parametrize("lie", LIES, ids=list(LIES))
def test_invalid_answer_is_discarded_and_a_later_valid_one_is_kept(standin: Standin, store: Store, lie: str) -> None:
    standin.script(SEED, LIES[lie], LIES[lie])
    (family,) = fetch(standin, store, "PF00042")
    assert family.rows == example_families()["PF00042"].rows
    assert standin.count(SEED) == 3


@pytest.mark.parametrize("lie", LIES, ids=list(LIES))
def test_permanently_invalid_answer_is_a_service_error_and_nothing_is_kept(standin: Standin, store: Store, lie: str) -> None:
    standin.always(SEED, LIES[lie])
    with pytest.raises(ServiceError, match="could not be fetched") as caught:
        fetch(standin, store, "PF00042", policy=Policy(attempts=3).scaled(0.001))
    assert "after 3 attempts" in str(caught.value)
    assert standin.count(SEED) == 3
    assert nothing_was_kept(store)


# ---- permanent errors ----


def test_an_unknown_family_is_final_and_named(standin: Standin, store: Store) -> None:
    with pytest.raises(BadInputError, match="no family PF99999"):
        fetch(standin, store, "PF99999")
    assert standin.count("PF99999/?annotation") == 1
    assert nothing_was_kept(store)


def test_a_dead_family_is_final(standin: Standin, store: Store) -> None:
    with pytest.raises(BadInputError, match="PF00101 has been removed from Pfam") as caught:
        fetch(standin, store, "PF00101")
    assert "2019-05-01" in str(caught.value)
    assert standin.count("PF00101/?annotation") == 1


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (status(204), "no family PF00042"),
        (status(410, b'{"accession":"pf00042","deletion_date":"2020-01-01"}'), "has been removed"),
        (status(404, b'{"Error":"list index out of range"}'), "does not have the seed alignment of PF00042"),
        (status(404, b'{"Error":"the level \'PF00042\' is not a valid pfam member level"}'), "does not accept PF00042"),
    ],
    ids=["204", "410", "404 lacking", "404 no accession"],
)
def test_final_answers_are_requested_once(standin: Standin, store: Store, odd: object, message: str) -> None:
    standin.script(SEED, odd)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=message):
        fetch(standin, store, "PF00042")
    assert standin.count(SEED) == 1
    assert nothing_was_kept(store)


def test_406_is_no_reason_to_ask_again(standin: Standin, store: Store) -> None:
    standin.script(SEED, status(406, b'{"detail":"Could not satisfy the request Accept header."}'))
    with pytest.raises(ServiceError, match="406"):
        fetch(standin, store, "PF00042")
    assert standin.count(SEED) == 1


# ---- waits ----


def test_408_waits_as_long_as_the_answer_takes_to_compute(standin: Standin, store: Store) -> None:
    assert Policy().computing_wait >= 61
    standin.script(SEED, computing)
    fetch(standin, store, "PF00042", policy=Policy(backoff=0.0, computing_wait=0.4, request_pause=0))
    first, second = [r.time for r in standin.requests if r.path.endswith("PF00042/")]
    assert second - first >= 0.4


def test_retry_after_is_honoured(standin: Standin, store: Store) -> None:
    standin.script(SEED, status(503, Retry_After="1"))
    fetch(standin, store, "PF00042")
    first, second = [r.time for r in standin.requests if r.path.endswith("PF00042/")]
    assert second - first >= 1


def test_a_retry_after_beyond_all_patience_ends_the_request(standin: Standin, store: Store) -> None:
    standin.script(SEED, status(429, Retry_After="86400"))
    with pytest.raises(ServiceError, match="retry after 86400 s"):
        fetch(standin, store, "PF00042")


def test_a_transfer_that_stalls_is_broken_off_and_tried_again(standin: Standin, store: Store) -> None:
    standin.script(SEED, changed(stall=30))
    fetch(standin, store, "PF00042", policy=Policy(read_timeout=1.0).scaled(0.001))
    assert standin.count(SEED) == 2


def test_a_transfer_that_drips_is_broken_off_and_tried_again(standin: Standin, store: Store) -> None:
    standin.script(SEED, changed(drip=0.02))
    fetch(standin, store, "PF00042", policy=Policy(min_rate=2000, rate_window=0.3).scaled(0.001))
    assert standin.count(SEED) == 2


def test_requests_are_paced_and_few_at_a_time(standin: Standin, store: Store) -> None:
    fetch(standin, store, *sorted(standin.families), policy=Policy(request_pause=0.03))
    starts = sorted(r.time for r in standin.requests)
    assert len(starts) == len(standin.families)
    assert starts[-1] - starts[0] >= 0.03 * (len(starts) - 1) * 0.9


# ---- size limits ----


def test_a_body_larger_than_the_cap_is_refused(standin: Standin, store: Store) -> None:
    with pytest.raises(ServiceError, match="more than 1,000 bytes"):
        fetch(standin, store, "PF00042", policy=Policy(max_body=1000).scaled(0.001))
    assert nothing_was_kept(store)


def test_body_that_decompresses_beyond_the_limit_is_refused(standin: Standin, store: Store) -> None:
    standin.always(SEED, body(gzip.compress(b"# STOCKHOLM 1.0\n" + b"\n" * 2_000_000)))
    with pytest.raises(ServiceError, match="decompress to more than 100,000 bytes"):
        fetch(standin, store, "PF00042", policy=Policy(max_unpacked=100_000, attempts=1).scaled(0.001))
    assert nothing_was_kept(store)


def test_name_from_the_network_never_becomes_a_path(standin: Standin, store: Store) -> None:
    evil = repacked(lambda text: text.replace(b"PF00042.27", b"../../../etc/PF00042"))
    standin.always(SEED, evil)
    with pytest.raises(ServiceError):
        fetch(standin, store, "PF00042", policy=Policy(attempts=1).scaled(0.001))
    assert nothing_was_kept(store)
    for name in ("../x", "/etc/passwd", ".hidden", "a/b", "", "x" * 200, "PF00042\n"):
        with pytest.raises(UsageError):
            store.family_path(name)


# ---- profiles ----


def test_a_profile_is_kept_beside_the_family(standin: Standin, store: Store) -> None:
    fetch(standin, store, "PF00042", profile=True)
    assert store.profile_path("PF00042").read_bytes() == hmm_text("PF00042")


@pytest.mark.parametrize(
    "lie",
    [
        cut(0.6, honest_length=True),
        repacked(lambda text: text.removesuffix(b"//\n")),
        repacked(lambda text: text.replace(b"PF00042", b"PF00043")),
        repacked(lambda text: b"\n".join(line for n, line in enumerate(text.split(b"\n")) if n not in (60, 61, 62))),
        html,
    ],
    ids=["cut", "no //", "another", "three lines lost", "html"],
)
def test_a_profile_that_is_not_whole_is_not_kept(standin: Standin, store: Store, lie: object) -> None:
    standin.always("annotation=hmm", lie)  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match="profile"):
        fetch(standin, store, "PF00042", profile=True, policy=Policy(attempts=2).scaled(0.001))
    assert nothing_was_kept(store)


# ---- several families, some of which fail ----


def test_the_failure_of_one_does_not_lose_the_others(standin: Standin, store: Store) -> None:
    standin.always("/PF00076/", status(503))
    found: list[str] = []
    with pytest.raises(ServiceError) as caught:
        for family in fetch_families(
            ["PF00042", "PF00076", "PF99999", "PF00134"], store=store, base_url=standin.interpro, policy=FAST
        ):
            found.append(family.accession)
    assert found == ["PF00042", "PF00134"]
    assert store.accessions() == found
    text = str(caught.value)
    assert "2 of 4 could not be fetched" in text
    assert "PF00076" in text
    assert "PF99999" in text


def test_many_families_end_with_a_table(
    standin: Standin, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(standin, store, "PF00042")
    monkeypatch.setattr(summary, "MANY", 3)
    console.show_messages(logging.INFO)
    with pytest.raises(BadInputError):
        fetch(standin, store, "PF00042", "PF99999", "PF00134")
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert [line[:4] for line in lines if line[0] == "families"] == [["families", "1", "1", "1"]]


def test_only_missing_families_are_bad_input(standin: Standin, store: Store) -> None:
    with pytest.raises(BadInputError, match="2 of 3"):
        fetch(standin, store, "PF00042", "PF99998", "PF99999")


def test_a_service_that_is_down_is_not_asked_for_every_family(standin: Standin, store: Store) -> None:
    standin.always("/entry/", status(503))
    accessions = [f"PF{n:05d}" for n in range(1, 200)]
    with pytest.raises(ServiceError, match="199 of 199"):
        fetch(standin, store, *accessions, policy=Policy(attempts=2).scaled(0.001))
    assert len(standin.requests) < 2 * 20


# ---- offline ----


def test_offline_reads_the_store_and_says_what_is_missing(standin: Standin, store: Store) -> None:
    fetch(standin, store, "PF00042")
    before = len(standin.requests)
    assert [f.accession for f in fetch(standin, store, "PF00042", offline=True)] == ["PF00042"]
    with pytest.raises(ServiceError, match="PF00076"):
        fetch(standin, store, "PF00042", "PF00076", offline=True)
    assert len(standin.requests) == before


# ---- the request itself ----


@pytest.mark.parametrize("text", ["PF42", "PF00042.x", "PF00042/../x", "", "x", "42", "glo\nbin"])
def test_invalid_accessions_are_refused_before_any_request(standin: Standin, store: Store, text: str) -> None:
    with pytest.raises(UsageError, match=r"not a Pfam accession|is not a family"):
        fetch(standin, store, text)
    assert not standin.requests


def test_alignments_that_are_not_served_any_more_are_refused(standin: Standin, store: Store) -> None:
    with pytest.raises(UsageError, match="alignment must be seed or full"):
        fetch(standin, store, "PF00042", alignment="rp35")


def test_damaged_record_in_the_store_is_fetched_again(standin: Standin, store: Store) -> None:
    fetch(standin, store, "PF00042")
    path = store.family_path("PF00042")
    path.write_bytes(path.read_bytes()[:500])
    assert len(fetch(standin, store, "PF00042")[0]) == 45
    assert len(store.read("PF00042")) == 45


# ---- all members, page after page ----


def test_members_are_read_from_all_pages_although_links_name_another_host(standin: Standin, tmp_path: Path) -> None:
    base = example_families()["PF01073"]
    standin.families = {
        "PF00042": Family(
            [f"m{n}" for n in range(450)], [base.rows[n % len(base)] for n in range(450)], accession="PF00042", name="Many"
        )
    }
    assert fetch_members(["PF00042"], tmp_path / "x.fasta", policy=FAST) == 450
    found = list(read_sequences(tmp_path / "x.fasta"))
    wanted = base.sequences()
    assert [s.id for s in found] == [f"A{n:05d}/11-{10 + len(wanted[n % len(wanted)].residues)}" for n in range(450)]
    assert all(s.residues == wanted[n % len(wanted)].residues for n, s in enumerate(found))
    assert [r.query["page_size"] for r in standin.requests] == ["200"] * 3


def test_truncated_page_of_members_is_requested_again(standin: Standin, tmp_path: Path) -> None:
    standin.script("/protein/", cut(0.5), html, computing)
    assert fetch_members(["PF00042"], tmp_path / "x.fasta", policy=FAST) == 45
    with pytest.raises(BadInputError, match="no family PF99999"):
        fetch_members(["PF99999"], tmp_path / "y.fasta", policy=FAST)
    assert not (tmp_path / "y.fasta").exists()


def test_fewer_members_than_announced_are_refused(standin: Standin, tmp_path: Path) -> None:
    def more(right: Answer) -> Answer:
        right.body = right.body.replace(b'"count": 45', b'"count": 46')
        return right

    standin.always("/protein/", more)
    with pytest.raises(ServiceError, match="received 45, but the service announced 46"):
        fetch_members(["PF00042"], tmp_path / "x.fasta", policy=FAST)
    assert not list(tmp_path.iterdir())


# ---- the release, the connection, the end ----


def test_release_is_requested_if_the_answer_does_not_contain_it(standin: Standin, store: Store) -> None:
    standin.always("annotation=", changed(headers={}))
    fetch(standin, store, "PF00042", "PF00076", "PF00134")
    assert store.origin("PF00076")["source"]["release"] == "107.0"
    assert standin.count("/utils/release/current/") == 1
    standin.always("/utils/", status(503))
    fetch(standin, store, "PF00278", policy=Policy(attempts=1).scaled(0.001))
    assert store.origin("PF00278")["source"]["release"] == ""


def test_at_most_a_few_requests_run_at_one_time(standin: Standin, store: Store) -> None:
    standin.always("/entry/", changed(stall=0.1))
    fetch(standin, store, *sorted(standin.families))
    assert 1 < standin.busiest <= Policy().connections == 3


def test_the_proxy_of_the_environment_is_used(standin: Standin, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", standin.url)
    base = "http://interpro.invalid/interpro/api"
    assert len(list(fetch_families(["PF00042"], store=store, base_url=base, policy=FAST))) == 1
    assert standin.requests[0].headers["host"] == "interpro.invalid"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that nobody has signed, with its key."""
    path = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *extension, "-keyout", path, "-out", tmp_path / "c"], check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "c").read_text())
    return path


@pytest.mark.needs("openssl")
def test_untrusted_certificate_is_refused_and_ca_bundle_is_accepted(
    certificate: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Standin(certificate=certificate) as server:
        with pytest.raises(ServiceError, match=r"certificate of 127\.0\.0\.1") as caught:
            fetch(server, store, "PF00042")
        assert "REQUESTS_CA_BUNDLE" in str(caught.value)
        assert not server.requests
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert len(fetch(server, store, "PF00042")) == 1


def test_redirect_from_https_to_http_is_refused(
    certificate: Path, standin: Standin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with Standin(certificate=certificate) as server:
        server.script(SEED, status(302, Location=f"{standin.interpro}/entry/pfam/PF00042/?annotation=alignment:seed"))
        with pytest.raises(ServiceError, match="not encrypted"):
            fetch(server, store, "PF00042")
    assert nothing_was_kept(store)


def test_interrupting_ends_at_once_even_while_a_server_is_silent(
    standin: Standin, phylocli_spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    standin.always("PF00042/?annotation", changed(stall=120))
    standin.always("PF00076/?annotation", computing)
    process = phylocli_spawn("fetch", "PF00042", "PF00076", PHYLOCLI_FETCH_PATIENCE="1")
    end = time.monotonic() + 60
    while standin.count("annotation") < 2 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(100) == 130  # the server does not respond within this time
