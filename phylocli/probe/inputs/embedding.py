"""An embedding under evaluation: from a table, a model or a baseline."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.probe.inputs.residue_vectors import ResidueVectors

if TYPE_CHECKING:
    from phylocli.probe.generation.sequence_sets import SequenceSet

IntArray = npt.NDArray[np.int64]


@dataclass
class Embedding:
    """An embedding under evaluation.

    Attributes:
        name: name in the report.
        ids: unique id of each row.
        vectors: vector of each sequence, shape (n, D), float32.
        source: name of the file, or a description.
        metadata: metadata of the file (model fingerprint, pooling, layer).
        baseline: whether this is a baseline.
        residues: returns residue embeddings; None if there are none. `vectors` are then their means.
        only_residues: whether to evaluate residues only, because another embedding has the same sequence vectors.
        profile: returns the log probabilities of the 20 amino acids that a model predicts for each residue of a sequence, in
            the order of `core.alphabet.AMINO_ACIDS`, shape (L, 20); None if there is no such head.
        generated: sequences that were generated, for a set of those, which has no vectors.
        search: returns scores of queries against targets, for a search program, which has no vectors.
    """

    name: str
    ids: list[str]
    vectors: npt.NDArray[np.float32]
    source: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    baseline: bool = False
    residues: ResidueVectors | None = None
    only_residues: bool = False
    profile: Callable[[str], npt.NDArray[np.float64]] | None = None
    generated: SequenceSet | None = None
    search: Callable[[IntArray, IntArray], npt.NDArray[np.float32]] | None = None

    @classmethod
    def of(cls, table: EmbeddingTable, name: str | None = None) -> Embedding:
        """Make an embedding from a table, loading its vectors; the name defaults to the name of the table's file."""
        return cls(name or table.title, table.ids, table.numpy(), table.name, table.metadata, residues=table.residues)

    def aligned_to(self, ids: SequenceOf[str]) -> Embedding:
        """Return the embedding with exactly these rows, in this order."""
        at = {name: row for row, name in enumerate(self.ids)}
        rows = np.array([at[name] for name in ids], dtype=np.int64)
        return replace(self, ids=list(ids), vectors=self.vectors[rows])

    def unit_rows(self) -> npt.NDArray[np.float32]:
        """Return the vectors scaled to length 1 (zero vectors stay zero), shape (n, D)."""
        return unit(self.vectors)

    def similarity(self, targets: IntArray) -> Callable[[IntArray], npt.NDArray[np.float32]]:
        """Return a function that maps rows, (queries,), to their cosine similarities with `targets`, (queries, targets).

        For a search program, these are the scores of its hits, and −inf for other targets.
        """
        if self.search is not None:
            search = self.search
            return lambda queries: search(queries, targets)
        unit = self.unit_rows()
        columns = unit[targets].T
        return lambda queries: unit[queries] @ columns
