"""Provenance of outputs, stored beside them.

`emb.parquet` gets `emb.parquet.provenance.json` with versions, the command, the seed, the parameters, and the checksum of
every input that was read (standard input too).
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TypedDict

from phylocli.formats.streams import PathLike, file_sha256, fitting_name, is_file, recorded_inputs, write_text

_LIBRARIES = (
    "torch",
    "numpy",
    "polars",
    "pyarrow",
    "pyhmmer",
    "pyfamsa",
    "scikit-bio",
    "ete3",
    "biopython",
    "scikit-learn",
)


class Source(TypedDict, total=False):
    """Where an artefact came from: a public service, a release, or a file of the user's."""

    service: str
    url: str
    release: str
    alignment: str
    query: str | None
    file: str
    file_md5: str
    bytes: int
    md5: str | None
    sha256: str
    time: str


class Output(TypedDict):
    """The artefact."""

    name: str
    sha256: str


class Record(TypedDict, total=False):
    """A provenance record. What other programs or earlier versions wrote may lack any part."""

    stage: str
    command: list[str]
    parameters: Mapping[str, object]
    seed: int | None
    inputs: list[dict[str, str | int]]
    versions: dict[str, str]
    platform: str
    time: str
    source: Source
    output: Output


def versions() -> dict[str, str]:
    """Return the versions of Python, phylocli and the libraries that results depend on; absent ones are left out."""
    return dict(_versions())


@functools.cache  # once: a release has 25,000 families with a record each
def _versions() -> dict[str, str]:
    from phylocli import __version__

    found = {"python": platform.python_version(), "phylocli": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def provenance(stage: str, parameters: Mapping[str, object], seed: int | None = None) -> Record:
    """Return the record for an artefact that `stage` has just made, inputs taken from `recording_inputs`."""
    return {
        "stage": stage,
        "command": sys.argv,
        "parameters": parameters,
        "seed": seed,
        "inputs": [asdict(item) for item in {astuple(item): item for item in recorded_inputs()}.values()],  # each once
        "versions": versions(),
        "platform": platform.platform(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def sidecar_path(artefact: PathLike) -> Path:
    """Return the path of an output's provenance: its name with `.provenance.json` appended (long names are shortened)."""
    path = Path(artefact)
    return path.with_name(fitting_name(path.name, ".provenance.json"))


def write_sidecar(
    artefact: PathLike | None,
    stage: str,
    parameters: Mapping[str, object],
    seed: int | None = None,
    *,
    source: Source | None = None,
) -> None:
    """Write the provenance of an output that is complete on disk; does nothing for standard output, devices and pipes.

    Args:
        artefact: the file.
        stage: the subcommand.
        parameters: its options.
        seed: where chance had a part.
        source: for data from a public service: URL, release, checksum and time.
    """
    if artefact is None or not is_file(artefact):
        return
    record = provenance(stage, parameters, seed)
    if source is not None:
        record["source"] = source
    record["output"] = {"name": Path(artefact).name, "sha256": file_sha256(artefact)}
    write_text(sidecar_path(artefact), json.dumps(record, indent=2, default=str) + "\n")
