"""A stand-in server for InterPro, the Pfam releases and UniProt on loopback: HTTP, gzip, unusual statuses.

It serves the real families of `examples/families.sto` as the services would, and `script` makes the next answers to a path
odd ones. By hand: `python tests/services/standin.py` prints the environment to set.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from phylocli.formats import Family, read_families
from phylocli.formats.stockholm import write_family

ROOT = Path(__file__).resolve().parent.parent.parent
RELEASE = "38.2"
HTML = b"<!DOCTYPE html>\n<html><body><h1>EMBL-EBI</h1><p>We are working on it.</p></body></html>\n"
DEAD = {"PF00101": ("PF00042", "2019-05-01")}  # removed from Pfam: (replacement, day)
NAMES = {"PF00042": "27"}  # versions for families of the examples that carry none


_GLOBINS = {"accession": "IPR000971", "children": [{"accession": "IPR002335", "children": []}]}
# Entries of InterPro: names (long, short), signatures by member database, hierarchy.
INTERPRO: dict[str, tuple[tuple[str, str], dict[str, dict[str, str]], dict[str, Any]]] = {
    "IPR000971": (("Globin", "Globin"), {"pfam": {"PF00042": "Globin"}, "profile": {"PS01033": "Globin family"}}, _GLOBINS),
    "IPR002335": (
        ("Myoglobin", "Myoglobin"),
        {"prints": {"PR00613": "MYOGLOBIN"}, "panther": {"PTHR47132": "MYOGLOBIN"}, "cdd": {"cd08926": "Mb"}},
        _GLOBINS,
    ),
    "IPR000504": (
        ("RNA recognition motif domain", "RRM_dom"),
        {"pfam": {"PF00076": "RNA recognition motif"}, "smart": {"SM00360": "RRM"}, "profile": {"PS50102": "RRM"}},
        {"accession": "IPR000504", "children": []},
    ),
    "IPR022644": (
        ("Orn/DAP/Arg decarboxylase 2, N-terminal", "De-COase2_N"),
        {"pfam": {"PF00278": "Pyridoxal-dependent decarboxylase", "PF02784": "Pyridoxal-dependent decarboxylase, N"}},
        {"accession": "IPR022644", "children": []},
    ),
    "IPR022657": (
        ("Orn/DAP/Arg decarboxylase 2, conserved site", "De-COase2_CS"),
        {"prosite": {"PS00879": "ODR_DC_2_2"}},
        {"accession": "IPR022657", "children": []},
    ),
}
UNINTEGRATED = {"cdd": {"cd01040": "Mb-like"}, "panther": {"PTHR47132:SF1": "MYOGLOBIN"}}
MEMBERS = {
    "interpro": r"IPR\d{6}", "cdd": r"[cs]d\d{5}", "panther": r"PTHR\d{5}(:SF\d{1,4})?", "prosite": r"PS\d{5}",
    "profile": r"PS\d{5}", "smart": r"SM\d{5}", "prints": r"PR\d{5}", "pirsf": r"PIRSF\d{6}", "ssf": r"SSF\d{5,6}",
}  # fmt: skip


def _integrated(accession: str) -> str | None:
    """The entry of InterPro that a family is part of."""
    return next((entry for entry, (_, found, _) in INTERPRO.items() if accession in found.get("pfam", {})), None)


@lru_cache
def example_families() -> dict[str, Family]:
    """The real families, by accession, each with a version as Pfam's own records have."""
    found = {}
    for family in read_families(ROOT / "examples" / "families.sto"):
        family.version = family.version or NAMES.get(family.accession, "1")
        found[family.accession] = family
    return found


def stockholm_text(family: Family) -> bytes:
    """A record as the services write it."""
    stream = io.StringIO()
    write_family(family, stream)
    return stream.getvalue().encode()


