"""Client of the UniProt REST service: sequences and annotations by query or accession.

Results are requested page by page with `search`, so that each page can be verified and the total compared with the announced
number. The endpoint `stream` is not used, because it returns the status 200 even if it fails midway.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from requests.utils import parse_header_links

from phylocli.core import console
from phylocli.core.errors import BadInputError, ServiceError, UsageError
from phylocli.fetch.accessions import PROTEIN
from phylocli.fetch.http import Client, Reply, TransientError, next_page
from phylocli.formats.sequences import fasta
from phylocli.formats.sequences.fasta import Sequence, shorten
from phylocli.formats.streams import text_lines

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAGE = 500  # the maximum page size
_BATCH = 200  # accessions per request; the service allows 1,000, but some proxies limit the length of URLs
_RESIDUES = re.compile(r"[A-Z]+", re.ASCII)
_BROKEN = "Error encountered when streaming data"
FIELDS = ("accession", "id", "reviewed", "length", "organism_name", "organism_id", "ec", "go_id", "xref_pfam")


@dataclass(frozen=True)
class Annotation:
    """The annotation of a protein in UniProt.

    Attributes:
        id: the id in the FASTA header, for example `sp|P68871|HBB_HUMAN`.
        accession: the accession, for example `P68871`.
        length: number of residues.
        organism: scientific name.
        taxon: NCBI taxonomy id.
        ec: EC numbers.
        go: GO terms, of all three aspects.
        pfam: Pfam accessions.
    """

    id: str
    accession: str
    length: int
    organism: str
    taxon: int
    ec: tuple[str, ...]
    go: tuple[str, ...]
    pfam: tuple[str, ...]


class UniProt:
    """The UniProt REST service.

    Args:
        client: the HTTP client.
        base: the base URL, for example `https://rest.uniprot.org`.
    """

    def __init__(self, client: Client, base: str) -> None:
        self._client = client
        self._base = f"{base}/uniprotkb"
        self.release = ""
        """The UniProt release of the results; empty before the first response."""

    def search(self, query: str) -> Iterator[Sequence]:
        """Yield the sequences that match a query, with UniProt's headers.

        Raises:
            UsageError: the query is invalid.
            ServiceError: not all sequences could be fetched.
        """
        yield from self._pages(self._search_url(query, "fasta"), f"UniProt, {shorten(query, 60)!r}", _read_fasta)

    def annotations(self, query: str) -> Iterator[Annotation]:
        """Yield the annotations of the proteins that match a query.

        Raises:
            UsageError: the query is invalid.
            ServiceError: not all annotations could be fetched.
        """
        url = self._search_url(query, "tsv")
        yield from self._pages(url, f"annotations, {shorten(query, 60)!r}", _read_annotations)

    def by_accession(self, accessions: Iterable[str], missing: dict[str, str]) -> Iterator[Sequence]:
        """Yield the sequences of accessions, in the given order, without duplicates.

        For an accession that was merged into another one, that protein is returned, with a warning.

        Args:
            accessions: accessions such as `P68871`, or of isoforms, such as `P68871-2`.
            missing: the reason for each accession without a sequence; updated.

        Raises:
            ServiceError: a request failed.
        """
        yielded: set[str] = set()
        for batch in _batches(accessions, missing):
            found: dict[str, Sequence] = {}
            plain = [a for a in batch if "-" not in a]
            if plain:
                url = (
                    f"{self._base}/accessions?{urlencode({'accessions': ','.join(plain), 'format': 'fasta', 'size': PAGE})}"
                )
                found = {_accession(s.id): s for s in self._pages(url, "UniProt, by accession", _read_fasta)}
            for accession in batch:
                sequence = found.get(accession) or self._single(accession, missing)
                if sequence is not None and sequence.id not in yielded:
                    yielded.add(sequence.id)
                    yield sequence

    def annotations_by_accession(self, accessions: Iterable[str], missing: dict[str, str]) -> Iterator[Annotation]:
        """Yield the annotations of accessions, in the given order; isoforms are mapped to their entries.

        Raises:
            ServiceError: a request failed.
        """
        for batch in _batches((a.split("-")[0] for a in accessions), missing):
            asked = {"accessions": ",".join(batch), "format": "tsv", "fields": ",".join(FIELDS), "size": PAGE}
            url = f"{self._base}/accessions?{urlencode(asked)}"
            found = {a.accession: a for a in self._pages(url, "annotations, by accession", _read_annotations)}
            yield from (found[accession] for accession in batch if accession in found)

    def _search_url(self, query: str, form: str) -> str:
        if not query.strip():
            raise UsageError(
                "the query for UniProt is empty", fix="for example --uniprot 'xref:pfam-PF00042 AND reviewed:true'"
            )
        asked: dict[str, str | int] = {"query": query, "format": form, "size": PAGE, "compressed": "true"}
        if form == "tsv":
            asked["fields"] = ",".join(FIELDS)
        return f"{self._base}/search?{urlencode(asked)}"

    def _pages(self, url: str, what: str, read: Callable[[str], list[T]]) -> Iterator[T]:
        """Yield the items of all pages; check that their number equals the announced number."""
        total: int | None = None
        count = 0
        link: str | None = url
        with console.progress_task(what, unit="proteins") as task:
            while link is not None:
                items, announced, following = self._page(link, what, read, total, count)
                if total is None:
                    total = announced
                    task.update(total=total)
                count += len(items)
                yield from items
                task.advance(len(items))
                link = next_page(following, url) if following else None
                if link is not None:
                    self._client.wait(self._client.policy.page_pause)
        if total is not None and count != total:
            raise ServiceError(
                f"{what}: received {count:,}, but UniProt announced {total:,}",
                fix="the database may have changed in the meantime; try again",
            )

    def _page(
        self, link: str, what: str, read: Callable[[str], list[T]], total: int | None, before: int
    ) -> tuple[list[T], int | None, str | None]:
        def once() -> tuple[list[T], int | None, str | None]:
            with self._client.open(link) as reply:
                self._judge(reply, what)
                text = reply.content().decode("utf-8", "replace")
                announced = reply.headers.get("X-Total-Results", "")
                links = parse_header_links(reply.headers.get("Link", ""))
                release = reply.headers.get("X-UniProt-Release", "")
            following = next((str(item["url"]) for item in links if item.get("rel") == "next"), None)
            if _BROKEN in text[-1000:]:
                raise TransientError("the response ends in an error message")
            items = read(text)
            expected = total if total is not None else int(announced) if announced.isdigit() else None
            if expected is not None and following is None and before + len(items) < expected:
                raise TransientError(f"received {before + len(items):,} of {expected:,}, and there is no further page")
            if following is not None and not items:
                raise TransientError("a page is empty and is not the last one")
            self._same_release(release)
            return items, int(announced) if announced.isdigit() else None, following

        return self._client.attempt(what, once)

    def _same_release(self, release: str) -> None:
        if self.release and release and release != self.release:
            raise ServiceError(
                f"UniProt was updated from release {self.release} to {release} during the download",
                fix="run the same command again",
            )
        self.release = self.release or release

    def _single(self, accession: str, missing: dict[str, str]) -> Sequence | None:
        """Request a single accession: the service redirects merged accessions, and returns nothing for deleted ones."""

        def once() -> list[Sequence]:
            with self._client.open(f"{self._base}/{accession}.fasta") as reply:
                if reply.status in (400, 404, 410):
                    return []
                self._judge(reply, accession)
                return _read_fasta(reply.content().decode("utf-8", "replace"))

        found = self._client.attempt(f"UniProt, {accession}", once)
        if len(found) != 1:
            missing[accession] = "UniProt has no sequence (any more)"
            return None
        if _accession(found[0].id) != accession:
            logger.warning(f"{accession} has been merged into {_accession(found[0].id)}")
        return found[0]

    def _judge(self, reply: Reply, what: str) -> None:
        if reply.status == 400:
            raise UsageError(
                f"UniProt does not accept {what}",
                why=_messages(reply),
                fix="correct the query; UniProt's help describes its fields",
            )
        self._client.refuse(reply, what)
        if reply.status != 200:
            raise TransientError(f"the server answers {reply.status}")


def _batches(accessions: Iterable[str], missing: dict[str, str]) -> Iterator[list[str]]:
    batch: list[str] = []
    seen: set[str] = set()
    for text in accessions:
        accession = text.strip().upper()
        if not PROTEIN.fullmatch(accession):
            missing[text] = "not a UniProt accession"
        elif accession not in seen:
            seen.add(accession)
            batch.append(accession)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _accession(identifier: str) -> str:
    """Return the accession of an id: `P68871` for `sp|P68871|HBB_HUMAN`."""
    parts = identifier.split("|")
    return parts[1] if len(parts) == 3 else identifier


def _read_fasta(text: str) -> list[Sequence]:
    """Parse the sequences of a page.

    Raises:
        TransientError: the page is not complete, valid FASTA.
    """
    if not text.strip():
        return []
    if not text.startswith(">"):
        raise TransientError(f"the response is not FASTA but starts with {text[:40]!r}")
    if not text.endswith("\n"):
        raise TransientError("the response ends in the middle of a line")
    try:
        found = list(fasta.parse(text_lines(io.BytesIO(text.encode()), "the answer"), "the answer"))
    except BadInputError as error:
        raise TransientError(f"the response is not FASTA: {error.what}") from error
    for sequence in found:
        sequence.where = ""
        if not _RESIDUES.fullmatch(sequence.residues):
            raise TransientError(f"the sequence of {shorten(sequence.id, 40)} contains invalid letters")
    return found


def _read_annotations(text: str) -> list[Annotation]:
    """Parse the annotations of a page.

    Raises:
        TransientError: the page is not the requested table, or is incomplete.
    """
    lines = text.split("\n")
    if not lines[0].startswith("Entry\t") or lines[0].count("\t") != len(FIELDS) - 1:
        raise TransientError(f"the response is not the requested table but starts with {text[:40]!r}")
    if lines.pop() != "":
        raise TransientError("the response ends in the middle of a line")
    found = []
    for line in lines[1:]:
        columns = line.rstrip("\r").split("\t")
        if len(columns) != len(FIELDS) or not columns[3].isdigit() or not columns[5].isdigit():
            raise TransientError(f"a row of the response does not have the requested columns: {line[:60]!r}")
        accession, entry, reviewed, length, organism, taxon, ec, go, pfam = columns
        section = "sp" if reviewed == "reviewed" else "tr"
        found.append(
            Annotation(
                f"{section}|{accession}|{entry}",
                accession,
                int(length),
                organism,
                int(taxon),
                _several(ec),
                _several(go),
                _several(pfam),
            )
        )
    return found


def _several(text: str) -> tuple[str, ...]:
    return tuple(sorted({word.strip() for word in text.split(";") if word.strip()}))


def _messages(reply: Reply) -> str | None:
    try:
        found = reply.json()
    except (TransientError, ServiceError):
        return None
    messages = found.get("messages") if isinstance(found, dict) else None
    return "; ".join(str(m) for m in messages)[:300] if isinstance(messages, list) else None
