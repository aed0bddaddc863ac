"""Values of a modality → vectors in the joint space of a model of several modalities."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from phylocli.config.embed import EmbedConfig
from phylocli.core.alphabet import degap
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import MODALITIES
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.embed.embedder import Embedder
from phylocli.embed.inputs import Sources, expand
from phylocli.formats import read_sequences
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.input_formats import sniff_file
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike, at_rest, display_name
from phylocli.formats.tables import EMBEDDINGS, TableFormat, format_of, read_table
from phylocli.modalities import columns_of
from phylocli.models.device import choose_device
from phylocli.models.multimodal import MultimodalModel

logger = logging.getLogger(__name__)

JOINT, MODALITY = "phylocli.joint", "phylocli.modality"
"""Metadata of a table of joint vectors: the fingerprint of the model, and what was embedded."""


def read_values(source: PathLike, modality: str) -> tuple[list[str], list[object]]:
    """Return ids and values of a modality, from a column of a table, or from FASTA or another format of sequences.

    Raises:
        BadInputError: the file cannot be read, has no such column, no values, or ids that are not unique.
    """
    with at_rest(source) as path:
        ids, values = _read_values(path, modality)
    check_ids(ids)
    return ids, values


def _read_values(source: PathLike, modality: str) -> tuple[list[str], list[object]]:
    shown = display_name(source)
    if Path(source).is_file() and sniff_file(source).holds == "sequences":
        plugin = MODALITIES.load(modality)
        alphabet = getattr(plugin, "ALPHABET", "")
        if not alphabet and not getattr(plugin, "PER_RESIDUE", False):
            raise BadInputError(
                f"{shown} is {sniff_file(source).phrase}, which has no {modality}",
                fix=f"give a table with a column {columns_of(modality)[0]}",
            )
        # Gaps are states of some modalities, and letters are checked by the modality that reads them.
        found = list(read_sequences(source, letters="dna" if alphabet == "dna" else "protein", checked=False))
        return [s.id for s in found], [s.residues for s in found]
    import polars as pl

    frame = read_table(source)
    column = next((name for name in columns_of(modality) if name in frame.columns), None)
    if column is None:
        raise BadInputError(
            f"{shown} has no column {columns_of(modality)[0]}",
            why=f"it has {', '.join(frame.columns[:12])}",
            fix="rename the column, or give FASTA",
        )
    frame = frame.with_row_index("\0row", offset=1).filter(pl.col(column).is_not_null())
    rows, values = frame["\0row"].to_list(), frame[column].to_list()
    names = frame["id"].to_list() if "id" in frame.columns else rows
    if not values:
        raise BadInputError(f"{shown} has no values of {modality}", fix="check the file")
    for row, name in zip(rows, names, strict=True):
        if name is None or not str(name).strip():
            raise BadInputError(f"{shown}, row {row} has no id", fix="give each row an id, or leave out the column id")
    return [str(name) for name in names], values


def check_ids(ids: Sequence[str]) -> None:
    """Raise a BadInputError if an id is there more than once."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise BadInputError(f"the id {name!r} is there more than once", fix="give each value its own id, in all inputs")
        seen.add(name)


def embed_values(model: MultimodalModel, modality: str, ids: Sequence[str], values: Sequence[object]) -> EmbeddingTable:
    """Return the joint vectors of values, of length 1.

    Raises:
        UsageError: the model has no such modality.
        BadInputError: a value is not of this modality; the message names its id.
    """
    tower = model.tower(modality)
    for name, value in zip(ids, values, strict=True):
        model.parse(modality, value, name)
    if tower.config.modality:
        vectors = model.embed(modality, values)
    else:  # sequences: long ones in windows, equal ones once
        vectors = model.joint(modality, Embedder(tower).pooled([degap(str(value)) for value in values]))
    metadata = {JOINT: model.fingerprint, MODALITY: modality}
    return EmbeddingTable(modality, list(ids), model.dimension, metadata=metadata, vectors=vectors, unit=True)


def embed_modality_file(
    source: Sources,
    output: PathLike | None,
    modality: str,
    config: EmbedConfig | None = None,
    *,
    model: PathLike | None,
    format: TableFormat | None = None,
) -> int:
    """Embed the values of files and write a table of joint vectors; return their number.

    Raises:
        UsageError: the model has no such modality, or an option that is for sequences only.
        BadInputError: a file cannot be read, an id is missing or there twice, or a value is not of this modality.
    """
    given = EmbedConfig.of(config, {})
    given.refuse_unused(("device", "threads"), "embedding another modality")
    format = format or format_of(output, known=EMBEDDINGS)
    if model is None:
        raise UsageError("--modality needs a model of several modalities", fix="name it with --model run/model")
    MODALITIES.load(modality)
    limit_threads(given.threads)
    name, loaded = MODALITIES.current(modality), MultimodalModel.load(model, choose_device(given.device))
    loaded.tower(name)  # whether there is one, before anything is read
    parts = [read_values(STDIO if path is None else path, name) for path in expand(source)]
    ids, values = [x for part in parts for x in part[0]], [x for part in parts for x in part[1]]
    check_ids(ids)
    table = embed_values(loaded, name, ids, values)
    table.write(STDIO if output is None else output, format)
    write_sidecar(output, "embed", {**given.to_parameters(), "model": str(model), "modality": name})
    if output is not None and str(output) != STDIO:
        logger.info(f"{counted(len(ids), 'value')} of {name}, {loaded.dimension} joint features: {output}")
    return len(ids)
