"""Public services ⇄ store: families of Pfam through InterPro, whole releases, sequences of UniProt; verified, resumable."""

from __future__ import annotations

from phylocli.fetch.accessions import Wanted, parse_clan, parse_family, read_list
from phylocli.fetch.audit import Finding, verify_store
from phylocli.fetch.families import Failure, fetch_families, fetch_members
from phylocli.fetch.importing import import_families, import_release
from phylocli.fetch.policy import Policy, default_policy
from phylocli.fetch.proteins import fetch_proteins
from phylocli.fetch.release import Release, fetch_release
from phylocli.fetch.request import Request, fetch
from phylocli.fetch.services import Services, find_services
from phylocli.fetch.tend import describe, export_families, remove_families, report_findings, write_inventory
from phylocli.fetch.write import write_fetched, write_release

__all__ = [
    "Failure",
    "Finding",
    "Policy",
    "Release",
    "Request",
    "Services",
    "Wanted",
    "default_policy",
    "describe",
    "export_families",
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
    "remove_families",
    "report_findings",
    "verify_store",
    "write_fetched",
    "write_inventory",
    "write_release",
]
