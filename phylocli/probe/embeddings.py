"""Tables of embeddings from anywhere, the format known by content."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.errors import BadInputError
from phylocli.formats.fasta import shorten
from phylocli.formats.parts import is_parts, part_files
from phylocli.formats.streams import PathLike, display_name, note_input
from phylocli.formats.tables import read_parquet_metadata, read_table
from phylocli.probe.esm import is_folder, read_folder
from phylocli.probe.residue_vectors import ResidueTable, ResidueVectors

if TYPE_CHECKING:
    import polars as pl

IntArray = npt.NDArray[np.int64]

ID_COLUMNS = ("id", "ids", "name", "names", "accession", "protein", "sequence_id", "identifier")
VECTOR_COLUMNS = ("embedding", "embeddings", "vector", "vectors", "representation", "x")


@dataclass
class Embedding:
    """A table of embeddings.

    Attributes:
        name: how the report calls it.
        ids: one a row, unique.
        vectors: shape (n, D), float32.
        source: where it came from: a file's name, or what was computed.
        metadata: what the file says of itself (model fingerprint, pooling, layer).
        baseline: whether it was computed here to compare with.
        residues: gives the embeddings of residues, where there are any; `vectors` are then their means.
        only_residues: whether the vectors of whole sequences are no concern (another embedding has the same).
        search: scores of rows against rows, for a baseline that searches and has no vectors.
    """

    name: str
    ids: list[str]
    vectors: npt.NDArray[np.float32]
    source: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    baseline: bool = False
    residues: ResidueVectors | None = None
    only_residues: bool = False
    search: Callable[[IntArray, IntArray], npt.NDArray[np.float32]] | None = None

    def aligned_to(self, ids: SequenceOf[str]) -> Embedding:
        """Return the embedding with exactly these rows in this order."""
        at = {name: row for row, name in enumerate(self.ids)}
        rows = np.array([at[name] for name in ids], dtype=np.int64)
        return replace(self, ids=list(ids), vectors=self.vectors[rows])

    def unit_rows(self) -> npt.NDArray[np.float32]:
        """Return the vectors scaled to length 1 (zero vectors stay zero), shape (n, D)."""
        norm = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return np.asarray(self.vectors / np.where(norm > 0, norm, 1), dtype=np.float32)

    def similarity(self, targets: IntArray) -> Callable[[IntArray], npt.NDArray[np.float32]]:
        """Return a function from rows (queries,) to their similarity with `targets`, (queries, targets): the cosine.

        A baseline that searches gives the scores of its hits instead, −inf where there is none.
        """
        if self.search is not None:
            search = self.search
            return lambda queries: search(queries, targets)
        unit = self.unit_rows()
        columns = unit[targets].T
        return lambda queries: unit[queries] @ columns


def id_column(frame: pl.DataFrame, name: str) -> str:
    """Return the name of the column of ids: a known name, else the first column if it is text.

    Raises:
        BadInputError: there is none.
    """
    import polars as pl

    by_lower = {column.lower(): column for column in reversed(frame.columns)}
    for wanted in ID_COLUMNS:
        if wanted in by_lower:
            return by_lower[wanted]
    first = frame.columns[0]
    if frame.schema[first] in (pl.String, pl.Categorical):
        return first
    raise BadInputError(
        f"{name} has no column of ids",
        why=f"its columns are {', '.join(frame.columns[:12])}",
        fix=f"name the column of ids 'id' (also known: {', '.join(ID_COLUMNS[1:])})",
    )


def _vectors_of(frame: pl.DataFrame, id_column: str, name: str) -> npt.NDArray[np.float32]:
    import polars as pl

    lists = [c for c, kind in frame.schema.items() if isinstance(kind, (pl.List, pl.Array))]
    chosen = next((c for wanted in VECTOR_COLUMNS for c in frame.columns if c.lower() == wanted), None)
    column = chosen if chosen is not None else (lists[0] if len(lists) == 1 else None)
    if column is None:
        numeric = [c for c, kind in frame.schema.items() if c != id_column and kind.is_numeric() and c.lower() != "length"]
        if not numeric:
            raise BadInputError(
                f"{name} has no embeddings",
                why=f"its columns are {', '.join(frame.columns[:12])}",
                fix="give a list column 'embedding', or one numeric column a dimension",
            )
        return frame.select(pl.col(numeric).cast(pl.Float32)).to_numpy()
    series = frame[column]
    if series.dtype == pl.String:  # the TSV form: numbers with blanks (or commas, brackets) between them
        series = (
            series.str.strip_chars("[] ")
            .str.replace_all(",", " ")
            .str.split(" ")
            .list.eval(pl.element().filter(pl.element() != "").cast(pl.Float32, strict=False))
        )
    lengths = series.list.len() if isinstance(series.dtype, pl.List) else None
    if lengths is not None:
        if lengths.n_unique() != 1 or lengths[0] in (None, 0):
            raise BadInputError(
                f"{name}: the embeddings have different lengths ({lengths.min()!s} to {lengths.max()!s})",
                fix="pool them to one vector a sequence first (phylocli embed without --per-residue)",
            )
        series = series.cast(pl.List(pl.Float32)).list.to_array(int(lengths[0]))
    assert isinstance(series.dtype, pl.Array)
    return np.ascontiguousarray(series.cast(pl.Array(pl.Float32, series.dtype.shape)).to_numpy(), dtype=np.float32)


def _from_npz(source: PathLike) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read an NPZ archive: one array of ids and one of embeddings, or one vector a sequence under its id."""
    import zipfile

    name = str(source)
    note_input(source)
    try:
        with np.load(source, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BadInputError(
            f"{name} cannot be read as NPZ",
            why=str(error),
            fix="arrays of Python objects are never unpickled: save ids as text (np.array(ids, dtype=str))",
        ) from error
    ids_key = next((k for k in arrays if k.lower() in ID_COLUMNS), None)
    vectors_key = next((k for k in arrays if k.lower() in VECTOR_COLUMNS and arrays[k].ndim == 2), None)
    if ids_key is not None and vectors_key is None:
        vectors_key = next((k for k, array in arrays.items() if array.ndim == 2), None)
    if ids_key is not None and vectors_key is not None:
        if len(arrays[ids_key]) != len(arrays[vectors_key]):
            raise BadInputError(f"{name}: {len(arrays[ids_key])} ids and {len(arrays[vectors_key])} embeddings")
        return [str(i) for i in arrays[ids_key]], arrays[vectors_key].astype(np.float32)
    if arrays and all(array.ndim == 1 for array in arrays.values()) and len({a.shape for a in arrays.values()}) == 1:
        return list(arrays), np.stack(list(arrays.values())).astype(np.float32)
    raise BadInputError(
        f"{name} holds no embeddings that can be read",
        why=f"its arrays are {', '.join(f'{k} {a.shape}' for k, a in list(arrays.items())[:6])}",
        fix="give arrays 'ids' (n,) and 'embeddings' (n, D), or one vector a sequence under its id",
    )


def _from_hdf5(source: PathLike) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read an HDF5 file with one dataset a sequence, as bio_embeddings and UniProt write it."""
    try:
        import h5py
    except ImportError as error:
        from phylocli.errors import MissingDependencyError

        raise MissingDependencyError(f"{source} is HDF5, and h5py is not installed", fix="pip install h5py") from error
    note_input(source)
    with h5py.File(source, "r") as file:
        ids = [str(data.attrs.get("original_id", key)) for key, data in file.items() if hasattr(data, "shape")]
        arrays = [np.asarray(data) for data in file.values() if hasattr(data, "shape")]
    if not arrays or any(a.ndim != 1 for a in arrays) or len({a.shape for a in arrays}) != 1:
        raise BadInputError(
            f"{source} does not hold one vector a sequence",
            why="datasets must be one-dimensional and of one length",
            fix="pool residues to one vector a sequence (in bio_embeddings: the reduced embeddings file)",
        )
    return ids, np.stack(arrays).astype(np.float32)


def _from_parts(source: PathLike) -> tuple[list[str], npt.NDArray[np.float32], dict[str, str]]:
    """Read a folder of parts, as `phylocli embed -o FOLDER/` writes it."""
    import polars as pl

    found = part_files(source)
    if _holds_residues(found[0]):
        raise BadInputError(
            f"{source} holds embeddings of residues in parts",
            fix="write them as one table ('phylocli embed --per-residue -o residues.parquet')",
        )
    for path in found:
        note_input(path)
    frames = [pl.read_parquet(path, columns=["id", "embedding"]) for path in found]
    vectors = np.concatenate([_vectors_of(frame, "id", str(source)) for frame in frames])
    return [name for frame in frames for name in frame["id"].to_list()], vectors, read_parquet_metadata(found[0])


def _holds_residues(source: PathLike) -> bool:
    import pyarrow.parquet as pq

    return {"position", "residue"} <= set(pq.read_schema(source).names)


def read_embeddings(source: PathLike, name: str | None = None) -> Embedding:
    """Read a table of embeddings, the format known by its content.

    Parquet, Arrow, TSV or CSV with a column of ids and either a list column (`embedding`) or one numeric column a
    dimension; NPZ with `ids` and `embeddings`, or one vector a sequence; HDF5 with one dataset a sequence (needs h5py); a
    folder of parts as `phylocli embed -o FOLDER/` writes it, or of `.pt` files as ESM's extraction script does.

    Args:
        source: the file, or `-` for standard input.
        name: how the report calls it; None takes the file's name without suffixes.

    Raises:
        BadInputError: not such a table, duplicate ids, vectors of different lengths, values that are not finite.
        MissingDependencyError: HDF5 without h5py.
    """
    shown = display_name(source)
    residues: ResidueTable | None = None
    title = name or ("embedding" if shown == "standard input" else Path(source).name.split(".", 1)[0])
    metadata: dict[str, str] = {}
    head = b""
    if shown != "standard input" and Path(source).is_file():
        with Path(source).open("rb") as handle:
            head = handle.read(8)
    if isinstance(source, (str, Path)) and is_parts(source):
        ids, vectors, metadata = _from_parts(source)
    elif isinstance(source, (str, Path)) and is_folder(Path(source)):
        ids, vectors = read_folder(Path(source))
    elif head.startswith(b"PK\x03\x04"):
        ids, vectors = _from_npz(source)
    elif head.startswith(b"\x89HDF"):
        ids, vectors = _from_hdf5(source)
    elif head.startswith(b"PAR1") and _holds_residues(source):
        note_input(source)
        residues = ResidueTable(source)
        ids, vectors = residues.pooled()
        metadata = read_parquet_metadata(source)
    else:
        frame = read_table(source)
        if frame.height == 0:
            raise BadInputError(f"{shown} holds no rows")
        column = id_column(frame, shown)
        if "position" in frame.columns and "residue" in frame.columns:
            raise BadInputError(
                f"{shown} holds embeddings of residues in a format that must be read whole",
                fix="write them as Parquet ('phylocli embed --per-residue -o residues.parquet')",
            )
        import polars as pl

        ids = frame[column].cast(pl.String).to_list()
        vectors = _vectors_of(frame, column, shown)
        if head.startswith(b"PAR1"):
            metadata = read_parquet_metadata(source)
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise BadInputError(f"{shown}: the id {shorten(str(twice))!r} occurs twice", fix="keep one row an id")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        at = int(np.flatnonzero(~finite)[0])
        raise BadInputError(
            f"{shown}: the embedding of {shorten(str(ids[at]))!r} holds values that are not numbers",
            why=f"{int((~finite).sum())} of {len(ids)} rows are not finite",
        )
    return Embedding(title, ids, vectors, shown, metadata, residues=residues)
