"""Values of a modality → vectors in the joint space of a model of several modalities."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.embed.embedder import Embedder
from phylocli.embed.inputs import Sources, expand
from phylocli.formats import read_sequences
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.input_formats import sniff_file
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import read_table
from phylocli.modalities import columns_of
from phylocli.models.multimodal import MultimodalModel

logger = logging.getLogger(__name__)

JOINT, MODALITY = "phylocli.joint", "phylocli.modality"
"""Metadata of a table of joint vectors: the fingerprint of the model, and what was embedded."""


def read_values(source: PathLike, modality: str) -> tuple[list[str], list[object]]:
    """Return ids and values of a modality, from a column of a table, or from FASTA or another format of sequences.

    Raises:
        BadInputError: the file cannot be read, has no such column, no values, or ids that are not unique.
    """
    ids: list[str]
    values: list[object]
    if str(source) != STDIO and Path(source).is_file() and sniff_file(source).holds == "sequences":
        found = list(read_sequences(source))
        ids, values = [s.id for s in found], [s.residues for s in found]
    else:
        frame = read_table(source)
        column = next((name for name in columns_of(modality) if name in frame.columns), None)
        if column is None:
            raise BadInputError(
                f"{source} has no column {columns_of(modality)[0]}",
                why=f"it has {', '.join(frame.columns[:12])}",
                fix="rename the column, or give FASTA",
            )
        frame = frame.drop_nulls(column)
        values = frame[column].to_list()
        ids = frame["id"].cast(str).to_list() if "id" in frame.columns else [str(k + 1) for k in range(frame.height)]
    if not ids:
        raise BadInputError(f"{source} has no values of {modality}", fix="check the file")
    if len(set(ids)) < len(ids):
        twice = next(name for k, name in enumerate(ids) if name in ids[:k])
        raise BadInputError(f"{source} has the id {twice!r} more than once", fix="give each row its own id")
    return ids, values


def embed_values(model: MultimodalModel, modality: str, ids: Sequence[str], values: Sequence[object]) -> EmbeddingTable:
    """Return the joint vectors of values, of length 1.

    Raises:
        UsageError: the model has no such modality.
        BadInputError: a value is not of this modality; the message names its id.
    """
    tower = model.tower(modality)
    if tower.config.modality:
        for name, value in zip(ids, values, strict=True):
            model.parse(modality, value, name)
        vectors = model.embed(modality, values)
    else:  # sequences: long ones in windows, equal ones once
        vectors = model.joint(modality, Embedder(tower).pooled([str(value) for value in values]))
    metadata = {JOINT: model.fingerprint, MODALITY: modality}
    return EmbeddingTable(modality, list(ids), model.dimension, metadata=metadata, vectors=vectors, unit=True)


def embed_modality_file(source: Sources, output: PathLike | None, modality: str, model: PathLike | None) -> int:
    """Embed the values of files and write a table of joint vectors; return their number.

    Raises:
        UsageError: the model has no such modality.
        BadInputError: a file cannot be read, or a value is not of this modality.
    """
    from phylocli.core.plugins import MODALITIES

    if model is None:
        raise UsageError("--modality needs a model of several modalities", fix="name it with --model run/model")
    MODALITIES.load(modality)
    name, loaded = MODALITIES.current(modality), MultimodalModel.load(model)
    parts = [read_values(STDIO if path is None else path, name) for path in expand(source)]
    ids, values = [x for part in parts for x in part[0]], [x for part in parts for x in part[1]]
    table = embed_values(loaded, name, ids, values)
    table.write(STDIO if output is None else output)
    write_sidecar(output, "embed", {"model": str(model), "modality": name})
    if output is not None and str(output) != STDIO:
        logger.info(f"{counted(len(ids), 'value')} of {name}, {loaded.dimension} joint features: {output}")
    return len(ids)
