"""Public services ⇄ store: families of Pfam through InterPro, whole releases, sequences of UniProt; verified, resumable."""

from __future__ import annotations

from phylocli.fetch.accessions import Wanted, parse_clan, parse_family, read_list
from phylocli.fetch.families import Failure, fetch_families
from phylocli.fetch.policy import Policy, default_policy
from phylocli.fetch.services import Services, find_services
from phylocli.fetch.write import write_fetched

__all__ = [
    "Failure",
    "Policy",
    "Services",
    "Wanted",
    "default_policy",
    "fetch_families",
    "find_services",
    "parse_clan",
    "parse_family",
    "read_list",
    "write_fetched",
]
