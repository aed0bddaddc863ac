"""Client of the Pfam releases: the current release, its files with published checksums, and the list of dead families."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from phylocli.core.errors import ServiceError, UsageError
from phylocli.fetch.download import NotServedError, download
from phylocli.fetch.http import Client, TransientError
from phylocli.formats.stockholm import split_accession
from phylocli.store import Store
from phylocli.store.inventory import releases_there

logger = logging.getLogger(__name__)

CLANS = "Pfam-A.clans.tsv.gz"
PROFILES = "Pfam-A.hmm.gz"
ALIGNMENTS = {"seed": "Pfam-A.seed.gz", "full": "Pfam-A.full.gz"}
DEAD = "Pfam-A.dead.gz"
_RELEASE = re.compile(r"(?:Pfam)?(\d{1,3}\.\d{1,3})", re.ASCII)
_FAMILY = re.compile(r"PF\d{5}", re.ASCII)
_MD5_LINE = re.compile(r"([0-9a-f]{32})[ \t]+\*?(?:\./)?(\S+)")


class PfamReleases:
    """The Pfam releases on the server of the EBI.

    Args:
        client: the HTTP client.
        base: the base URL, for example `https://ftp.ebi.ac.uk/pub/databases/Pfam`.
        store: the destination of the files.
        offline: use only files that are in the store.
    """

    def __init__(self, client: Client, base: str, store: Store, *, offline: bool = False) -> None:
        self._client = client
        self._base = base
        self._store = store
        self._offline = offline
        self._checksums: dict[str, dict[str, str]] = {}

    def resolve(self, release: str) -> str:
        """Return the number of a release; `current` is resolved once, so that all files come from one release.

        Raises:
            UsageError: the release number is invalid.
            ServiceError: the current release could not be determined, or, if `offline`, the store contains no release.
        """
        if release != "current":
            found = _RELEASE.fullmatch(release.strip())
            if not found:
                raise UsageError(f"{release[:40]!r} is not a Pfam release", fix="for example 38.2, or current")
            return found.group(1)
        if self._offline:
            there = releases_there(self._store.root)
            if not there:
                raise ServiceError(f"the store {self._store.root} has no Pfam release", fix="fetch one without --offline")
            return there[-1]
        text = self._small(f"{self._base}/current_release/Pfam.version.gz", "Pfam.version.gz")
        number = re.search(r"Pfam release\s*:\s*(\S+)", text)
        pinned = _RELEASE.fullmatch(number.group(1)) if number else None
        if not pinned:
            raise ServiceError("the service does not name the current Pfam release", fix="give one with --release")
        return pinned.group(1)

    def file(self, release: str, name: str) -> Path:
        """Return the path of a release file in the store; it is downloaded and verified if it is not there.

        Raises:
            ServiceError: the file could not be downloaded, or, if `offline`, is not in the store.
        """
        target = self._store.release_path(release) / name
        if self._offline:
            if not target.is_file():
                raise ServiceError(f"{target} does not exist, and --offline forbids downloads", fix="omit --offline")
            return target
        folder = f"{self._base}/releases/Pfam{release}"
        md5 = self._md5(release, folder).get(name)
        if md5 is None:
            logger.warning(f"Pfam {release} publishes no checksum for {name}")
        return download(
            self._client, f"{folder}/{name}", target, md5=md5, source={"service": "Pfam", "release": release, "file": name}
        )

    def replacement(self, accession: str) -> str:
        """Return the family that replaced a dead family, according to Pfam's list of dead families; empty if none did.

        Raises:
            ServiceError: the list could not be downloaded.
        """
        return dead_families(self._small(f"{self._base}/current_release/{DEAD}", DEAD)).get(accession, "")

    def _md5(self, release: str, folder: str) -> dict[str, str]:
        if release not in self._checksums:
            try:
                text = self._small(f"{folder}/md5_checksums", "md5_checksums")
            except NotServedError as error:
                raise NotServedError(
                    f"Pfam release {release} does not exist",
                    why=f"{folder} does not exist",
                    fix="name another with --release",
                ) from error
            found = {m.group(2): m.group(1) for line in text.splitlines() if (m := _MD5_LINE.fullmatch(line.strip()))}
            if not found:
                raise ServiceError(f"{folder}/md5_checksums contains no checksum", fix="try again later")
            self._checksums[release] = found
        return self._checksums[release]

    def _small(self, url: str, what: str) -> str:
        def once() -> str:
            with self._client.open(url, headers={"Accept-Encoding": "identity"}) as reply:
                if reply.status == 404:
                    raise NotServedError(f"{url} does not exist", fix="name another release with --release")
                self._client.refuse(reply, what)
                data = reply.content()
            if data[:64].lstrip().lower().startswith((b"<!doctype", b"<html")):
                raise TransientError("the response is an HTML page")
            try:
                return data.decode("utf-8")
            except UnicodeDecodeError:
                return data.decode("latin-1")

        return self._client.attempt(what, once)


def dead_families(text: str) -> dict[str, str]:
    """Parse a list of dead families (`Pfam-A.dead`): accession → replacement, an empty string if there is none."""
    found: dict[str, str] = {}
    accession = ""
    for line in text.splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0] == "#=GF" and words[1] == "AC":
            accession = split_accession(words[2].strip())[0]
            found[accession] = ""
        elif len(words) == 3 and words[0] == "#=GF" and words[1] == "FW" and _FAMILY.fullmatch(words[2].strip()):
            found[accession] = words[2].strip()
    return found
