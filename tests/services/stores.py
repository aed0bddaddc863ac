"""Stores compared with each other."""

from __future__ import annotations

import json
from pathlib import Path


def contents(root: Path) -> dict[str, bytes]:
    """Return the content of all files of a store by path; of provenance records without time and command line."""
    found = {}
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.suffix == ".lock":
            continue
        data = path.read_bytes()
        if path.name.endswith(".provenance.json"):
            record = json.loads(data)
            for key in ("time", "command"):
                record.pop(key, None)
            record["source"].pop("time")
            data = json.dumps(record, sort_keys=True).encode()
        found[str(path.relative_to(root))] = data
    return found
