"""The store: a folder of family records, `families/PF00042.sto.gz`, written atomically."""

from __future__ import annotations

from phylocli.store.admin import describe, export_families, remove_families, report_findings, write_inventory
from phylocli.store.bulk import Bulk
from phylocli.store.names import default_root, is_safe, read_sidecar
from phylocli.store.store import Store
from phylocli.store.verify import Finding, verify_store

__all__ = [
    "Bulk",
    "Finding",
    "Store",
    "default_root",
    "describe",
    "export_families",
    "is_safe",
    "read_sidecar",
    "remove_families",
    "report_findings",
    "verify_store",
    "write_inventory",
]
