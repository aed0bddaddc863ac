"""Base URLs of the public services: from an option, an environment variable, or the default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from phylocli.core.errors import UsageError

INTERPRO = "https://www.ebi.ac.uk/interpro/api"
PFAM = "https://ftp.ebi.ac.uk/pub/databases/Pfam"
UNIPROT = "https://rest.uniprot.org"

VARIABLES = {INTERPRO: "PHYLOCLI_INTERPRO_URL", PFAM: "PHYLOCLI_PFAM_URL", UNIPROT: "PHYLOCLI_UNIPROT_URL"}


@dataclass(frozen=True)
class Services:
    """Base URLs, without trailing slash.

    Attributes:
        interpro: the InterPro API.
        pfam: the folder with `current_release` and `releases`.
        uniprot: the UniProt REST service.
    """

    interpro: str = INTERPRO
    pfam: str = PFAM
    uniprot: str = UNIPROT


def find_services(*, interpro: str | None = None, pfam: str | None = None, uniprot: str | None = None) -> Services:
    """Return the base URLs: as given, else from `$PHYLOCLI_INTERPRO_URL`, `…_PFAM_URL` and `…_UNIPROT_URL`.

    Raises:
        UsageError: a URL is not an HTTP or HTTPS URL.
    """

    def address(given: str | None, default: str) -> str:
        url = (given or os.environ.get(VARIABLES[default]) or default).rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is not the address of a service", fix="give it as https://host/path")
        return url

    return Services(address(interpro, INTERPRO), address(pfam, PFAM), address(uniprot, UNIPROT))
