"""The server of `phylocli serve`: who gets an answer, and that the answers are those of `phylocli search`."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import polars as pl
import pytest

import phylocli
from phylocli.core.errors import PhylocliError
from phylocli.formats import Sequence, read_sequences
from phylocli.search import residue_evalues, search, search_file
from phylocli.serve import server as serve_server

HOSTILE = "</script><script>alert(1)</script>"
PATHS = ("/", "/map", "/api/status", "/api/find?text=MYG", "/nothing")


class Served(NamedTuple):
    server: phylocli.ProteinServer
    table: phylocli.EmbeddingTable
    fasta: Path


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Iterator[Served]:
    """A server of twenty globins and one with a hostile id, with labels and sequences."""
    folder = tmp_path_factory.mktemp("served")
    globins = list(read_sequences(examples / "globins.fasta"))[::2]
    sequences = [*globins, Sequence(HOSTILE.replace(" ", "_"), globins[3].residues[5:], "beware & see <b>bold</b>")]
    fasta = folder / "globins.fasta"
    fasta.write_text("".join(f">{s.id} {s.description or 'a globin'}\n{s.residues}\n" for s in sequences))
    table = phylocli.load_model("default").embed(sequences)
    table.write(folder / "globins.parquet")
    labels = pl.DataFrame({"id": [s.id for s in sequences], "family": [s.id[:3] for s in sequences]})
    options = {"projection": "pca", "open": False, "title": HOSTILE}
    with (
        pytest.MonkeyPatch.context() as patch,
        phylocli.serve(folder / "globins.parquet", labels=labels, sequences=fasta, **options) as server,
    ):
        patch.setattr(residue_evalues, "ALIGNED", 12)  # instead of 128: the numbers are other ones, by both ways
        yield Served(server, phylocli.read_embeddings(folder / "globins.parquet"), fasta)


def ask(
    server: phylocli.ProteinServer,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    method: str | None = None,
    **headers: str,
) -> Answer:
    """Send a request, by default with the token; names of headers have _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given.setdefault("X-Phylocli-Token", server.token if token is None else token)
    data = None
    if body is not None:
        given.setdefault("Content-Type", "application/json")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method or ("GET" if data is None else "POST"), path, data, given)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("token", ["", "wrong", "ä"], ids=["none", "wrong", "not-ascii"])
def test_a_request_without_the_token_gets_nothing(served: Served, token: str) -> None:
    server = served.server
    encoded = token.encode().decode("latin-1")
    answers = [ask(server, path, token=encoded) for path in PATHS]
    answers += [ask(server, f"{path}?token={quote(token)}", token="") for path in ("/", "/map")]
    answers += [ask(server, "/", token="", Cookie=f"phylocli_{server.port}={encoded}")]
    answers += [ask(server, path, {"protein": "MYG_ESCGI"}, token=encoded) for path in ("/api/search", "/api/m8", "/x")]
    assert {answer.status for answer in answers} == {403}
    assert not any(b"MYG" in answer.body or server.token.encode() in answer.body for answer in answers)
    assert not any("Set-Cookie" in answer.headers for answer in answers)


def test_the_token_is_taken_from_the_address_the_cookie_or_a_header(served: Served) -> None:
    server = served.server
    first = ask(server, f"/?token={server.token}", token="")
    assert first.status == 200
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask(server, "/api/status", token="", Cookie=cookie.partition(";")[0]).status == 200
    assert ask(server, "/api/status", token="", Cookie=f"phylocli_1={server.token}").status == 403
    assert ask(server, "/api/status").status == 200
    assert len(server.token) >= 32


def test_other_hosts_and_origins_are_refused_even_with_the_token(served: Served) -> None:
    server = served.server
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1", "127.0.0.1:1", ""):
        assert ask(server, "/", Host=host).status == 403
    assert ask(server, "/", Host=f"localhost:{server.port}").status == 200
    for origin in ("http://evil.example", "null", "https://127.0.0.1:1"):
        assert ask(server, "/api/search", {"protein": "MYG_ESCGI"}, Origin=origin).status == 403
    answer = ask(server, "/api/status", Origin=f"http://127.0.0.1:{server.port}")
    assert answer.status == 200
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_it_listens_on_loopback_only(served: Served) -> None:
    assert served.server.url.startswith(f"http://127.0.0.1:{served.server.port}/?token=")
    others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in {*others, "127.0.0.2"}:
        with pytest.raises(OSError):
            socket.create_connection((address, served.server.port), timeout=2).close()


