"""Download of Pfam families (InterPro API, Pfam releases) into the store, and of UniProt sequences; verified, resumable."""

from __future__ import annotations

from phylocli.fetch.accessions import Wanted, parse_clan, parse_family, read_list
from phylocli.fetch.families import Failure, fetch_families, fetch_members
from phylocli.fetch.importing import import_families, import_release
from phylocli.fetch.output import write_fetched, write_release
from phylocli.fetch.proteins import fetch_proteins
from phylocli.fetch.release import Release, fetch_release
from phylocli.fetch.request import Request, fetch
from phylocli.fetch.retry_policy import Policy, default_policy
from phylocli.fetch.services.addresses import Services, find_services

__all__ = [
    "Failure",
    "Policy",
    "Release",
    "Request",
    "Services",
    "Wanted",
    "default_policy",
    "fetch",
    "fetch_families",
    "fetch_members",
    "fetch_proteins",
    "fetch_release",
    "find_services",
    "import_families",
    "import_release",
    "parse_clan",
    "parse_family",
    "read_list",
    "write_fetched",
    "write_release",
]
