"""User input: accessions, lists, addresses, and the patience factor."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError, UsageError
from phylocli.fetch import Policy, default_policy, find_services, parse_clan, parse_family, read_list
from phylocli.fetch.http import next_page
from phylocli.fetch.services.addresses import INTERPRO, PFAM, UNIPROT


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERPRO_URL", "PFAM_URL", "UNIPROT_URL", "FETCH_PATIENCE"):
        monkeypatch.delenv(f"PHYLOCLI_{name}", raising=False)


@given(st.integers(0, 99999), st.none() | st.integers(0, 999))
def test_accessions_are_taken_apart(number: int, version: int | None) -> None:
    text = f"pf{number:05d}" + (f".{version}" if version is not None else "")
    wanted = parse_family(f" {text}\n")
    assert wanted.accession == f"PF{number:05d}"
    assert wanted.version == ("" if version is None else str(version))


@given(st.text(max_size=12))
def test_nothing_else_is_an_accession(text: str) -> None:
    for parse, head, digits in ((parse_family, "PF", 5), (parse_clan, "CL", 4)):
        try:
            found = parse(text)
        except UsageError:
            continue
        accession = found if isinstance(found, str) else found.accession
        assert accession[:2] == head
        assert accession[2:].isascii()
        assert accession[2:].isdigit()
        assert len(accession) == 2 + digits


def test_digits_of_other_scripts_are_no_accession() -> None:
    with pytest.raises(UsageError):
        parse_family("PF٠٠٠٤٢")


def test_a_list_is_the_first_word_of_each_line(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"# mine\r\nPF00042\tglobins\r\n\r\nPF00076, PF1 # more\r\n  PF00134.2\n")
    assert read_list(path) == ["PF00042", "PF00076", "PF00134.2"]
    path.write_text("# nothing\n\n")
    with pytest.raises(BadInputError, match="contains no accession"):
        read_list(path)


def test_addresses_are_the_option_then_the_environment_then_the_public_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_services().interpro == INTERPRO
    monkeypatch.setenv("PHYLOCLI_INTERPRO_URL", "http://mirror/api/")
    monkeypatch.setenv("PHYLOCLI_PFAM_URL", "http://mirror/pfam")
    found = find_services(pfam="https://other/pfam/")
    assert (found.interpro, found.pfam, found.uniprot) == ("http://mirror/api", "https://other/pfam", UNIPROT)
    assert all(url.startswith("https://") for url in (INTERPRO, PFAM, UNIPROT))


@pytest.mark.parametrize("url", ["mirror", "ftp://mirror/pfam", "file:///etc/passwd", "https://"])
def test_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not the address of a service"):
        find_services(interpro=url)


def test_patience_scales_the_waits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_policy() == Policy()
    monkeypatch.setenv("PHYLOCLI_FETCH_PATIENCE", "0.5")
    policy = default_policy()
    assert policy.computing_wait == Policy().computing_wait / 2
    assert policy.page_pause == Policy().page_pause / 2
    assert policy.read_timeout == Policy().read_timeout
    assert policy.attempts == Policy().attempts
    for text in ("-1", "much", "nan", "inf"):
        monkeypatch.setenv("PHYLOCLI_FETCH_PATIENCE", text)
        with pytest.raises(UsageError, match="PHYLOCLI_FETCH_PATIENCE"):
            default_policy()


def test_the_next_page_is_at_the_address_of_the_first() -> None:
    first = "http://127.0.0.1:8000/mirror/uniprotkb/search?query=x&size=500"
    link = "https://rest.uniprot.org/uniprotkb/search?query=x&cursor=abc%3D&size=500"
    assert next_page(link, first) == "http://127.0.0.1:8000/mirror/uniprotkb/search?query=x&cursor=abc%3D&size=500"