def test_requests_that_the_page_does_not_send_are_errors(served: Served) -> None:
    server = served.server
    assert [ask(server, path).status for path in ("/nothing", "/api", "/../etc/passwd", "/page.js")] == [404] * 4
    assert ask(server, "/api/search").status == 405
    assert ask(server, "/", method="PUT").status == 501
    assert ask(server, "/api/search", b"{}", Content_Type="text/plain").status == 415
    large = ask(server, "/api/search", {"sequences": "A" * (9 << 20)})
    assert large.status == 413 and "at most 1 MB" in large.json["error"]
    assert ask(server, "/api/search", b"{").status == 400
    for body in ({"protein": "MYG_ESCGI", "number": 0}, {"protein": "MYG_ESCGI", "number": 10**9}, {"nonsense": 1}):
        answer = ask(server, "/api/search", body)
        assert answer.status == 400 and next(iter({"number", "nonsense"} & set(body))) in answer.json["error"]
    assert (
        ask(server, "/api/search", {"protein": "MYG_ESCGI", "number": 99999}).json["error"] == "number must be at most 1000"
    )
    for path, body in (("/api/search", {"protein": "<x>"}), ("/api/align", {"protein": "MYG_ESCGI", "target": "<x>"})):
        answer = ask(server, path, body)
        assert answer.status == 404 and answer.json["error"] == "there is no protein '<x>' in the table"
        assert answer.headers.get_content_type() == "application/json"


def test_the_page_runs_its_own_script_only_and_names_in_it_are_inert(served: Served) -> None:
    answer = ask(served.server, "/")
    page, policy = answer.body.decode(), answer.headers["Content-Security-Policy"]
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    blocks = re.findall(r"<(style|script)>(.*?)</\1>", page, re.DOTALL)
    hashes = {f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}" for _, text in blocks}
    assert hashes == set(re.findall(r"'(sha256-[^']+)'", policy)) and len(blocks) == 3
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?://", page.replace("http://www.w3.org", ""))
    assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["X-Content-Type-Options"] == "nosniff"
    map_page = wait_for_map(served.server)
    assert map_page.status == 200 and b"<script>alert" not in map_page.body
    assert map_page.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    assert b'http-equiv="Content-Security-Policy" content="default-src \'none\'' in map_page.body


def wait_for_map(server: phylocli.ProteinServer) -> Answer:
    while ask(server, "/api/status").json["state"] == "working":
        time.sleep(0.05)
    return ask(server, "/map")


def assert_same(ours: Iterable[object], theirs: Iterable[object]) -> None:
    """Values are the same; of numbers the last digits may differ, for other batches round otherwise."""
    for a, b in zip(ours, theirs, strict=True):
        assert a == (pytest.approx(b, rel=1e-2, abs=0) if isinstance(b, float) else b)


def assert_same_hits(ours: list[dict[str, Any]], theirs: pl.DataFrame) -> None:
    assert ours and len(ours) == theirs.height
    for hit, row in zip(ours, theirs.iter_rows(named=True), strict=True):
        assert_same([hit[name] for name in hit if name != "known"], row.values())


def fields(text: bytes) -> list[float | str]:
    return [float(word) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", word) else word for word in text.decode().split()]


def test_neighbours_are_those_of_search(served: Served) -> None:
    name = served.table.ids[4]
    answer = ask(served.server, "/api/search", {"protein": name, "number": 7}).json
    everything = search(served.table, served.table, number=7, exclude_self=True)
    assert_same_hits(answer["hits"], everything.filter(pl.col("query") == name))
    assert answer["hits"][0]["known"]["family"] == answer["hits"][0]["target"][:3]
    assert answer["ranked_by"] == "evalue"
    few = ask(served.server, "/api/search", {"protein": name, "max_evalue": 1e-9}).json["hits"]
    assert few and len(few) < 20 and all(hit["evalue"] <= 1e-9 for hit in few)


def test_tables_too_large_for_memory_have_the_same_neighbours(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_server, "IN_MEMORY", 0)
    request = {"protein": served.table.ids[4], "number": 7}
    with phylocli.serve(served.table.name, projection="pca", open=False) as server:
        streamed = ask(server, "/api/search", request).json["hits"]
        assert server._http.service._targets.table.vectors is None
    expected = ask(served.server, "/api/search", request).json["hits"]
    for hit, other in zip(streamed, expected, strict=True):
        assert_same([hit[name] for name in hit if name != "known"], [other[name] for name in other if name != "known"])


def test_searches_at_the_same_time_do_not_disturb_each_other(served: Served) -> None:
    def targets(name: str) -> list[str]:
        return [hit["target"] for hit in ask(served.server, "/api/search", {"protein": name}).json["hits"]]

    names = served.table.ids[:8]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(targets, names))
    assert together == [targets(name) for name in names]


