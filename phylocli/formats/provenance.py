"""Provenance of outputs, stored in sidecar files.

The sidecar of `emb.parquet` is `emb.parquet.provenance.json`, with versions, command, seed, parameters, and the checksums of
all inputs (including standard input).
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TypedDict

from phylocli.formats.streams import (
    PathLike,
    file_sha256,
    fitting_name,
    is_file,
    is_url,
    recorded_inputs,
    without_secrets,
    write_text,
)

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
    "transformers",
)


class Source(TypedDict, total=False):
    """The source of fetched or imported data: a public service, a release, or a file."""

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


class Output(TypedDict, total=False):
    """Name and checksum of the output; objects of cloud storage have no such checksum."""

    name: str
    sha256: str


class Record(TypedDict, total=False):
    """A provenance record. Any key may be missing in records of other programs or earlier versions."""

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
    """Return the versions of Python, phylocli and the installed libraries that results depend on."""
    return dict(_versions())


@functools.cache  # called for each of the 25,000 families of a release
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
    """Return the provenance record for an output of `stage`, with the inputs from `recording_inputs`."""
    return {
        "stage": stage,
        "command": [without_secrets(word) for word in sys.argv],
        "parameters": {name: _without_secrets(value) for name, value in parameters.items()},
        "seed": seed,
        "inputs": [
            asdict(item) for item in {astuple(item): item for item in recorded_inputs()}.values()
        ],  # without duplicates
        "versions": versions(),
        "platform": platform.platform(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _without_secrets(value: object) -> object:
    """Return a value of the parameters with its URLs as `without_secrets` leaves them, also within lists and tables."""
    if isinstance(value, str | os.PathLike):
        return without_secrets(os.fsdecode(value))
    if isinstance(value, Mapping):
        return {name: _without_secrets(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(part) for part in value]
    return value


def sidecar_path(artefact: PathLike) -> Path:
    """Return the path of an output's provenance: the name with `.provenance.json` appended (long names are shortened)."""
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
    """Write the provenance of a complete output file or object; does nothing for standard output, devices and pipes.

    Args:
        artefact: path of the output.
        stage: name of the subcommand.
        parameters: its options.
        seed: random seed; None if no random numbers were used.
        source: for data from a public service, its URL, release, checksum and time.
    """
    if artefact is None or not (is_file(artefact) or is_url(artefact)):
        return
    record = provenance(stage, parameters, seed)
    if source is not None:
        record["source"] = source
    record["output"] = {"name": Path(without_secrets(os.fspath(artefact))).name}
    beside: PathLike = f"{os.fspath(artefact)}.provenance.json"
    if not is_url(artefact):
        record["output"]["sha256"] = file_sha256(artefact)
        beside = sidecar_path(artefact)
    write_text(beside, json.dumps(record, indent=2, default=str) + "\n")
