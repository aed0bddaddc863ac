"""PyTorch files (`.pt`): folders of ESM representations, one file per sequence, and tables of embeddings.

Files are loaded with `weights_only=True`, so no code is unpickled.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.embeddings.arrays import ids_of_headers, vectors_of_arrays
from phylocli.formats.streams import PathLike, note_input

FloatArray = npt.NDArray[np.float32]

SUFFIX = ".pt"


def is_folder(source: Path) -> bool:
    """Return whether a path is a folder that contains `.pt` files."""
    return source.is_dir() and next(source.rglob(f"*{SUFFIX}"), None) is not None


def read_folder(folder: Path) -> tuple[list[str], FloatArray]:
    """Return ids and vectors (n, D): of the last layer, the mean representations, else the means of the residues.

    ESM's script names each file after the whole header. A `/` in it creates subfolders, which are searched. The id is the
    part before the first blank, unless these are not unique.

    Raises:
        BadInputError: a file is damaged, contains objects other than tensors, numbers and strings, or
            has no representations.
    """
    ids, vectors = [], []
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        note_input(path)
        record = _load(path)
        ids.append(str(record.get("label", path.relative_to(folder).with_suffix(""))))
        vectors.append(_vector(record, path))
    widths = {len(v) for v in vectors}
    if len(widths) > 1:
        raise BadInputError(
            f"{folder}: the files contain vectors of {min(widths)} to {max(widths)} features",
            fix="keep the files of one model",
        )
    return ids_of_headers(ids), np.stack(vectors)


def is_tensors(source: PathLike) -> bool:
    """Return whether a file was written by `torch.save`."""
    try:
        with zipfile.ZipFile(source) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def read_tensors(source: PathLike) -> tuple[list[str], npt.NDArray[Any]]:
    """Return ids and vectors (n, D) of a file with a dictionary: `ids` and `embeddings`, or one vector per sequence.

    Raises:
        BadInputError: the file is damaged, contains objects other than tensors, numbers and strings, or has another
            structure.
    """
    import torch

    note_input(source)
    record = _load(Path(source))
    arrays = {
        str(key): value.detach().cpu().float().numpy() if isinstance(value, torch.Tensor) else np.array(value)
        for key, value in record.items()
        if isinstance(value, torch.Tensor) or (isinstance(value, list) and all(isinstance(part, str) for part in value))
    }
    return vectors_of_arrays(arrays, str(source), "save {'ids': [...], 'embeddings': tensor} with torch.save")


def _load(path: Path) -> dict[str, Any]:
    import torch

    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError, KeyError, TypeError, AttributeError,
            IndexError, AssertionError, OverflowError, MemoryError, ImportError, struct.error) as error:  # fmt: skip
        raise BadInputError(
            f"{path} cannot be read as tensors",
            why=str(error).split("\n", 1)[0][:200],
            fix="only tensors, numbers and texts are loaded; write the file again with ESM's extract.py",
        ) from error
    if not isinstance(record, dict):
        raise BadInputError(
            f"{path} contains no representations",
            why="it is not written by ESM's extract.py",
            fix="give the files that ESM's extract.py writes with --include mean or per_tok",
        )
    return record


def _vector(record: dict[str, Any], path: Path) -> FloatArray:
    import torch

    for key in ("mean_representations", "representations"):
        layers = record.get(key)
        if not isinstance(layers, dict) or not layers or not all(isinstance(layer, int) for layer in layers):
            continue
        last = layers[max(layers)]
        if isinstance(last, torch.Tensor) and last.is_floating_point() and last.numel() and last.ndim in (1, 2):
            values = np.asarray(last.detach().float().numpy(), dtype=np.float32)
            return values if values.ndim == 1 else values.mean(axis=0)
    raise BadInputError(
        f"{path} contains no representations",
        why=f"its entries are {', '.join(map(str, list(record)[:6]))}",
        fix="run ESM's extract.py with --include mean",
    )
