"""Embeddings of residues: read from a table as they are needed, or one-hot as a baseline."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phylocli import alphabet
from phylocli.formats.streams import PathLike

FloatArray = npt.NDArray[np.float32]


class ResidueVectors(Protocol):
    """Gives the embeddings of the residues of some sequences."""

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return one array (L, D) for each id, residues in order."""


@dataclass
class ResidueTable:
    """A Parquet table of `tables.residues_schema`, of which only the rows that are asked for are held in memory."""

    path: PathLike

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return one array (L, D) for each id, in the order of positions."""
        import polars as pl

        scan = pl.scan_parquet(str(self.path)).filter(pl.col("id").is_in(list(ids)))
        frame = scan.select("id", "position", "embedding").sort("id", "position").collect()
        width = frame.schema["embedding"]
        assert isinstance(width, pl.Array)
        values = frame["embedding"].cast(pl.Array(pl.Float32, width.shape)).to_numpy()
        found: dict[str, FloatArray] = {}
        names = frame["id"].to_numpy()
        edges = [*np.flatnonzero(np.r_[True, names[1:] != names[:-1]]).tolist(), len(names)] if len(names) else [0]
        for start, stop in pairwise(edges):
            found[str(names[start])] = values[start:stop]
        return [found[name] for name in ids]

    def pooled(self) -> tuple[list[str], FloatArray]:
        """Return all ids in the order of the table and the mean of each one's residues, (n, D); batch by batch."""
        import pyarrow.parquet as pq

        sums: dict[str, npt.NDArray[np.float64]] = {}
        counts: dict[str, int] = {}
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(columns=["id", "embedding"], batch_size=65_536):
                names = np.array(batch.column("id").to_pylist(), dtype=object)
                column = batch.column("embedding")
                values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1).astype(np.float64)
                edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
                totals = np.add.reduceat(values, edges, axis=0)
                sizes = np.diff(np.r_[edges, len(names)])
                for name, total, size in zip(names[edges], totals, sizes, strict=True):
                    sums[name] = sums[name] + total if name in sums else total
                    counts[name] = counts.get(name, 0) + int(size)
        return list(sums), np.stack([sums[n] / counts[n] for n in sums]).astype(np.float32)


@dataclass
class OneHot:
    """One-hot residues with their neighbours: what a probe knows without any embedding.

    Attributes:
        sequences: letters by id.
        window: residues that are seen, odd: 1 is the residue alone. Each gives 21 features (20 amino acids, unknown); beyond
            the ends all are 0.
    """

    sequences: dict[str, str]
    window: int = 1

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return one array (L, 21 · window) for each id."""
        half = self.window // 2
        found = []
        for name in ids:
            states = alphabet.encode_states([self.sequences[name]])[0]
            hot = np.zeros((len(states) + 2 * half, alphabet.MISSING + 1), dtype=np.float32)
            hot[np.arange(half, half + len(states)), states] = 1
            found.append(np.concatenate([hot[k : k + len(states)] for k in range(self.window)], axis=1))
        return found