@pytest.mark.parametrize(("align", "options"), [("", {}), ("phmmer", {"align": True}), ("residues", {"rerank": "residues"})])
def test_hits_of_pasted_sequences_and_downloads_are_those_of_search(
    served: Served, tmp_path: Path, align: str, options: dict[str, Any]
) -> None:
    pasted = "".join(f">{s.id}\n{s.residues[:70]}\n{s.residues[70:]}\n" for s in list(read_sequences(served.fasta))[:2])
    (tmp_path / "query.fasta").write_text(pasted)
    request = {"sequences": pasted, "number": 4, "align": align}
    options = {**options, "number": 4, "sequences": served.fasta}
    answer = ask(served.server, "/api/search", request).json
    assert_same_hits(answer["hits"], search(tmp_path / "query.fasta", served.table, **options))
    assert [query["id"] for query in answer["queries"]] == served.table.ids[:2]
    for suffix in ("tsv", "m8"):
        file = ask(served.server, f"/api/{suffix}", request)
        search_file(tmp_path / "query.fasta", served.table, tmp_path / f"hits.{suffix}", **options)
        assert_same(fields(file.body), fields((tmp_path / f"hits.{suffix}").read_bytes()))
        assert file.headers["Content-Disposition"] == f'attachment; filename="hits.{suffix}"'


@pytest.mark.parametrize(("method", "options"), [("phmmer", {"align": True}), ("residues", {"rerank": "residues"})])
def test_an_alignment_is_that_of_search(served: Served, method: str, options: dict[str, Any]) -> None:
    first, target = served.table.ids[0], served.table.ids[-2]
    letters = {s.id: s.residues for s in read_sequences(served.fasta)}
    hits = search([(first, letters[first])], served.table, sequences=letters, number=30, **options)
    row = hits.filter(pl.col("target") == target).row(0, named=True)
    for who in ({"protein": first}, {"sequence": letters[first]}):
        found = ask(served.server, "/api/align", {**who, "target": target, "method": method}).json
        best = found["alignments"][0]
        assert found["evalue"] == pytest.approx(row["align_evalue" if method == "phmmer" else "residues_evalue"], rel=1e-3)
        assert best["bits"] == pytest.approx(row["bits"], rel=1e-3)
        assert (best["query_start"], best["target_start"], best["length"]) == (
            row["query_start"],
            row["target_start"],
            row["alignment_length"],
        )
        assert best["query"].replace("-", "") == letters[first][row["query_start"] - 1 : row["query_end"]]
        assert best["target"].replace("-", "") == letters[target][row["target_start"] - 1 : row["target_end"]]
        assert len(best["query"]) == len(best["target"]) == best["length"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no sequence"),
        ("12 34", "there is no sequence"),
        ("MKV!LA", "'!'"),
        ("1234!!", "the pasted text contains '!' (character 5), which is not a residue"),
        (">a\nMKV1LA\n", "'1'"),
        (">a\n>b\nMKVLA", "a"),
        (">a\nMKVLA\n>a\nMKVLG", "'a'"),
        ("".join(f">s{i}\nMKVLA\n" for i in range(101)), "at most 100 sequences"),
        ("MKVLA" * 40_001, "200,000 residues"),
    ],
    ids=["empty", "digits", "letter", "after-digits", "letter-in-fasta", "without-residues", "twice", "many", "long"],
)
def test_bad_sequences_get_a_clear_message(served: Served, text: str, message: str) -> None:
    answer = ask(served.server, "/api/search", {"sequences": text})
    assert answer.status == 400 and message in answer.json["error"]


def coding(residues: str) -> str:
    """Return DNA that codes for a protein."""
    from Bio.Data.CodonTable import unambiguous_dna_by_id

    codons = {letter: codon for codon, letter in sorted(unambiguous_dna_by_id[1].forward_table.items())}
    return "".join(codons[letter] for letter in residues) + "TAA"


