"""The store: a folder of family records, `families/PF00042.sto.gz`, each complete or not there at all."""

from __future__ import annotations

from phylocli.store.bulk import Bulk
from phylocli.store.names import default_root, is_safe, read_sidecar
from phylocli.store.shelf import Store

__all__ = ["Bulk", "Store", "default_root", "is_safe", "read_sidecar"]
