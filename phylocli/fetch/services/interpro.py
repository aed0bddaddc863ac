"""Client of the InterPro API: alignments, profiles and clans of Pfam families, one request each.

HTTP status codes of the API are not reliable: the response for an unknown family is 200 with `{}`, 404 may be a temporary
internal error, and 408 means "retry in a minute". Therefore the content of each response is verified too.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urlencode

from phylocli.core.errors import BadInputError, ServiceError
from phylocli.fetch.accessions import Wanted
from phylocli.fetch.http import Client, Reply, TransientError, next_page, unread
from phylocli.fetch.retry_policy import Policy
from phylocli.fetch.verify import is_empty_object, read_alignment, read_profile, unpacked
from phylocli.formats.family import Family
from phylocli.formats.provenance import Source
from phylocli.formats.sequences.fasta import Sequence

JsonObject = dict[str, Any]
"""A JSON object of a response; its fields are validated where they are read."""

# Error texts of definitive 404 responses; any other text indicates a temporary internal error.
_LACKS = "list index out of range"
_NO_MEMBER = "is not a valid"
_CHECK_ACCESSION = "check the accession, for example at InterPro"
_PAGE = 200
_SEARCHED = 5  # maximum number of pages of a search; no name has more results


class UnknownFamilyError(BadInputError):
    """The family or clan does not exist."""


class DeadFamilyError(BadInputError):
    """The family has been removed from Pfam."""


class InterPro:
    """The InterPro API.

    Args:
        client: the HTTP client.
        base: the base URL, for example `https://www.ebi.ac.uk/interpro/api`.
    """

    def __init__(self, client: Client, base: str) -> None:
        self._client = client
        self._base = base

    def alignment(self, wanted: Wanted, kind: str) -> tuple[Family, Source]:
        """Return the verified alignment of a family, and its provenance.

        Args:
            wanted: the family; a version is ignored.
            kind: `seed` or `full`.

        Raises:
            UnknownFamilyError, DeadFamilyError: the family does not exist, or was deleted.
            BadInputError: the family has no such alignment.
            ServiceError: the service did not return it.
        """
        accession = wanted.accession
        url = f"{self._base}/entry/pfam/{accession}/?annotation=alignment:{kind}&download"
        what = f"the {kind} alignment of {accession}"

        def once() -> tuple[Family, Source]:
            with self._body(url, what, accession) as (body, reply):
                stream = unpacked(unread(body), self._policy.max_unpacked)
                family = read_alignment(stream, accession, what)
                return family, _source(url, body, reply)

        return self._client.attempt(what, once)

    def profile(self, wanted: Wanted) -> tuple[bytes, Source]:
        """Return the verified profile HMM of a family as HMMER3 text, and its provenance.

        Raises:
            UnknownFamilyError, DeadFamilyError: the family does not exist, or was deleted.
            ServiceError: the service did not return it.
        """
        accession = wanted.accession
        url = f"{self._base}/entry/pfam/{accession}/?annotation=hmm"
        what = f"the profile of {accession}"

        def once() -> tuple[bytes, Source]:
            with self._body(url, what, accession) as (body, reply):
                stream = unpacked(unread(body), self._policy.max_unpacked)
                return read_profile(stream, accession, what), _source(url, body, reply)

        return self._client.attempt(what, once)

    def entry(self, accession: str, database: str = "pfam") -> JsonObject:
        """Return the metadata of an entry of Pfam, InterPro or another member database.

        Raises:
            UnknownFamilyError, DeadFamilyError: the entry does not exist, or was deleted.
            ServiceError: the service did not return it.
        """
        what = f"the entry of {accession}"

        def once() -> JsonObject:
            url = f"{self._base}/entry/{database}/{accession}/"
            with self._client.open(url, accept="application/json") as reply:
                self._judge(reply, what, accession)
                return _object(_object(reply.json(), what).get("metadata"), what)

        return self._client.attempt(what, once)

    def search(self, text: str, database: str = "pfam") -> list[JsonObject]:
        """Search entries by accession, name or short name; return the `metadata` of each, with `short_name`.

        Args:
            text: the text to search for, case-insensitive.
            database: `pfam`, `interpro` or another member database.

        Raises:
            ServiceError: the request failed.
        """
        asked = urlencode({"search": text, "extra_fields": "short_name", "page_size": _PAGE})
        return self._listing(f"entry/{database}/?{asked}", f"the search for {text!r}")

    def families_of_protein(self, accession: str) -> list[JsonObject]:
        """Return the `metadata` of the Pfam families in a protein, given by UniProt accession.

        Raises:
            UnknownFamilyError: InterPro has no such protein.
            ServiceError: the request failed.
        """
        path = f"entry/pfam/protein/uniprot/{accession}/?page_size={_PAGE}"
        found = self._listing(path, f"the families of {accession}")
        if not found:
            self.protein(accession)
        return found

    def protein(self, name: str) -> str:
        """Return the UniProt accession of a protein, given by accession or entry name, such as `HBB_HUMAN`.

        Raises:
            UnknownFamilyError: InterPro has no such protein.
            ServiceError: the request failed.
        """
        what = f"the protein {name}"

        def once() -> str:
            with self._client.open(f"{self._base}/protein/uniprot/{name}/", accept="application/json") as reply:
                if reply.status == 204:
                    raise UnknownFamilyError(
                        f"InterPro has no protein {name}", fix="check the accession or entry name at UniProt"
                    )
                self._judge(reply, what, name)
                return str(_object(_object(reply.json(), what).get("metadata"), what).get("accession", ""))

        return self._client.attempt(what, once)

    def _listing(self, path: str, what: str) -> list[JsonObject]:
        """Return the `metadata` and extra fields of each entry of a listing, which may be empty."""
        first = f"{self._base}/{path}"
        found: list[JsonObject] = []
        link = first
        for _ in range(_SEARCHED):
            page = self._page(link, what)
            for result in page["results"]:
                entry = _object(result, what)
                found.append({**_object(entry.get("metadata"), what), **(entry.get("extra_fields") or {})})
            if not page.get("next"):
                break
            link = next_page(str(page["next"]), first)
            self._client.wait(self._policy.page_pause)
        return found

    def clan(self, clan: str) -> list[str]:
        """Return the accessions of the families of a clan, sorted.

        Raises:
            UnknownFamilyError: the clan does not exist.
            ServiceError: the request failed.
        """
        what = f"the clan {clan}"

        def once() -> list[str]:
            with self._client.open(f"{self._base}/set/pfam/{clan}/", accept="application/json") as reply:
                if reply.status == 204:
                    raise UnknownFamilyError(f"Pfam has no clan {clan}", fix=_CHECK_ACCESSION)
                self._judge(reply, what, clan)
                found = _object(reply.json(), what)
            if not found:
                raise UnknownFamilyError(f"Pfam has no clan {clan}", fix=_CHECK_ACCESSION)
            metadata = _object(found.get("metadata"), what)
            if str(metadata.get("accession", "")).upper() != clan:
                raise TransientError(f"the response is about {str(metadata.get('accession'))[:40]!r}, not {clan}")
            nodes = _object(metadata.get("relationships"), what).get("nodes")
            if not isinstance(nodes, list) or not nodes:
                raise TransientError("the response contains no families")
            return sorted({str(_object(node, what).get("accession", "")).upper() for node in nodes})

        return self._client.attempt(what, once)

    def release(self) -> str:
        """Return the current InterPro release, for example `107.0`.

        Raises:
            ServiceError: the request failed.
        """
        what = "InterPro's release"

        def once() -> str:
            with self._client.open(f"{self._base}/utils/release/current/", accept="application/json") as reply:
                self._judge(reply, what, "release")
                found = _object(reply.json(), what)
            version = found.get("version") or next((str(key) for key in found if str(key)[:1].isdigit()), "")
            if not version:
                raise TransientError("the response contains no release")
            return str(version)

        return self._client.attempt(what, once)

    def members(self, wanted: Wanted) -> Iterator[Sequence]:
        """Yield the domains of a family in UniProt, unaligned, as one sequence `ACCESSION/from-to` per match.

        The fragments of a discontinuous match are joined; its name gives the first and last residue.

        Raises:
            UnknownFamilyError, DeadFamilyError: the family does not exist, or was deleted.
            ServiceError: the service did not return all of them.
        """
        accession = wanted.accession
        what = f"the proteins of {accession}"
        first = f"{self._base}/protein/uniprot/entry/pfam/{accession}/?page_size={_PAGE}&extra_fields=sequence"
        link: str | None = first
        seen: set[str] = set()
        proteins = 0
        count: int | None = None
        while link is not None:
            page = self._page(link, what, accession)
            total = page.get("count")
            if count is None and isinstance(total, int):
                count = total
            for result in page["results"]:
                proteins += 1
                for domain in _domains(_object(result, what), accession, what):
                    if domain.id not in seen:
                        seen.add(domain.id)
                        yield domain
            following = page.get("next")
            link = next_page(str(following), first) if following else None
            if link is not None:
                self._client.wait(self._policy.page_pause)
        if count is not None and proteins != count:
            raise ServiceError(f"{what}: received {proteins}, but the service announced {count}", fix="try again later")

    def _page(self, link: str, what: str, accession: str | None = None) -> JsonObject:
        """Return a page of a listing; a 204 response is an empty page if `accession` is None."""

        def once() -> JsonObject:
            with self._client.open(link, accept="application/json") as reply:
                if reply.status == 204 and accession is None:
                    return {"results": []}
                self._judge(reply, what, accession or what)
                page = _object(reply.json(), what)
            if not isinstance(page.get("results"), list):
                raise TransientError("the response has no results")
            return page

        return self._client.attempt(what, once)

    @property
    def _policy(self) -> Policy:
        return self._client.policy

    @contextmanager
    def _body(self, url: str, what: str, accession: str) -> Iterator[tuple[IO[bytes], Reply]]:
        """Yield the body of a file; a `BadInputError` in the block becomes transient, so that the request is repeated."""
        with self._client.open(url) as reply:
            self._judge(reply, what, accession)
            with reply.spooled(what) as body:
                try:
                    head = unpacked(unread(body), self._policy.max_unpacked)
                    if is_empty_object(head):
                        self._explain_nothing(accession, what)
                    yield body, reply
                except (UnknownFamilyError, DeadFamilyError):
                    raise
                except BadInputError as error:
                    raise TransientError(f"not the requested data: {error.what}") from error

    def _explain_nothing(self, accession: str, what: str) -> None:
        # `{}` is returned for both unknown and dead families; the request for the entry distinguishes them.
        self.entry(accession)
        raise TransientError(f"the response is empty, although {accession} exists")

    def _judge(self, reply: Reply, what: str, accession: str) -> None:
        """Raise the error for the status of a response, if it is not 200."""
        if reply.status == 200:
            return
        if reply.status == 204:
            raise UnknownFamilyError(f"InterPro has no family {accession}", fix=_CHECK_ACCESSION)
        if reply.status == 410:
            raise DeadFamilyError(
                f"{accession} has been removed from Pfam",
                why=_history(reply),
                fix="name a release that contains it with --release",
            )
        if reply.status == 408:
            asked = max(self._policy.computing_wait, reply.retry_after() or 0.0)
            raise TransientError("the service is computing the response", asked)
        if reply.status == 404:
            text = _error_text(reply)
            if _LACKS in text:
                raise _Lacking(f"InterPro does not have {what}")
            if _NO_MEMBER in text:
                raise UnknownFamilyError(
                    f"InterPro does not accept {accession} as an accession",
                    why=text,
                    fix="give an accession such as PF00042, or a name",
                )
            raise TransientError(f"the server answers 404 ({text[:100] or 'no reason given'})")
        self._client.refuse(reply, what)
        raise ServiceError(f"{what}: the server answers {reply.status}", fix="try again later")


class _Lacking(UnknownFamilyError):
    """The family exists, but does not have this annotation."""


def _source(url: str, body: IO[bytes], reply: Reply) -> Source:
    body.seek(0)
    return {
        "service": "InterPro",
        "url": url,
        "release": reply.headers.get("InterPro-Version", ""),
        "sha256": hashlib.file_digest(body, "sha256").hexdigest(),  # type: ignore[arg-type]
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _object(value: Any, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise TransientError(f"the response for {what} does not have the expected format")
    return value


def _error_text(reply: Reply) -> str:
    found = None
    try:
        found = reply.json()
    except (TransientError, ServiceError):
        return ""
    return str(found.get("Error") or found.get("detail") or "") if isinstance(found, dict) else ""


def _history(reply: Reply) -> str | None:
    try:
        found = reply.json()
    except (TransientError, ServiceError):
        return None
    date = found.get("deletion_date") if isinstance(found, dict) else None
    return f"deleted on {str(date)[:10]}" if date else None


def _domains(result: JsonObject, accession: str, what: str) -> Iterator[Sequence]:
    metadata = _object(result.get("metadata"), what)
    protein = str(metadata.get("accession", ""))
    sequence = str(_object(result.get("extra_fields"), what).get("sequence") or "")
    if not protein.isalnum() or not sequence.isalpha():
        raise ServiceError(f"{what}: a protein has no accession or sequence", fix="try again later")
    for entry in result.get("entries") or []:
        if str(entry.get("accession", "")).upper() != accession:
            continue
        for location in entry.get("entry_protein_locations") or []:
            parts = sorted((int(f["start"]), int(f["end"])) for f in location.get("fragments") or [])
            residues = "".join(sequence[start - 1 : end] for start, end in parts)
            if residues:
                yield Sequence(f"{protein}/{parts[0][0]}-{parts[-1][1]}", residues, str(metadata.get("name", "")))


__all__ = ["DeadFamilyError", "InterPro", "UnknownFamilyError"]