def test_pasted_genes_are_named_in_a_note_and_translated_if_asked(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = list(read_sequences(served.fasta))[:3]
    genes = (
        f">{first.id}\n{coding(first.residues)}\n>{second.id}\n{second.residues}\n>{third.id}\n{coding(third.residues)}\n"
    )
    wrong = ask(served.server, "/api/search", {"sequences": genes, "number": 3}).json
    assert wrong["notes"] == [
        f"{first.id}, {third.id} look like nucleotides but are read as protein: "
        "with 'Translate coding DNA' coding sequences are translated."
    ]
    assert not [record for record in caplog.records if "--translate" in record.getMessage()]
    right = ask(served.server, "/api/search", {"sequences": genes, "number": 3, "translate": True}).json
    assert right["notes"] == []
    assert [query["sequence"] for query in right["queries"]] == [first.residues, second.residues, third.residues]
    assert_same_hits(right["hits"], search([first, second, third], served.table, number=3))
    one = ask(served.server, "/api/search", {"sequences": coding(first.residues)}).json
    assert one["notes"][0].startswith("query looks like nucleotides but is read as protein")
    protein = ask(served.server, "/api/search", {"sequences": first.residues, "translate": True})
    assert protein.status == 400 and protein.json["error"] == "no pasted sequence looks like nucleotides"
    cut = ask(served.server, "/api/search", {"sequences": coding(first.residues)[:-4], "translate": True}).json
    assert cut["notes"] == [
        "The coding sequence ends in an incomplete codon, which is omitted: query; check that it begins with a codon."
    ]
    peptides = f">a\n{first.residues}\n>b\nACGTACGTACGTACGTACGT\n"  # too short among others, as for search
    assert ask(served.server, "/api/search", {"sequences": peptides}).json["notes"] == []
    assert ask(served.server, "/api/search", {"sequences": "ACGTACGTACGTACGTACGT"}).json["notes"]
    shifted = ask(served.server, "/api/search", {"sequences": coding(first.residues)[1:], "translate": True})
    assert shifted.status == 400 and "not a coding sequence in frame" in shifted.json["error"]


def test_a_table_whose_model_is_not_found_says_why_there_are_no_evalues(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {**served.table.metadata, "phylocli.model": "0" * 64}
    table = phylocli.EmbeddingTable(
        "other", served.table.ids, served.table.dimension, metadata, vectors=served.table.numpy()
    )
    with phylocli.serve(table, projection="pca", open=False) as server:
        answer = ask(server, "/api/search", {"protein": table.ids[0], "number": 2}).json
    assert [hit["evalue"] for hit in answer["hits"]] == [None, None]
    (note,) = answer["notes"]
    assert note == (
        "E-values are unknown: other was embedded by a model with the fingerprint 000000000000, which cannot be found "
        "(name its folder with --model), and the table has fewer than 1,000 rows, too few to estimate them from."
    )
    (warning,) = (message for message in caplog.messages if message.startswith("no E-values"))
    assert "\n" not in warning and "--model" in warning


def test_the_page_offers_alignments_only_with_sequences(served: Served) -> None:
    assert b'<option value="residues">alignment' in ask(served.server, "/").body
    with phylocli.serve(served.table, projection="pca", open=False) as server:
        page = ask(server, "/").body
    assert b'<option value="residues">alignment' not in page and b"start with --sequences FASTA" in page


def test_proteins_are_found_by_id_label_and_description(served: Served) -> None:
    def find(text: str) -> Any:
        return ask(served.server, f"/api/find?text={quote(text)}").json

    found = find("myg")
    assert found["total"] == len([name for name in served.table.ids if "MYG" in name])
    assert all(protein["id"].startswith("MYG") for protein in found["proteins"])
    assert find("BOLD beware")["proteins"][0]["id"] == served.table.ids[-1]
    assert find("a globin")["total"] == len(served.table) - 1
    assert find("nothing of this kind") == {"total": 0, "proteins": []}
    assert find("")["total"] == 0


def test_a_port_that_is_taken_is_an_error_before_the_table_is_read(served: Served) -> None:
    with pytest.raises(PhylocliError, match=f"port {served.server.port} cannot be used") as caught:
        phylocli.serve("there-is-no.parquet", port=served.server.port, projection="pca", open=False)
    assert caught.value.why == "another program uses it"


def test_a_port_that_is_taken_is_known_before_the_libraries_are_imported(served: Served) -> None:
    code = f"""if True:
        import sys, phylocli
        try:
            phylocli.serve("there-is-no.parquet", port={served.server.port}, open=False)
        except phylocli.PhylocliError as error:
            print(error.what, [name for name in ("torch", "polars", "scipy") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"port {served.server.port} cannot be used []\n"


def test_a_server_that_cannot_start_leaves_its_port(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        with pytest.raises(PhylocliError, match=r"there-is-no\.parquet"):
            phylocli.serve(tmp_path / "there-is-no.parquet", port=port, open=False)


def test_a_closed_server_answers_no_more(served: Served) -> None:
    with phylocli.serve(served.table, projection="pca", open=False) as server:
        assert ask(server, "/").status == 200
        answer = ask(server, "/api/align", {"protein": served.table.ids[0], "target": served.table.ids[1]})
        assert answer.status == 404 and "--sequences" in answer.json["fix"]
    with pytest.raises(ConnectionRefusedError):
        ask(server, "/")
