"""Named vectors in NPZ, NPY and HDF5 files: arrays `ids` and `embeddings`, or one vector per sequence."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, check_expansion, note_input
from phylocli.formats.tables.array_files import ids_beside
from phylocli.formats.tables.columns import ID_COLUMNS, VECTOR_COLUMNS

Arrays = Mapping[str, npt.NDArray[Any]]

MAX_FEATURES = 1 << 20
"""Maximum number of features of a vector; a larger shape indicates a damaged or wrong file."""

TEXT = 64
"""Bytes that a short string takes in memory."""

DAMAGE = (
    ValueError, OSError, EOFError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, OverflowError, MemoryError,
    SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Exceptions that NumPy and h5py raise for damaged files."""


def read_npz(source: PathLike) -> tuple[list[str], npt.NDArray[Any]]:
    """Read an NPZ archive with the arrays `ids` and `embeddings`, or with one vector per sequence, keyed by id.

    An NPY file is one array (n, D); its ids are the lines of a text file in the same folder (see `ids_beside`).

    Raises:
        BadInputError: the file is damaged, contains pickled objects, or has another structure.
    """
    note_input(source)
    try:
        found = np.load(source, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            return _with_ids_beside(source, found)
        with found as archive:
            assert archive.zip is not None
            check_expansion(sum(part.file_size for part in archive.zip.infolist()), Path(source).stat().st_size, str(source))
            arrays = {key: archive[key] for key in archive.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("it contains files that are not arrays")
    except DAMAGE as error:
        pickled = "allow_pickle" in str(error)
        raise BadInputError(
            f"{source} cannot be read as NPZ",
            why="it contains Python objects, which are never unpickled" if pickled else _why(error),
            fix="save ids as text (np.array(ids, dtype=str))" if pickled else "write it again with np.savez",
        ) from error
    return vectors_of_arrays(
        arrays, str(source), "give arrays 'ids' (n,) and 'embeddings' (n, D), or one vector per sequence, keyed by its id"
    )


def _with_ids_beside(source: PathLike, vectors: npt.NDArray[Any]) -> tuple[list[str], npt.NDArray[Any]]:
    beside = ids_beside(source)
    if not beside.is_file():
        raise ValueError(f"it is one array, without ids: there is no {beside.name} with one id per line")
    note_input(beside)
    return vectors_of_arrays(
        {"ids": np.array(beside.read_text("utf-8").splitlines()), "embeddings": vectors}, str(source), ""
    )


def read_hdf5(source: PathLike) -> tuple[list[str], npt.NDArray[Any]]:
    """Read an HDF5 file: one dataset per sequence, as written by bio_embeddings and UniProt, or `ids` and `embeddings`.

    The id of a dataset is its attribute `original_id`, else its path, including groups, since ids may contain `/`. Links to
    other files are not followed.

    Raises:
        BadInputError: the file is damaged, or has another structure.
    """
    import h5py

    note_input(source)
    fix = "pool residues to one vector per sequence (in bio_embeddings: the reduced embeddings file)"
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        with h5py.File(source, "r") as file:
            datasets: dict[str, Any] = {}
            file.visititems(lambda path, item: datasets.update({path: item} if isinstance(item, h5py.Dataset) else {}))
            check_expansion(sum(map(_size, datasets.values())), Path(source).stat().st_size, str(source))
            table = any(path.lower() in ID_COLUMNS and h5py.check_string_dtype(d.dtype) for path, d in datasets.items())
            for path, item in datasets.items():
                shape = item.shape or ()
                if max(shape[1:] if table else shape, default=0) > MAX_FEATURES or (len(shape) != 1 and not table):
                    why = f"the dataset {shorten(path)!r} has the shape {shape}"
                    raise BadInputError(f"{source} does not contain one vector per sequence", why=why, fix=fix)
                original = item.attrs.get("original_id")
                name = path if original is None or table else _text(original)
                if name in arrays:
                    raise BadInputError(f"{source}: the id {shorten(name)!r} occurs twice", fix="keep one dataset per id")
                arrays[name] = np.asarray(item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()])
    except DAMAGE as error:
        raise BadInputError(
            f"{source} cannot be read as HDF5", why=_why(error), fix="write or copy the file again"
        ) from error
    ids, vectors = vectors_of_arrays(arrays, str(source), fix)
    return (ids, vectors) if table else (ids_of_headers(ids), vectors)


def _size(dataset: Any) -> int:
    """Return the bytes that a dataset of an HDF5 file takes in memory; what was never written is filled with a value."""
    values = max(math.prod(dataset.shape or ()), math.prod(dataset.chunks or ()))  # a chunk is read as a whole
    return values * (TEXT if dataset.dtype.kind == "O" else dataset.dtype.itemsize)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _why(error: BaseException) -> str:
    return shorten(str(error).split("\n", 1)[0], 200) or type(error).__name__


def ids_of_headers(headers: list[str]) -> list[str]:
    """Return the part of each header before the first blank; if these are not unique, the whole headers."""
    ids = [header.split(None, 1)[0] if header.strip() else header for header in headers]
    return ids if len(set(ids)) == len(ids) else headers


def vectors_of_arrays(arrays: Arrays, name: str, fix: str) -> tuple[list[str], npt.NDArray[Any]]:
    """Return ids and vectors (n, D) from the arrays `ids` and `embeddings`, or from one vector per sequence, keyed by id.

    Args:
        arrays: the arrays of a file by name.
        name: the file, for messages.
        fix: the advice in error messages.

    Raises:
        BadInputError: the arrays have another structure, or are not numeric.
    """
    ids_key = next((k for k in arrays if k.lower() in ID_COLUMNS and arrays[k].ndim == 1), None)
    vectors_key = next((k for k in arrays if k.lower() in VECTOR_COLUMNS and arrays[k].ndim == 2), None)
    if ids_key is not None and vectors_key is None:
        vectors_key = next((k for k, array in arrays.items() if array.ndim == 2), None)
    if ids_key is not None and vectors_key is not None:
        if len(arrays[ids_key]) != len(arrays[vectors_key]):
            raise BadInputError(
                f"{name}: {len(arrays[ids_key])} ids and {len(arrays[vectors_key])} embeddings",
                fix="write one id for each row of the embeddings",
            )
        found = [_text(i) for i in arrays[ids_key]], arrays[vectors_key]
        if "positions" in arrays and found[1].dtype.kind in "fiub":  # residue embeddings: use the mean of each sequence
            found = _means(*found)
    elif arrays and all(array.ndim == 1 for array in arrays.values()) and len({a.shape for a in arrays.values()}) == 1:
        if any(array.dtype.kind not in "fiub" for array in arrays.values()):
            raise BadInputError(f"{name} contains arrays that are not numeric", fix=fix)
        found = list(arrays), np.stack(list(arrays.values()))
    else:
        shown = ", ".join(f"{shorten(k, 40)} {a.shape}" for k, a in list(arrays.items())[:6])
        raise BadInputError(f"{name} contains no readable embeddings", why=f"its arrays are {shown or 'none'}", fix=fix)
    if found[1].dtype.kind not in "fiub" or found[1].size == 0:
        raise BadInputError(f"{name} contains no readable embeddings", why="its arrays are not numeric, or empty", fix=fix)
    return found


def _means(ids: list[str], vectors: npt.NDArray[Any]) -> tuple[list[str], npt.NDArray[Any]]:
    """Return the distinct ids, in order of first occurrence, and the mean of the rows of each, (n, D)."""
    names = list(dict.fromkeys(ids))
    place = {name: row for row, name in enumerate(names)}
    rows = np.array([place[name] for name in ids], dtype=np.int64)
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, rows, vectors)
    return names, (sums / np.bincount(rows)[:, None]).astype(np.float32)


def is_npz(source: PathLike) -> bool:
    """Return whether a file is an NPZ archive, or not a ZIP archive at all; a spreadsheet is neither."""
    try:
        with zipfile.ZipFile(Path(source)) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except DAMAGE:
        return True  # an NPY file, or a damaged archive, for which NumPy raises the error
