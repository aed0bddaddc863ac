"""Incremental results: an interrupted measurement resumes with the first missing row."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Cells = list[str]


@dataclass
class Results:
    """Rows of one table, kept in a file of JSON lines.

    Attributes:
        path: of the file.
        settings: under which the rows are measured; rows of other settings are measured again.
        header: of the table.
        only: measure the rows whose name contains this, and show the others that are there.
    """

    path: Path
    settings: dict[str, Any]
    header: list[str]
    only: str = ""
    rows: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        there = [json.loads(line) for line in lines]
        self._there = {row["name"]: row for row in there if row["settings"] == self.settings}
        self.rows = [_row(self.header), "|" + "---|" * len(self.header)]

    def add(self, name: str, measure: Callable[[], tuple[Cells, list[str]]]) -> None:
        """Measure a row, unless it is there.

        Args:
            name: first cell of the row.
            measure: returns the other cells, and a line for each thing that was not as it should be.
        """
        if name not in self._there:
            if self.only not in name:
                return
            cells, details = measure()
            self._there[name] = {"name": name, "settings": self.settings, "cells": cells, "details": details}
            with self.path.open("a") as stream:
                stream.write(json.dumps(self._there[name]) + "\n")
            print(_row([name, *cells]), file=sys.stderr, flush=True)
        row = self._there[name]
        self.rows.append(_row([name, *row["cells"]]))
        self.details += row["details"]


def _row(cells: Cells) -> str:
    return "| " + " | ".join(cells) + " |"