@lru_cache
def hmm_text(accession: str) -> bytes:
    """The family's profile, built from its alignment."""
    import pyhmmer

    family = example_families()[accession]
    alphabet = pyhmmer.easel.Alphabet.amino()
    rows = [
        pyhmmer.easel.TextSequence(name=name, sequence=row.replace(".", "-"))
        for name, row in zip(family.ids, family.rows, strict=True)
    ]
    alignment = pyhmmer.easel.TextMSA(name=family.name, sequences=rows).digitize(alphabet)
    hmm, _, _ = pyhmmer.plan7.Builder(alphabet).build_msa(alignment, pyhmmer.plan7.Background(alphabet))
    hmm.name, hmm.accession = family.name, f"{family.accession}.{family.version}"
    hmm.creation_time = None
    out = io.BytesIO()
    hmm.write(out)
    return out.getvalue()


def release_files(families: Iterable[Family], dead: dict[str, tuple[str, str]], release: str) -> dict[str, bytes]:
    """The files of a Pfam release that holds these families."""
    families = list(families)
    text = [stockholm_text(family) for family in families]
    # Pfam's flat files hold Latin-1 as well as UTF-8.
    text[0] = text[0].replace(b"#=GF SQ", b"#=GF RA   M\xfcller A, Garc\xeda B;\n#=GF SQ", 1)
    clans = "".join(f"{f.accession}\t{f.clan}\t{'C' * bool(f.clan)}\t{f.name}\t{f.description}\n" for f in families)
    graves = "".join(
        f"# STOCKHOLM 1.0\n#=GF ID   Gone\n#=GF AC   {accession}\n#=GF KL   This family has been killed\n"
        f"#=GF FW   {other}\n#=GF CC   Merged.\n//\n"
        for accession, (other, _) in dead.items()
    )
    plain = {
        "Pfam-A.seed.gz": b"".join(text),
        "Pfam-A.full.gz": b"".join(text),
        "Pfam-A.hmm.gz": b"".join(hmm_text(f.accession) for f in families),
        "Pfam-A.clans.tsv.gz": clans.encode(),
        "Pfam-A.dead.gz": graves.encode(),
        "Pfam.version.gz": f"Pfam release       : {release}\nPfam-A families    : {len(families)}\n".encode(),
    }
    files = {name: gzip.compress(data, mtime=0) for name, data in plain.items()}
    files["relnotes.txt"] = b"The stand-in's release.\n"
    return {**files, "md5_checksums": checksums(files)}


@lru_cache
def _example_release() -> dict[str, bytes]:
    return release_files(example_families().values(), DEAD, RELEASE)


def checksums(files: dict[str, bytes]) -> bytes:
    """The text of `md5_checksums`, which covers the large files."""
    names = [name for name in files if name.startswith("Pfam-A")]
    return "".join(f"{hashlib.md5(files[name]).hexdigest()}  {name}\n" for name in sorted(names)).encode()


@dataclass
class Answer:
    """One answer; `body` is sent as it is."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # send only so many bytes of the body and close the connection
    reset: bool = False  # close the connection with a reset instead of an answer
    stall: float = 0.0  # seconds to wait in the middle of the body
    drip: float = 0.0  # seconds to wait after each byte
    slow: float = 0.0  # seconds to wait after every 4 kB
    no_body: bool = False  # Content-Length says otherwise


Fault = Callable[[Answer], Answer]
"""Makes an odd answer out of the right one."""


def status(code: int, body: bytes = b"", kind: str = "application/json", **headers: str) -> Fault:
    """Answer with a status and a text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda right: Answer(body, code, kind, named)


def body(data: bytes, kind: str = "application/gzip") -> Fault:
    """Answer 200 with another body."""
    return lambda right: Answer(data, 200, kind)


def cut(fraction: float, *, honest_length: bool = False) -> Fault:
    """Break the body off; with `honest_length` the Content-Length fits the part that is sent."""

    def fault(right: Answer) -> Answer:
        size = int(len(right.body) * fraction)
        if honest_length:
            right.body = right.body[:size]
        else:
            right.cut = size
        return right

    return fault


def repacked(change: Callable[[bytes], bytes]) -> Fault:
    """Change what is within the gzip."""

    def fault(right: Answer) -> Answer:
        right.body = gzip.compress(change(gzip.decompress(right.body)), mtime=0)
        return right

    return fault


