"""Public services ⇄ store: families of Pfam through InterPro, whole releases, sequences of UniProt; verified, resumable."""

from __future__ import annotations

from phylocli.fetch.accessions import Wanted, parse_clan, parse_family, read_list
from phylocli.fetch.families import Failure, fetch_families
from phylocli.fetch.policy import Policy, default_policy
from phylocli.fetch.proteins import fetch_proteins
from phylocli.fetch.release import Release, fetch_release
from phylocli.fetch.services import Services, find_services
from phylocli.fetch.write import write_fetched, write_release

__all__ = [
    "Failure",
    "Policy",
    "Release",
    "Services",
    "Wanted",
    "default_policy",
    "fetch_families",
    "fetch_proteins",
    "fetch_release",
    "find_services",
    "parse_clan",
    "parse_family",
    "read_list",
    "write_fetched",
    "write_release",
]
