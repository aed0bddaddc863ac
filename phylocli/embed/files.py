"""Files of sequences → tables of embeddings, with what the table must say of its model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli import console, models
from phylocli.embed.embedder import embed_residues, embed_sequences, with_pooling
from phylocli.embed.embedder import untrained as random_weights
from phylocli.encoders import Model, choose_device
from phylocli.formats import Sequence, read_sequences
from phylocli.formats.fasta import OnDuplicate
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import TableFormat, TableWriter, embeddings_schema, residues_schema

if TYPE_CHECKING:
    import pyarrow as pa


def _vectors(values: npt.NDArray[np.float32], half: bool) -> pa.FixedSizeListArray:
    import pyarrow as pa

    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float16) if half else flat), values.shape[1])


def _counted(sequences: Iterator[Sequence], advance: console.ProgressTask) -> Iterator[Sequence]:
    for sequence in sequences:
        yield sequence
        advance.advance()


def table_metadata(model: Model, layer: int | None) -> dict[str, str]:
    """Return what an embedding table says of itself in its schema: model fingerprint, encoder, pooling, layer, version."""
    from phylocli import __version__

    return {
        "phylocli.version": __version__,
        "phylocli.model": model.fingerprint,
        "phylocli.encoder": str(model.config["encoder"]),
        "phylocli.pooling": str(model.config["pooling"]),
        "phylocli.layer": str(model.depth if layer is None else layer),
    }


def embed_file(
    source: PathLike | None,
    output: PathLike | None,
    *,
    model: PathLike | Model | None = None,
    pool: str | None = None,
    per_residue: bool = False,
    layer: int | None = None,
    device: str = "auto",
    batch_tokens: int = 0,
    half: bool = False,
    format: TableFormat | None = None,
    on_duplicate: OnDuplicate = "error",
    untrained: int | None = None,
    threads: int = 0,
) -> int:
    """Embed the sequences of a file or pipe and write them as a table; return how many there were.

    Args:
        source: FASTA or Stockholm, compressed or not; `-`/None is standard input.
        output: table, its format by suffix; `-`/None is standard output (TSV unless `format` says otherwise).
        model: name or folder of a model (`phylocli.models.find`), a model, or None for `default`.
        pool: another pooling than the model's own (`mean`, `max`, `first`).
        per_residue: one row a residue (`tables.residues_schema`) instead of one a sequence.
        layer: take residues after this layer, 0 … depth; None is the last.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_tokens: tokens computed at once; 0 takes what suits the device. It does not change the result.
        half: write float16 (half the size; relative precision 2⁻¹¹).
        format: `tsv`, `csv`, `parquet` or `arrow`; None takes it from the suffix.
        on_duplicate: what to do with an id that was there before.
        untrained: use the model's architecture with random weights of this seed: the baseline.
        threads: CPU threads; 0 leaves torch's own choice.

    Raises:
        UsageError: no model, layer, pooling or device of that name.
        BadInputError: no sequences, letters that are none, duplicate ids, a damaged model.
    """
    import pyarrow as pa
    import torch

    if threads:
        torch.set_num_threads(threads)
    place = choose_device(device)
    named = "given" if isinstance(model, Model) else str(model if model is not None else models.DEFAULT)
    loaded = model if isinstance(model, Model) else models.load(model)
    if untrained is not None:
        loaded = random_weights(loaded, untrained)
    loaded = with_pooling(loaded, pool).to(place)
    metadata = table_metadata(loaded, layer)
    if untrained is not None:
        metadata["phylocli.untrained_seed"] = str(untrained)
    schema_of = residues_schema if per_residue else embeddings_schema
    schema = schema_of(loaded.dimension, half=half, metadata=metadata)
    count = 0
    with console.progress_task("embedding", unit="sequences") as bar, TableWriter(output, schema, format) as writer:
        sequences = _counted(read_sequences(source, on_duplicate=on_duplicate), bar)
        if per_residue:
            for sequence, values in embed_residues(sequences, loaded, layer=layer, batch_tokens=batch_tokens):
                length = len(sequence.residues)
                columns = [
                    pa.array([sequence.id] * length),
                    pa.array(np.arange(1, length + 1, dtype=np.int32)),
                    pa.array(list(sequence.residues)),
                    _vectors(values, half),
                ]
                writer.write(pa.Table.from_arrays(columns, schema=schema))
                count += 1
        else:
            for ids, lengths, values in embed_sequences(sequences, loaded, layer=layer, batch_tokens=batch_tokens):
                columns = [pa.array(ids), pa.array(lengths, pa.int32()), _vectors(values, half)]
                writer.write(pa.Table.from_arrays(columns, schema=schema))
                count += len(ids)
    parameters = {
        "model": named,
        "fingerprint": loaded.fingerprint,
        "pool": loaded.config["pooling"],
        "layer": layer,
        "per_residue": per_residue,
        "half": half,
        "device": str(place),
        "batch_tokens": batch_tokens,
    }
    write_sidecar(output, "embed", parameters, untrained)
    if output is not None and str(output) != STDIO:
        console.info(f"{count:,} sequences, {loaded.dimension} features each: {output}")
    return count
