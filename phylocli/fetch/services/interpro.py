"""The InterPro API: alignments, profiles and clans of Pfam families, one request each.

The status of an answer is not reliable: an unknown family is a 200 with `{}`, a 404 can be a temporary internal error, and a
408 means "retry in a minute". Therefore no answer is accepted by its status alone.
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
"""An object of an answer; each part is checked where it is read."""

# Texts of a 404 that are an answer; with any other text it is an exception in the service, which may pass.
_LACKS = "list index out of range"
_NO_MEMBER = "is not a valid"
_CHECK_ACCESSION = "check the accession, for example at InterPro"
_PAGE = 200
_SEARCHED = 5  # maximum number of pages of a search: no name occurs in more


class UnknownFamilyError(BadInputError):
    """The service has no such family or clan."""


class DeadFamilyError(BadInputError):
    """The family was there once and has been removed from Pfam."""


class InterPro:
    """The InterPro API.

    Args:
        client: makes the requests.
        base: its address, for example `https://www.ebi.ac.uk/interpro/api`.
    """

    def __init__(self, client: Client, base: str) -> None:
        self._client = client
        self._base = base

    def alignment(self, wanted: Wanted, kind: str) -> tuple[Family, Source]:
        """Return a family's alignment, verified, and its source.

        Args:
            wanted: the family; its version, if any, is not part of the request.
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
        """Return a family's HMM as HMMER3 text, verified, and its source.

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
        """Return the metadata of an entry: of a family, of InterPro's own, or of another member database.

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
        """Return the entries that have a text in their accession, name or short name: `metadata` with `short_name`, each.

        Args:
            text: in any case.
            database: `pfam`, `interpro` or another member.

        Raises:
            ServiceError: the service did not return them.
        """
        asked = urlencode({"search": text, "extra_fields": "short_name", "page_size": _PAGE})
        return self._listing(f"entry/{database}/?{asked}", f"the search for {text!r}")

    def families_of_protein(self, accession: str) -> list[JsonObject]:
        """Return the `metadata` of the Pfam families in a protein of UniProt, by accession.

        Raises:
            UnknownFamilyError: InterPro has no such protein.
            ServiceError: the service did not return them.
        """
        path = f"entry/pfam/protein/uniprot/{accession}/?page_size={_PAGE}"
        found = self._listing(path, f"the families of {accession}")
        if not found:
            self.protein(accession)
        return found

    def protein(self, name: str) -> str:
        """Return the accession of a protein of UniProt that is named by accession or entry name, such as `HBB_HUMAN`.

        Raises:
            UnknownFamilyError: InterPro has no such protein.
            ServiceError: the service did not return it.
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
        """Return a listing of entries, the `metadata` and extra fields of each; none at all is an empty list."""
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
        """Return the accessions of a clan's families, sorted.

        Raises:
            UnknownFamilyError: there is no such clan.
            ServiceError: the service did not return it.
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
                raise TransientError(f"the answer is about {str(metadata.get('accession'))[:40]!r}, not {clan}")
            nodes = _object(metadata.get("relationships"), what).get("nodes")
            if not isinstance(nodes, list) or not nodes:
                raise TransientError("the answer names no family")
            return sorted({str(_object(node, what).get("accession", "")).upper() for node in nodes})

        return self._client.attempt(what, once)

    def release(self) -> str:
        """Return InterPro's release, for example `107.0`.

        Raises:
            ServiceError: the service did not say.
        """
        what = "InterPro's release"

        def once() -> str:
            with self._client.open(f"{self._base}/utils/release/current/", accept="application/json") as reply:
                self._judge(reply, what, "release")
                found = _object(reply.json(), what)
            version = found.get("version") or next((str(key) for key in found if str(key)[:1].isdigit()), "")
            if not version:
                raise TransientError("the answer names no release")
            return str(version)

        return self._client.attempt(what, once)

    def members(self, wanted: Wanted) -> Iterator[Sequence]:
        """Yield the domains of a family in UniProt, unaligned: one sequence `ACCESSION/from-to` a match.

        A match in several fragments is joined, and its name spans from the first residue to the last.

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
        """Return a page of a listing; without an accession, the page may be empty."""

        def once() -> JsonObject:
            with self._client.open(link, accept="application/json") as reply:
                if reply.status == 204 and accession is None:
                    return {"results": []}
                self._judge(reply, what, accession or what)
                page = _object(reply.json(), what)
            if not isinstance(page.get("results"), list):
                raise TransientError("the answer has no results")
            return page

        return self._client.attempt(what, once)

    @property
    def _policy(self) -> Policy:
        return self._client.policy

    @contextmanager
    def _body(self, url: str, what: str, accession: str) -> Iterator[tuple[IO[bytes], Reply]]:
        """Yield a file's body; an invalid body within the block may be temporary, so the request is repeated."""
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
        # `{}` is the answer for an unknown accession, and also for a dead one; the entry itself distinguishes them.
        self.entry(accession)
        raise TransientError(f"the answer is empty, though {accession} exists")

    def _judge(self, reply: Reply, what: str, accession: str) -> None:
        """Raise an error unless the answer has a valid status."""
        if reply.status == 200:
            return
        if reply.status == 204:
            raise UnknownFamilyError(f"InterPro has no family {accession}", fix=_CHECK_ACCESSION)
        if reply.status == 410:
            raise DeadFamilyError(
                f"{accession} has been removed from Pfam",
                why=_history(reply),
                fix="name a release that has it with --release",
            )
        if reply.status == 408:
            asked = max(self._policy.computing_wait, reply.retry_after() or 0.0)
            raise TransientError("the service is computing the answer", asked)
        if reply.status == 404:
            text = _error_text(reply)
            if _LACKS in text:
                raise _Lacking(f"InterPro does not have {what}")
            if _NO_MEMBER in text:
                raise UnknownFamilyError(
                    f"InterPro does not take {accession} for an accession",
                    why=text,
                    fix="give an accession such as PF00042, or a name",
                )
            raise TransientError(f"the server answers 404 ({text[:100] or 'no reason given'})")
        self._client.refuse(reply, what)
        raise ServiceError(f"{what}: the server answers {reply.status}", fix="try again later")


class _Lacking(UnknownFamilyError):
    """The family is there, but not with this annotation."""


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
        raise TransientError(f"the answer for {what} does not have the expected format")
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