def changed(**values: Any) -> Fault:
    """Change attributes of the right answer: `stall=2`, `reset=True`, …"""

    def fault(right: Answer) -> Answer:
        for name, value in values.items():
            setattr(right, name, value)
        return right

    return fault


computing = status(408, b'{"detail":"Query timed out"}')
html = body(HTML, "text/html")
reset = changed(reset=True)


@dataclass
class Request:
    """A request that came in."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    time: float

    @property
    def line(self) -> str:
        """Path and query, readable."""
        return f"{self.path}?{'&'.join(f'{k}={v}' if v else k for k, v in self.query.items())}"


class Standin:
    """The server. Use as a context manager.

    Attributes:
        families: what it serves, by accession.
        dead: removed families: accession → (replacement, day).
        requests: what came in, in order.
        ranges: whether the release server honours Range (the InterPro API never does).
        release: the Pfam release that `current_release` shows, and the only one there is.
        release_files: its files by name; None makes them from `families`.
    """

    def __init__(self, families: dict[str, Family] | None = None, *, certificate: Path | None = None) -> None:
        self.families = dict(families if families is not None else example_families())
        self.dead = dict(DEAD)
        self.merged = {"P99999": "P01000"}  # accessions that were merged into others
        self.requests: list[Request] = []
        self.ranges = True
        self.release = RELEASE
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self.release_files: dict[str, bytes] | None = None
        self.busy = 0
        self.busiest = 0  # the most requests that were answered at one time
        standin = self

        class Handler(_Handler):
            service = standin

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Standin:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, or `https://…` with a certificate."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def interpro(self) -> str:
        """The InterPro API's base address."""
        return f"{self.url}/interpro/api"

    @property
    def pfam(self) -> str:
        """The Pfam folder's address."""
        return f"{self.url}/pub/databases/Pfam"

    @property
    def uniprot(self) -> str:
        """The UniProt service's address."""
        return f"{self.url}/uniprot"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this server instead of the public ones."""
        return {
            "PHYLOCLI_INTERPRO_URL": self.interpro,
            "PHYLOCLI_PFAM_URL": self.pfam,
            "PHYLOCLI_UNIPROT_URL": self.uniprot,
            "PHYLOCLI_FETCH_PATIENCE": "0.001",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def script(self, path: str, *faults: Fault) -> None:
        """Make the next answers to paths that contain `path` odd ones, in this order; then the right one again."""
        with self._lock:
            self._faults[path].extend(faults)

    def always(self, path: str, fault: Fault) -> None:
        """Make every answer to paths that contain `path` an odd one."""
        self._always[path] = fault

    def count(self, path: str) -> int:
        """How many requests came whose path and query contain `path`."""
        return sum(path in request.line for request in self.requests)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Count the requests that are being answered."""
        with self._lock:
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            yield
        finally:
            with self._lock:
                self.busy -= 1

    def answer(self, request: Request) -> Answer:
        """The answer to a request, odd or right."""
        right = self._route(request)
        line = request.line
        with self._lock:
            for path, faults in self._faults.items():
                if path in line and faults:
                    return faults.popleft()(right)
        for path, fault in self._always.items():
            if path in line:
                return fault(right)
        return right

    def _route(self, request: Request) -> Answer:
        path = request.path
        if path.startswith("/interpro/api/"):
            return self._interpro(path.removeprefix("/interpro/api"), request)
        if path.startswith("/pub/databases/Pfam/"):
            return self._pfam(path.removeprefix("/pub/databases/Pfam/"), request)
        if path.startswith("/uniprot/uniprotkb/"):
            return self._uniprot(path.removeprefix("/uniprot/uniprotkb/"), request.query)
        return Answer(b"not here", 404, "text/plain")

    # UniProt

    def _uniprot(self, path: str, query: dict[str, str]) -> Answer:
        proteins = self.proteins()
        if path == "stream":
            return _messages("Too many results to stream", 403)
        if found := re.fullmatch(r"([A-Z0-9-]+)\.fasta", path):
            accession = found.group(1)
            if accession in self.merged:
                there = f"{self.url}/uniprot/uniprotkb/{self.merged[accession]}.fasta?from={accession}"
                return Answer(b"", 303, headers={"Location": there})
            if accession not in proteins:
                return _messages("Resource not found", 404)
            return Answer(proteins[accession].fasta(), kind="text/plain;format=fasta", headers=dict(_UNIPROT))
        if path == "search":
            family = re.search(r"xref:pfam-(PF\d{5})", query.get("query", ""))
            named = re.search(r"protein_name:\(([^()]+)\)", query.get("query", ""))
            if family:
                hits = [p for p in proteins.values() if family.group(1) in p.pfam]
            elif named:
                hits = [p for p in proteins.values() if named.group(1).lower() in p.name.lower()]
            else:
                return _messages("query parameter has an invalid syntax", 400)
            if "reviewed:true" in query["query"]:
                hits = [p for p in hits if p.reviewed]
        elif path == "accessions":
            wanted = query.get("accessions", "").split(",")
            if len(wanted) > 1000:
                return _messages("Only '1000' accessions are allowed in each request.", 400)
            hits = [proteins[a] for a in sorted(wanted) if a in proteins]
        else:
            return _messages("Resource not found", 404)
        size = int(query.get("size", "25"))
        if size > 500:
            return _messages("'size' must be less than or equal to 500", 400)
        start = int(query.get("cursor", "0"))
        page = hits[start : start + size]
        headers = {**_UNIPROT, "X-Total-Results": str(len(hits))}
        if start + size < len(hits):
            # The cursor's page is named with a host that no client can reach.
            link = urlencode({**query, "cursor": start + size})
            headers["Link"] = f'<https://rest.internal.invalid/uniprotkb/{path}?{link}>; rel="next"'
        if query.get("format") == "tsv":
            names = [_COLUMNS[field] for field in query["fields"].split(",")]
            rows = ["\t".join(p.column(field) for field in query["fields"].split(",")) for p in page]
            data = "".join(line + "\n" for line in ["\t".join(names), *rows]).encode()
        else:
            data = b"".join(p.fasta() for p in page)
        if query.get("compressed") == "true":
            data = gzip.compress(data, mtime=0)  # and no Content-Encoding says so
        return Answer(data, kind="text/plain", headers=headers)

    def proteins(self) -> dict[str, Protein]:
        """What UniProt has: a protein for each member of a family, by accession."""
        found = {}
        for place, family in enumerate(self.families.values()):
            for number, member in enumerate(family.sequences()):
                accession = f"P{place * 1000 + number:05d}"
                entry = re.sub(r"[^A-Z0-9_]", "", member.id.split("/")[0].upper()) or "X_X"
                found[accession] = Protein(accession, entry, member.residues, family.accession, number)
        return found

    # The folder of Pfam releases

    def files(self) -> dict[str, bytes]:
        """The release's files by name."""
        if self.release_files is None:
            ours = self.families == example_families() and (self.dead, self.release) == (DEAD, RELEASE)
            made = _example_release() if ours else release_files(self.families.values(), self.dead, self.release)
            self.release_files = dict(made)
        return self.release_files

    def _pfam(self, path: str, request: Request) -> Answer:
        folder, _, name = path.rpartition("/")
        if folder not in ("current_release", f"releases/Pfam{self.release}") or name not in self.files():
            return Answer(b"<html><title>404 Not Found</title></html>", 404, "text/html")
        data = self.files()[name]
        etag = f'"{hashlib.sha1(data).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Last-Modified": "Thu, 11 Sep 2025 10:00:00 GMT", "Accept-Ranges": "bytes"}
        right = Answer(data, kind="application/x-gzip", headers=headers)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not self.ranges or not wanted or request.headers.get("if-range", etag) not in (etag, headers["Last-Modified"]):
            return right
        start, end = int(wanted.group(1)), min(int(wanted.group(2) or len(data)), len(data) - 1)
        if start >= len(data):
            return Answer(b"", 416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
        right.status, right.body = 206, data[start : end + 1]
        right.headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return right

    # InterPro

    def _interpro(self, path: str, request: Request) -> Answer:
        accept = request.headers.get("accept", "*/*")
        if "text/html" in accept:
            return Answer(HTML, 200, "text/html")
        if "*/*" not in accept and "application/json" not in accept:
            return _json({"detail": "Could not satisfy the request Accept header."}, 406)
        if path == "/utils/release/current/":
            return _json({"version": "107.0", "release_date": "2025-09-11T00:00:00", "content": {}})
        if found := re.fullmatch(r"/set/pfam/(CL\d{4})/", path):
            return self._clan(found.group(1))
        if found := re.fullmatch(r"/entry/pfam/([^/]+)/", path):
            return self._entry(found.group(1), request.query)
        if found := re.fullmatch(r"/protein/uniprot/entry/pfam/(PF\d{5})/", path):
            return self._proteins(found.group(1), request.query)
        if found := re.fullmatch(r"/entry/(pfam|interpro)/", path):
            return self._search(found.group(1), request.query)
        if found := re.fullmatch(r"/entry/pfam/protein/uniprot/([^/]+)/", path):
            return self._families_of_protein(found.group(1))
        if found := re.fullmatch(r"/protein/uniprot/([^/]+)/", path):
            return self._protein(found.group(1))
        if found := re.fullmatch(r"/entry/([a-z0-9]+)/([^/]+)/", path):
            return self._other_entry(*found.groups())
        return _json({"Error": "no such endpoint"}, 404)

    def _search(self, database: str, query: dict[str, str]) -> Answer:
        """Entries that have the text in their accession, name or short name, in any case."""
        fields = (query.get("extra_fields") or "").split(",")
        if any(field not in ("", "short_name", "counters") for field in fields):
            return _json({"Error": f"{fields[0]} is not a valid field to to be included. Allowed fields : accession"}, 404)
        if database == "pfam":
            rows = [(f.accession, f.description, f.name, _integrated(f.accession), None) for f in self.families.values()]
        else:
            rows = [(a, *names, None, signatures) for a, (names, signatures, _) in INTERPRO.items()]
        text = query.get("search", "").lower()
        found = []
        for accession, name, short, integrated, members in sorted(rows):
            if text in f"{accession}\n{name}\n{short}".lower():
                about = {"accession": accession, "name": name or short, "source_database": database, "type": "domain"}
                about |= {"integrated": integrated, "member_databases": members, "go_terms": None}
                extra = {"extra_fields": {"short_name": short}} if "short_name" in fields else {}
                found.append({"metadata": about, **extra})
        return self._page(found, query)

    def _families_of_protein(self, accession: str) -> Answer:
        protein = self.proteins().get(accession)
        family = self.families.get(protein.pfam) if protein else None
        if protein is None or family is None:
            return _nothing()
        about = {"accession": family.accession, "name": family.description, "source_database": "pfam", "type": "domain"}
        about |= {"integrated": _integrated(family.accession), "member_databases": None, "go_terms": None}
        return self._page([{"metadata": about, "proteins": [{"accession": accession.lower()}]}], {})

    def _page(self, results: list[dict[str, Any]], query: dict[str, str]) -> Answer:
        if not results:
            return _nothing()
        size, start = int(query.get("page_size", "20")), int(query.get("cursor", "0"))
        more = start + size < len(results)
        link = "http://internal.invalid:8007/interpro/api/entry/?" + urlencode({**query, "cursor": start + size})
        page = results[start : start + size]
        return _json({"count": len(results), "next": link if more else None, "previous": None, "results": page})

    def _protein(self, name: str) -> Answer:
        proteins = self.proteins()
        if name in proteins:
            return _json({"metadata": {"accession": name, "id": proteins[name].entry, "source_database": "reviewed"}})
        accession = next((a for a, protein in proteins.items() if protein.entry == name), None)
        if accession is None:
            return _nothing()
        return Answer(b"", 302, headers={"Location": f"{self.interpro}/protein/uniprot/{accession}/"})

    def _other_entry(self, database: str, accession: str) -> Answer:
        """An entry of InterPro, or of a member database."""
        pattern = MEMBERS.get(database, "")
        if not re.fullmatch(pattern, accession, re.IGNORECASE):
            return _json({"Error": f"{accession.upper()} is not a valid {database} accession"}, 404)
        if database == "interpro":
            if accession not in INTERPRO:
                return _nothing()
            (name, short), signatures, hierarchy = INTERPRO[accession]
            about = {"name": {"name": name, "short": short}, "member_databases": signatures, "integrated": None}
            return _json({"metadata": {"accession": accession, **about, "hierarchy": hierarchy}}, headers=_VERSIONS)
        known = {**UNINTEGRATED.get(database, {})}
        home = None
        for entry, (_, signatures, _) in INTERPRO.items():
            if accession in signatures.get(database, {}):
                known, home = signatures[database], entry
        if accession not in known:
            return _nothing()
        about = {"name": {"name": known[accession], "short": None}, "member_databases": None, "integrated": home}
        return _json({"metadata": {"accession": accession, **about, "hierarchy": None}}, headers=_VERSIONS)

    def _clan(self, clan: str) -> Answer:
        members = [f for f in self.families.values() if f.clan == clan]
        if not members:
            return _nothing()
        nodes = [
            {"accession": f.accession, "short_name": f.name, "name": f.description, "type": "domain", "score": 1.0}
            for f in members
        ]
        return _json({"metadata": {"accession": clan, "relationships": {"nodes": nodes, "links": []}}})

    def _entry(self, accession: str, query: dict[str, str]) -> Answer:
        if not re.fullmatch(r"PF\d{5}", accession):
            return _json({"Error": f"the level '{accession}' is not a valid pfam member level"}, 404)
        annotation = query.get("annotation")
        family = self.families.get(accession)
        if family is None:
            if annotation:
                return _json({})
            if accession in self.dead:
                day = self.dead[accession][1]
                return _json({"accession": accession.lower(), "deletion_date": f"{day}T00:00:00Z", "history": {}}, 410)
            return _nothing()
        if annotation is None:
            metadata = {
                "accession": accession,
                "name": {"name": family.description, "short": family.name},
                "type": "domain",
                "set_info": {"accession": family.clan, "name": ""} if family.clan else None,
                "description": [],
                "go_terms": None,
                "entry_annotations": {"alignment:seed": len(family), "alignment:full": len(family), "hmm": 1},
            }
            return _json({"metadata": metadata}, headers=_VERSIONS)
        if annotation == "hmm":
            return Answer(gzip.compress(hmm_text(accession), mtime=0), kind="application/gzip")
        if annotation not in ("alignment:seed", "alignment:full"):
            return _json({"Error": "list index out of range"}, 404)
        packed = gzip.compress(stockholm_text(family), mtime=0)
        if "download" in query:
            return Answer(packed, kind="application/gzip", headers=dict(_VERSIONS))
        return Answer(packed, kind="text/plain", headers={"Content-Encoding": "gzip", **_VERSIONS})

    def _proteins(self, accession: str, query: dict[str, str]) -> Answer:
        family = self.families.get(accession)
        if family is None:
            return _nothing()
        size = int(query.get("page_size", "20"))
        if size > 200:
            return _json({"Error": "page_size is too large"}, 404)
        start = int(query.get("cursor", "0"))
        results = []
        for number, member in list(enumerate(family.sequences()))[start : start + size]:
            # The domain stands behind ten residues of a linker, as in a longer protein.
            fragment = {"start": 11, "end": 10 + len(member.residues)}
            entry = {"accession": accession.lower(), "entry_protein_locations": [{"fragments": [fragment]}]}
            protein = {"accession": f"A{number:05d}", "name": member.id, "length": 10 + len(member.residues)}
            extra = {"sequence": "G" * 10 + member.residues}
            results.append({"metadata": protein, "entries": [entry], "extra_fields": extra})
        following = start + size
        # The links name a host that no client can reach.
        link = f"http://internal.invalid:8007/interpro/api/protein/uniprot/entry/pfam/{accession}/?" + urlencode(
            {"cursor": following, "page_size": size, "extra_fields": "sequence"}
        )
        more = following < len(family)
        return _json({"count": len(family), "next": link if more else None, "previous": None, "results": results})


@dataclass
class Protein:
    """An entry of the stand-in's UniProt."""

    accession: str
    entry: str
    residues: str
    pfam: str
    number: int

    @property
    def name(self) -> str:
        """What it is called."""
        return next((name for code, name in _PROTEIN_NAMES.items() if self.entry.startswith(code)), f"Protein {self.number}")

    @property
    def reviewed(self) -> bool:
        """Whether it is of Swiss-Prot."""
        return self.number % 3 != 2

    def fasta(self) -> bytes:
        """Its record."""
        lines = "\n".join(self.residues[i : i + 60] for i in range(0, len(self.residues), 60))
        head = f"{'sp' if self.reviewed else 'tr'}|{self.accession}|{self.entry}"
        return f">{head} {self.name} OS=Homo sapiens OX=9606 PE=1 SV=1\n{lines}\n".encode()

    def column(self, field: str) -> str:
        """A column of the table."""
        ec = ["", "1.1.1.1", "1.1.1.1; 1.2.3.-", "2.7.11.1; 3.1.1.1"][self.number % 4]
        return {
            "accession": self.accession,
            "id": self.entry,
            "reviewed": "reviewed" if self.reviewed else "unreviewed",
            "length": str(len(self.residues)),
            "organism_name": "Homo sapiens (Human)",
            "organism_id": "9606",
            "ec": ec,
            "go_id": "GO:0005344; GO:0020037" if self.number % 2 else "",
            "xref_pfam": f"{self.pfam};",
        }[field]


_PROTEIN_NAMES = {"MYG_": "Myoglobin", "HBA": "Hemoglobin subunit alpha", "HBB": "Hemoglobin subunit beta"}
_COLUMNS = {
    "accession": "Entry",
    "id": "Entry Name",
    "reviewed": "Reviewed",
    "length": "Length",
    "organism_name": "Organism",
    "organism_id": "Organism (ID)",
    "ec": "EC number",
    "go_id": "Gene Ontology IDs",
    "xref_pfam": "Pfam",
}
_UNIPROT = {"X-UniProt-Release": "2025_04", "X-UniProt-Release-Date": "15-October-2025"}


def _nothing() -> Answer:
    return Answer(b"", 204, headers={"Content-Length": "42"}, no_body=True)


def _messages(text: str, code: int) -> Answer:
    return _json({"url": "http://rest.uniprot.org/uniprotkb/search", "messages": [text]}, code)


_VERSIONS = {"InterPro-Version": "107.0", "InterPro-Version-Minor": "0"}


def _json(value: object, code: int = 200, *, headers: dict[str, str] | None = None) -> Answer:
    return Answer(json.dumps(value).encode(), code, "application/json", dict(headers or {}))


class _Handler(BaseHTTPRequestHandler):
    service: Standin
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(parts.path, query, headers, time.monotonic())
        self.service.requests.append(request)
        with self.service.working():
            answer = self.service.answer(request)
            try:
                self._send(answer)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    def _send(self, answer: Answer) -> None:
        if answer.reset:
            # An RST instead of a FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD" or answer.no_body:
            return
        data = answer.body if answer.cut is None else answer.body[: answer.cut]
        if answer.drip:
            for byte in data:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(answer.drip)
        elif answer.slow:
            for start in range(0, len(data), 4096):
                self.wfile.write(data[start : start + 4096])
                self.wfile.flush()
                time.sleep(answer.slow)
        elif answer.stall:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            time.sleep(answer.stall)
            self.wfile.write(data[len(data) // 2 :])
        else:
            self.wfile.write(data)
        if answer.cut is not None:
            self.close_connection = True


def main() -> None:
    """Serve until ^C."""
    with Standin() as server:
        for name, value in server.environment.items():
            print(f"export {name}={value}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
