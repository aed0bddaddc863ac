"""Sequences → rows, for a single table and for a folder of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.embed.embedder import Embedder, embed_residues, embed_sequences, table_metadata
from phylocli.embed.families import embed_families, embed_family_residues, residues_of
from phylocli.formats import Sequence
from phylocli.formats.family import Family
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.tables import embeddings_schema, residues_schema
from phylocli.models.model import Model

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 65_536
"""Number of residue rows written at a time."""

PER_FAMILY = "phylocli.per_family"
"""Metadata of tables with one row per family: how members were averaged."""

HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Tabulator:
    """Computes rows of embeddings.

    Attributes:
        model: on its device.
        layer: use residues after this layer; None is the last.
        per_residue: one row per residue (`tables.residues_schema`) instead of one per sequence.
        per_family: one row per family, the mean of its members, or with `per_residue` per residue of its first member.
        half: float16.
        max_tokens: maximum number of tokens per batch; 0 chooses by device.
        untrained: seed of the model's random weights, if it is untrained.
    """

    model: Model
    layer: int | None = None
    per_residue: bool = False
    half: bool = False
    max_tokens: int = 0
    untrained: int | None = None
    per_family: bool = False

    @property
    def dimension(self) -> int:
        """Number of features of a sequence's embedding, or of a residue's."""
        return int(self.model.encoder.dimension) if self.per_residue else self.model.dimension_of(self.layer)

    @property
    def metadata(self) -> dict[str, str]:
        """The table's metadata."""
        found = table_metadata(self.model, self.layer)
        if self.untrained is not None:
            found["phylocli.untrained_seed"] = str(self.untrained)
        if self.per_family:
            found[PER_FAMILY] = "mean"
        return found

    def schema(self, **more: str) -> pa.Schema:
        """Return the table's schema; `more` is added to its metadata under `phylocli.`."""
        metadata = {**self.metadata, **{f"phylocli.{key}": value for key, value in more.items()}}
        schema_of = residues_schema if self.per_residue else embeddings_schema
        return schema_of(self.dimension, half=self.half, metadata=metadata)

    def tables(
        self, sequences: Iterable[Sequence], on_batch: Callable[[int], None] | None = None
    ) -> Iterator[tuple[pa.Table, int, int]]:
        """Yield (rows, number of sequences, number of residues) in input order, in bounded memory.

        Args:
            sequences: unaligned and checked.
            on_batch: called with the number of residues of each batch that has been computed.

        Raises:
            BadInputError: embeddings that are not finite, or do not fit float16 if requested.
        """
        return (self._residues if self.per_residue else self._sequences)(sequences, on_batch)

    def family_tables(
        self, families: Iterable[Family], on_batch: Callable[[int], None] | None = None
    ) -> Iterator[tuple[pa.Table, int, int]]:
        """Yield (rows, number of families, number of residues of all members) of families; otherwise as `tables`."""
        embedder = Embedder(self.model, self.layer, self.max_tokens, on_batch=on_batch)
        if self.per_residue:
            found = (
                (first, values, residues_of(family))
                for family in families
                for first, values in embed_family_residues([family], embedder)
            )
            yield from self._residue_rows(found)
            return
        schema = self.schema()
        for names, lengths, values, residues in embed_families(families, embedder):
            yield sequence_rows(names, lengths, values, schema, half=self.half), len(names), residues

    def _sequences(
        self, sequences: Iterable[Sequence], on_batch: Callable[[int], None] | None
    ) -> Iterator[tuple[pa.Table, int, int]]:
        schema = self.schema()
        blocks = embed_sequences(sequences, self.model, layer=self.layer, max_tokens=self.max_tokens, on_batch=on_batch)
        for ids, lengths, values in blocks:
            yield sequence_rows(ids, lengths, values, schema, half=self.half), len(ids), sum(lengths)

    def _residues(
        self, sequences: Iterable[Sequence], on_batch: Callable[[int], None] | None
    ) -> Iterator[tuple[pa.Table, int, int]]:
        found = embed_residues(sequences, self.model, layer=self.layer, max_tokens=self.max_tokens, on_batch=on_batch)
        yield from self._residue_rows((sequence, values, len(values)) for sequence, values in found)

    def _residue_rows(
        self, found: Iterable[tuple[Sequence, npt.NDArray[np.float32], int]]
    ) -> Iterator[tuple[pa.Table, int, int]]:
        """Yield rows of sequences, given with the embeddings of their residues and the number of residues computed."""
        import pyarrow as pa

        schema = self.schema()
        held: list[pa.Table] = []
        count = rows = computed = 0
        for sequence, values, residues in found:
            length = len(sequence.residues)
            columns = [
                pa.array([sequence.id] * length),
                pa.array(np.arange(1, length + 1, dtype=np.int32)),
                pa.array(list(sequence.residues)),
                _vectors(values, self.half, [sequence.id] * length),
            ]
            held.append(pa.Table.from_arrays(columns, schema=schema))
            count, rows, computed = count + 1, rows + length, computed + residues
            if rows >= ROWS:
                yield pa.concat_tables(held).combine_chunks(), count, computed
                held, count, rows, computed = [], 0, 0, 0
        if held:
            yield pa.concat_tables(held).combine_chunks(), count, computed


def sequence_rows(
    ids: list[str], lengths: list[int], values: npt.NDArray[np.float32], schema: pa.Schema, *, half: bool = False
) -> pa.Table:
    """Return rows of `tables.embeddings_schema`.

    Args:
        ids, lengths: of n sequences.
        values: their embeddings, (n, D).
        schema: of the table, metadata included.
        half: float16.

    Raises:
        BadInputError: embeddings that are not finite, or do not fit float16 if requested.
    """
    import pyarrow as pa

    columns = [pa.array(ids), pa.array(lengths, pa.int32()), _vectors(values, half, ids)]
    return pa.Table.from_arrays(columns, schema=schema)


def _vectors(values: npt.NDArray[np.float32], half: bool, ids: list[str]) -> pa.FixedSizeListArray:
    """Return the column of embeddings.

    Raises:
        BadInputError: values that are not finite, or out of the range of float16.
    """
    import pyarrow as pa

    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise BadInputError(
            f"the embedding of {shorten(ids[int(np.argmax(bad))])!r} has values that are not finite",
            why=f"the model gave NaN or infinity in {int(bad.sum())} of {len(ids)} rows of this batch",
            fix="use another model, or train it again with a lower learning rate",
        )
    written = values
    if half:
        with np.errstate(over="ignore"):
            written = values.astype(np.float16)
        bad = ~np.isfinite(written).all(axis=1)
        if bad.any():
            first = int(np.argmax(bad))
            raise BadInputError(
                f"the embedding of {shorten(ids[first])!r} does not fit half precision",
                why=f"it has values of up to {np.abs(values[first]).max():.3g}; the maximum of float16 is {HALF_MAX:,.0f}",
                fix="leave out --half",
            )
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(written).reshape(-1)), values.shape[1])
