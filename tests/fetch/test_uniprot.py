"""Client of UniProt: cursors, counts, streams that fail with status 200, merged and deleted accessions."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from standin import Answer, Standin, body, computing, cut, example_families, html, reset, status

from phylocli.core.errors import BadInputError, ServiceError, UsageError
from phylocli.fetch import Policy, fetch_proteins
from phylocli.formats import Family, read_sequences

FAST = Policy().scaled(0.001)
QUERY = "(xref:pfam-PF00042)"
SEARCH = "/uniprotkb/search"


@pytest.fixture
def many(standin: Standin) -> Standin:
    """A family of 1,203 members: three pages."""
    base = example_families()["PF01073"]
    count = 1203
    ids = [f"M{n}_HUMAN" for n in range(count)]
    rows = [base.rows[n % len(base)] for n in range(count)]
    standin.families = {"PF00042": Family(ids, rows, accession="PF00042", name="Many")}
    return standin


def fetch(path: Path, **options: object) -> int:
    return fetch_proteins(path, policy=FAST, **{"query": QUERY, **options})  # type: ignore[arg-type]


def test_all_pages_are_read_once_in_order(many: Standin, tmp_path: Path) -> None:
    assert fetch(tmp_path / "x.fasta") == 1203
    found = list(read_sequences(tmp_path / "x.fasta"))
    assert [s.id.split("|")[2] for s in found] == [f"M{n}_HUMAN" for n in range(1203)]
    served = many.proteins()
    assert all(s.residues == served[s.id.split("|")[1]].residues for s in found)
    pages = [r.query for r in many.requests]
    assert [p.get("cursor") for p in pages] == [None, "500", "1000"]
    assert {p["size"] for p in pages} == {"500"}


def test_pages_are_a_pause_apart(many: Standin, tmp_path: Path) -> None:
    assert Policy().page_pause == 1.0
    fetch_proteins(tmp_path / "x.fasta", query=QUERY, policy=Policy(page_pause=0.2, request_pause=0))
    times = [r.time for r in many.requests]
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.2


def damaged_within(right: Answer) -> Answer:
    text = gzip.decompress(right.body)
    right.body = gzip.compress(
        text[: len(text) // 2] + b"\nError encountered when streaming data. Please try again later.\n"
    )
    return right


def error_behind(right: Answer) -> Answer:
    right.body += b"Error encountered when streaming data. Please try again later."
    return right


def fewer(right: Answer) -> Answer:
    right.body = gzip.compress(gzip.decompress(right.body).rsplit(b">", 1)[0])
    right.headers.pop("Link", None)
    return right


LIES: dict[str, Callable[[Answer], Answer]] = {
    "error text in the page": damaged_within,
    "error text behind the gzip": error_behind,
    "cut": cut(0.5),
    "cut, with the length of the part": cut(0.5, honest_length=True),
    "a record too few on the last page": fewer,
    "html": html,
    "empty": body(b""),
    "reset": reset,
    "408": computing,
    "429 without Retry-After": status(429),
    "500": status(500),
    "a sequence that is none": body(b">sp|P00000|X_X x\nAC.DE\n"),
}


@pytest.mark.parametrize("lie", LIES, ids=list(LIES))
def test_incomplete_page_is_requested_again(many: Standin, tmp_path: Path, lie: str) -> None:
    many.script("cursor=1000", LIES[lie], LIES[lie])
    assert fetch(tmp_path / "x.fasta") == 1203
    assert len({s.id for s in read_sequences(tmp_path / "x.fasta")}) == 1203
    assert many.count("cursor=1000") == 3


@pytest.mark.parametrize("lie", LIES, ids=list(LIES))
def test_a_page_that_never_comes_leaves_no_file(many: Standin, tmp_path: Path, lie: str) -> None:
    many.always("cursor=500", LIES[lie])
    with pytest.raises(ServiceError):
        fetch_proteins(tmp_path / "x.fasta", query=QUERY, policy=Policy(attempts=2).scaled(0.001))
    assert not list(tmp_path.iterdir())


def test_a_release_that_changes_between_pages_is_noticed(many: Standin, tmp_path: Path) -> None:
    def newer(right: Answer) -> Answer:
        right.headers["X-UniProt-Release"] = "2026_01"
        return right

    many.always("cursor=1000", newer)
    with pytest.raises(ServiceError, match="2025_04 to 2026_01"):
        fetch(tmp_path / "x.fasta")


def test_a_query_that_is_not_understood(standin: Standin, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invalid syntax"):
        fetch(tmp_path / "x.fasta", query="((")
    assert len(standin.requests) == 1
    with pytest.raises(UsageError, match="empty"):
        fetch(tmp_path / "x.fasta", query=" ")


def test_a_query_that_finds_nothing(standin: Standin, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no UniProt protein"):
        fetch(tmp_path / "x.fasta", query="xref:pfam-PF99999")
    assert not list(tmp_path.iterdir())


def test_accessions_keep_their_order_and_merged_ones_are_renamed(
    standin: Standin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["P03002", "p01000", "P00007", "P99999", "P03002", "P00003"]
    assert fetch(tmp_path / "x.fasta", query=None, accessions=asked) == 4
    found = [s.id.split("|")[1] for s in read_sequences(tmp_path / "x.fasta")]
    assert found == ["P03002", "P01000", "P00007", "P00003"]
    assert "P99999 has been merged into P01000" in capsys.readouterr().err


def test_accessions_that_do_not_exist_are_named_and_lose_nothing(standin: Standin, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="2 of 3 could not be fetched") as caught:
        fetch(tmp_path / "x.fasta", query=None, accessions=["P00001", "Q99998", "globin"])
    assert "Q99998" in str(caught.value)
    assert "not a UniProt accession" in str(caught.value)
    assert len(list(read_sequences(tmp_path / "x.fasta"))) == 1


def test_many_accessions_go_in_batches(many: Standin, tmp_path: Path) -> None:
    asked = [f"P{n:05d}" for n in range(1100)]
    assert fetch(tmp_path / "x.fasta", query=None, accessions=asked) == 1100
    assert [s.id.split("|")[1] for s in read_sequences(tmp_path / "x.fasta")] == asked
    assert max(len(r.query["accessions"].split(",")) for r in many.requests) <= 1000


@pytest.mark.parametrize("by_accession", [False, True])
def test_annotations_are_a_table_of_labels_with_the_ids_of_the_sequences(
    standin: Standin, tmp_path: Path, by_accession: bool
) -> None:
    how: dict[str, object] = {"query": None, "accessions": [f"P{n:05d}" for n in range(1000, 1045)]} if by_accession else {}
    assert fetch(tmp_path / "x.fasta", annotations=tmp_path / "labels.tsv", **how) == 45
    table = pl.read_csv(tmp_path / "labels.tsv", separator="\t", infer_schema=False)
    assert table["id"].to_list() == [s.id for s in read_sequences(tmp_path / "x.fasta")]
    rows = {row["accession"]: row for row in table.to_dicts()}
    assert rows["P01002"]["ec"] == "1.1.1.1;1.2.3.-"
    assert rows["P01002"]["ec_class"] == "1"
    assert rows["P01003"]["ec"] == "2.7.11.1;3.1.1.1"
    assert not rows["P01003"]["ec_class"]
    assert rows["P01001"]["go"] == "GO:0005344;GO:0020037"
    assert rows["P01001"]["pfam"] == "PF00042"
    assert rows["P01001"]["organism"] == "Homo sapiens (Human)"
    assert rows["P01001"]["taxon"] == "9606"


def test_neither_or_both_is_refused(standin: Standin, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        fetch(tmp_path / "x.fasta", query=None)
    with pytest.raises(UsageError):
        fetch(tmp_path / "x.fasta", accessions=["P00001"])
