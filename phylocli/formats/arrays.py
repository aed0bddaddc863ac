"""Named arrays in safetensors files with a checksum of the content, or of weights beside a JSON file that describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike, atomic_path, file_sha256

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "sha256"
"""Key of the checksum in the file's metadata."""

Arrays = Mapping[str, npt.NDArray[Any]]


def write_arrays(path: PathLike, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata atomically.

    Raises:
        PhylocliError: the disk is full, or the file cannot be written.
    """
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    # Not `save_file`, whose error for a full disk cannot be distinguished from others.
    data = save(whole, metadata={**metadata, CHECKSUM: _checksum(whole, metadata)})
    with atomic_path(path) as part:
        part.write_bytes(data)


def read_arrays(path: PathLike, *, fix: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read arrays and metadata written by `write_arrays`.

    Args:
        path: path of the file.
        fix: suggested fix for the message about a damaged file.

    Raises:
        BadInputError: the file is damaged, or was not written by `write_arrays`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            metadata = dict(tensors.metadata() or {})
            arrays = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118  not a mapping
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadInputError(f"{path} is damaged", why=str(error), fix=fix) from error
    if metadata.pop(CHECKSUM, None) != _checksum(arrays, metadata):
        raise BadInputError(f"{path} is damaged", why="its checksum does not match", fix=fix)
    return arrays, metadata


def read_described(description: Path, weights: Path, format: str) -> tuple[Any, dict[str, Tensor]]:
    """Return the description and the weights, as float32.

    Args:
        description: JSON file with the keys `format` and `weights_sha256`.
        weights: safetensors file.
        format: what `format` has to be.

    Raises:
        ValueError: another format, or the checksum does not match.
        OSError, KeyError, SafetensorError: a file is missing or incomplete.
    """
    from safetensors.torch import load_file

    found = json.loads(description.read_text(encoding="utf-8"))
    if found["format"] != format:
        raise ValueError(f"its format is {found['format']!r}, not {format!r}")
    if found["weights_sha256"] != file_sha256(weights):
        raise ValueError(f"the checksum of {weights.name} does not match")
    return found, {name: tensor.float() for name, tensor in load_file(weights).items()}


def _checksum(arrays: Arrays, metadata: Mapping[str, str]) -> str:
    found = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        found.update(arrays[name].tobytes())
    return found.hexdigest()
