"""Stages of a run, which are skipped if inputs and parameters are unchanged."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from phylocli import __version__
from phylocli.formats.streams import file_sha256, recording_inputs, write_text

logger = logging.getLogger(__name__)


Rows = dict[str, dict[str, int | float]]
"""Numbers by name, for each family."""


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: the name in messages and in `stages.json`.
        action: the function to call; its argument is True if an earlier attempt with the same inputs and parameters was
            interrupted. What it returns is kept in the ledger: numbers of what it has made, by family.
        inputs: the input files.
        parameters: all other dependencies, as JSON values.
        outputs: the files that it writes; for a folder, the file that is written last.
    """

    name: str
    action: Callable[[bool], Rows | None]
    inputs: tuple[Path, ...]
    parameters: Mapping[str, object]
    outputs: tuple[Path, ...]

    def key(self) -> str:
        """Return a hash of all dependencies: version, name, parameters, and the content of the inputs."""
        facts = {
            "version": __version__,
            "name": self.name,
            "parameters": self.parameters,
            "inputs": [[path.name, file_sha256(path)] for path in self.inputs],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Entry(TypedDict, total=False):
    """A stage in `stages.json`: its key, and, when it is done, its duration, the checksums of its outputs, and what it has
    made."""

    key: str
    done: bool
    seconds: float
    outputs: dict[str, str]
    made: Rows


class Ledger:
    """The completed stages of a run folder, with their keys and outputs. Stored in `stages.json`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stages.json"
        self.entries: dict[str, Entry] = {}
        if self.path.is_file():
            try:
                self.entries = json.loads(self.path.read_text(encoding="utf-8"))
            except ValueError:
                logger.warning(f"{self.path} is damaged; all stages run again")

    def is_done(self, stage: Stage, key: str) -> bool:
        """Return whether the stage was completed with this key and its outputs are unchanged."""
        entry = self.entries.get(stage.name, {})
        if entry.get("key") != key or not entry.get("done"):
            return False
        outputs = entry.get("outputs", {})
        return all(path.is_file() and outputs.get(path.name) == file_sha256(path) for path in stage.outputs)

    def was_started(self, stage: Stage, key: str) -> bool:
        """Return whether the stage was started with this key, but not completed."""
        entry = self.entries.get(stage.name, {})
        return entry.get("key") == key and not entry.get("done")

    def _save(self) -> None:
        write_text(self.path, json.dumps(self.entries, indent=2) + "\n")

    def perform(self, stage: Stage) -> bool:
        """Run the stage unless it is done; return whether it ran."""
        key = stage.key()
        if self.is_done(stage, key):
            logger.info(f"{stage.name}: unchanged, skipped")
            return False
        resuming = self.was_started(stage, key)
        logger.info(f"{stage.name}: {'resuming' if resuming else 'running'}")
        self.entries[stage.name] = {"key": key, "done": False}
        self._save()
        start = time.monotonic()
        with recording_inputs():
            made = stage.action(resuming)
        seconds = time.monotonic() - start
        self.entries[stage.name] = {
            "key": key,
            "done": True,
            "seconds": round(seconds, 2),
            "outputs": {path.name: file_sha256(path) for path in stage.outputs},
            **({"made": made} if made is not None else {}),
        }
        self._save()
        logger.info(f"{stage.name}: done in {seconds:.1f} s")
        return True
