"""Writing of tables of vectors as arrays: NPZ, NPY, HDF5, and PyTorch's `.pt`.

Each file contains one array per column, named in the plural: `ids` (n,), `lengths` (n,), `embeddings` (n, D), and for
residue embeddings `positions` and `residues`. HDF5 stores the metadata of the table as attributes, `.pt` as a dictionary of
strings. NPY contains `embeddings` only; the ids are written to a text file in the same folder. Vectors are buffered in a
temporary file until all rows are known, so only the other columns are held in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.streams import PACKED, PathLike, atomic_path, is_file, write_text

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = Mapping[str, npt.NDArray[Any]]


def ids_beside(path: PathLike) -> Path:
    """Return the path of the text file with the ids of an NPY file, one per line: `emb.ids.txt` for `emb.npy`."""
    return Path(path).with_suffix(".ids.txt")


def _npz(stream: BinaryIO, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    np.savez(stream, **dict(arrays))  # type: ignore[arg-type]  # no array is called allow_pickle


def _npy(stream: BinaryIO, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    np.save(stream, arrays["embeddings"])


def _hdf5(stream: BinaryIO, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    import h5py

    with h5py.File(stream, "w") as file:
        for name, values in arrays.items():
            is_text = values.dtype.kind == "U"
            kind = h5py.string_dtype() if is_text else values.dtype
            file.create_dataset(name, data=values.astype(object) if is_text else values, dtype=kind)
        file.attrs.update(metadata)


def _pt(stream: BinaryIO, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    import torch

    record: dict[str, Any] = {
        name: values.tolist() if values.dtype.kind == "U" else torch.from_numpy(values) for name, values in arrays.items()
    }
    torch.save({**record, "metadata": dict(metadata)}, stream)


WRITERS: dict[str, Callable[[BinaryIO, Arrays, Mapping[str, str]], None]] = {
    "npz": _npz,
    "npy": _npy,
    "hdf5": _hdf5,
    "pt": _pt,
}
"""Format → function that writes arrays and metadata to a stream."""


class ArrayWriter:
    """Collects a table batch by batch and writes it on `close`; nothing is written after an error.

    Args:
        target: the file, or `-` for standard output.
        schema: the columns of the table.
        vectors: the column of vectors.
        format: a key of `WRITERS`.

    Raises:
        UsageError: `target` has a compression suffix, or the format is NPY and `target` is not a file.
    """

    def __init__(self, target: PathLike, schema: pa.Schema, vectors: str, format: str) -> None:
        if Path(target).suffix.lower() in PACKED:
            raise UsageError(f"{target}: {format} is not compressed from outside", fix=f"leave out {Path(target).suffix}")
        if format == "npy" and not is_file(target):
            raise UsageError("npy needs a file: the ids are written beside it", fix="name it with -o, or choose npz")
        self._target, self._format, self._schema, self._vectors = target, format, schema, vectors
        self._width = int(schema.field(vectors).type.list_size)
        self._kind = np.dtype(schema.field(vectors).type.value_type.to_pandas_dtype())
        self._others: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> Self:
        where = Path(self._target).absolute().parent if is_file(self._target) else None
        if where is not None:
            where.mkdir(parents=True, exist_ok=True)
        # An unnamed file, which the system removes however the process ends.
        self._spool = tempfile.TemporaryFile(dir=where)
        return self

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        values = table.column(self._vectors).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        self._spool.write(np.ascontiguousarray(values, dtype=self._kind).tobytes())
        self._others.append(table.drop_columns([self._vectors]))
        self._rows += table.num_rows

    def close(self) -> None:
        """Write the file."""
        import pyarrow as pa

        self._spool.flush()
        shape = (self._rows, self._width)
        mapped: npt.NDArray[Any] = np.empty(shape, self._kind)
        if self._rows:
            mapped = np.memmap(self._spool, dtype=self._kind, mode="r+", shape=shape)
        others = pa.concat_tables(self._others) if self._others else self._schema.empty_table()
        arrays = {f"{name}s": self._array(others, name) for name in self._schema.names if name != self._vectors}
        arrays[f"{self._vectors}s"] = mapped
        metadata = {k.decode(): v.decode() for k, v in (self._schema.metadata or {}).items()}
        with atomic_path(self._target) as part:
            with part.open("w+b") as stream:
                WRITERS[self._format](stream, arrays, metadata)
            if self._format == "npy":  # only now: after an error, those of an earlier file stay beside it
                write_text(ids_beside(self._target), "".join(f"{name}\n" for name in arrays["ids"]))

    @staticmethod
    def _array(table: pa.Table, name: str) -> npt.NDArray[Any]:
        values = table.column(name).to_numpy()
        return values.copy() if values.dtype.kind in "iuf" else np.array(values.tolist(), dtype=str)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._spool.close()
