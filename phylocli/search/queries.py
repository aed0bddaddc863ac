"""Queries of a search: sequences, embedded by the model of the targets, or a table of embeddings of the same model."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli import models
from phylocli.checkpoints import store
from phylocli.core import console
from phylocli.core.errors import BadInputError, PhylocliError, ServiceError, UsageError
from phylocli.formats import Sequences, as_sequences
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.nucleotides import TRANSLATE, NucleotideCheck
from phylocli.formats.provenance import sidecar_path
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.parts import is_parts
from phylocli.search.database import FloatArray, unit

if TYPE_CHECKING:
    from phylocli.embed import Embedder

logger = logging.getLogger(__name__)

MODEL = "phylocli.model"
SMOOTHING = "phylocli.smoothing"
"""Metadata of tables that `phylocli smooth` made: its settings, as JSON."""


@dataclass
class Queries:
    """The queries of a search.

    Attributes:
        ids: the ids of the n queries.
        vectors: unit vectors (n, D).
        letters: the unaligned sequences; None if the queries are a table of embeddings.
    """

    ids: list[str]
    vectors: FloatArray
    letters: list[str] | None = None


def embed_queries(source: Sequences, embedder: Embedder, genetic_code: int | None = None) -> Queries:
    """Embed sequences, from memory or a file, as queries; with a genetic code, coding DNA is translated first.

    Raises:
        BadInputError: there are no sequences, or they cannot be read.
    """
    check = NucleotideCheck(embedder.model.alphabet, TRANSLATE)
    found = list(check.sequences(as_sequences(source, embedder.model.alphabet, genetic_code)))
    if not found:
        raise BadInputError("there are no queries", fix="give at least one sequence")
    letters = [sequence.residues for sequence in found]
    with (
        console.progress_task("embedding queries", sum(map(len, letters)), unit="residues") as bar,
        embedder.reporting(bar.advance),
    ):
        vectors = unit(embedder.pooled(letters))
    return Queries([sequence.id for sequence in found], vectors, letters)


def table_queries(found: EmbeddingTable, table: EmbeddingTable) -> Queries:
    """Return the rows of the table `found` as queries for a search of `table`.

    Raises:
        BadInputError: the tables differ in model, smoothing, layer or number of features.
    """
    for key, noun in ((MODEL, "model"), ("phylocli.layer", "layer")):
        theirs, ours = found.metadata.get(key), table.metadata.get(key)
        if theirs != ours and SMOOTHING in {*found.metadata, *table.metadata} and key == MODEL:
            unknown = next((of.name for of in (found, table) if MODEL not in of.metadata), None)
            raise BadInputError(
                f"{found.name} and {table.name} have not been smoothed among the same embeddings in the same way",
                why=f"{unknown} does not record it: Parquet and Arrow do" if unknown else None,
                fix="smooth both: 'phylocli smooth TARGETS', and 'phylocli smooth QUERIES --among TARGETS' (not smoothed)",
            )
        if theirs and ours and theirs != ours:
            raise BadInputError(
                f"{found.name} and {table.name} come from different {noun}s",
                why=f"{noun} {theirs[:12]} and {ours[:12]}: their embeddings cannot be compared",
                fix="embed both with one model",
            )
    if found.dimension != table.dimension:
        raise BadInputError(
            f"{found.name} has {found.dimension} features, {table.name} {table.dimension}", fix="embed both with one model"
        )
    return Queries(found.ids, found.numpy())


def embedder_of(table: EmbeddingTable, model: PathLike | None = None, device: str = "auto") -> Embedder:
    """Return an embedder with the model, pooling, layer and precision of a table.

    Raises:
        UsageError: `model` is not the model of the table, or no available model has the recorded fingerprint.
        BadInputError: the table does not record its model and `model` is None, or the model has another dimension.
    """
    import torch

    from phylocli.embed import Embedder, untrained, with_pooling
    from phylocli.models.device import choose_device

    wanted = table.metadata.get(MODEL)
    if SMOOTHING in table.metadata:
        raise UsageError(
            f"{table.name} has been smoothed, and sequences have not",
            fix="embed the sequences, then smooth them among the table as it was before: phylocli smooth --among TABLE",
        )
    place = choose_device(device)
    if wanted is None and model is not None:
        loaded = models.load(model)
        if loaded.dimension != table.dimension:
            raise BadInputError(
                f"{table.name} has {table.dimension} features, embeddings of {model} have {loaded.dimension}",
                fix="name the model that made the table with --model",
            )
        logger.warning(f"{table.name} does not record its model; embedding sequences with {model}")
        return Embedder(loaded.to(place))
    if wanted is None:
        raise BadInputError(
            f"{table.name} does not record its model, so sequences cannot be embedded for the search",
            fix="name the model with --model, or write the table as Parquet or Arrow, which record it",
        )
    precision = torch.bfloat16 if table.metadata.get("phylocli.precision") == "bf16" else None
    tried = []
    for name in [model] if model is not None else candidates(table):
        try:
            loaded = models.load(name)
            identity = f"{name} is {loaded.fingerprint[:12]}"  # as 'models show' prints it
            if "phylocli.untrained_seed" in table.metadata:
                loaded = untrained(loaded, int(table.metadata["phylocli.untrained_seed"]))
                identity += f", {loaded.fingerprint[:12]} with the table's random weights"
            if loaded.config.pooling != (pooling := table.metadata.get("phylocli.pooling", loaded.config.pooling)):
                loaded = with_pooling(loaded, pooling)
                identity += f", {loaded.fingerprint[:12]} with the table's pooling ({pooling})"
        except PhylocliError as error:
            if model is not None:
                raise
            if isinstance(error, ServiceError):  # the model of the table, which has to be downloaded
                tried.append(error.what + (f" ({error.why})" if error.why else ""))
            continue
        tried.append(identity)
        if loaded.fingerprint == wanted:
            layer = int(table.metadata["phylocli.layer"]) if "phylocli.layer" in table.metadata else None
            loaded.precision = precision  # as the table's, whose model it was
            return Embedder(loaded.to(place), layer)
    raise UsageError(
        f"{table.name} was embedded by a model with the fingerprint {wanted[:12]}, which "
        + (f"{model} is not" if model is not None else "cannot be found"),
        why="; ".join(tried) or None,
        fix="name its folder with --model" if model is None else "name the model that made the table, or embed it again",
    )


def candidates(table: EmbeddingTable) -> Iterator[PathLike]:
    """Yield candidates for the model of a table: its source on the hub, the model in its provenance, then all available
    models of phylocli."""
    if "phylocli.source" in table.metadata:
        source = table.metadata["phylocli.source"]
        identity = store.parse_id(source)
        if identity is not None and store.locate(identity) is None:
            logger.info(f"downloading {source}, the model of {table.name}")
        yield source
    path = Path(table.name)
    records = sorted(path.glob("provenance-*.json")) if is_parts(path) else [sidecar_path(path)]
    for record in records[:1]:
        if record.is_file():
            try:
                yield str(json.loads(record.read_text(encoding="utf-8"))["parameters"]["model"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # an invalid provenance record
    for entry in models.available():
        if not models.is_checkpoint(entry.folder):  # they are large, and named in the table's metadata
            yield entry.folder
