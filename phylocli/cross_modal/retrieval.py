"""Search across modalities: by text, or by values of another modality than the table's, in a joint space."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phylocli.config.search import SearchConfig
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.core.plugins import MODALITIES
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.embed.modalities import JOINT, MODALITY, embed_values, read_values
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import TableWriter, format_of, hits_schema
from phylocli.models.device import choose_device
from phylocli.models.multimodal import MultimodalModel
from phylocli.search.database import open_table
from phylocli.search.exact import nearest
from phylocli.search.queries import MODEL, candidates

if TYPE_CHECKING:
    import polars as pl

    from phylocli.search.pipeline import HitsFormat

logger = logging.getLogger(__name__)


def multimodal_of(table: EmbeddingTable, model: PathLike | None = None) -> MultimodalModel:
    """Return the model of several modalities to which the vectors of a table belong.

    Args:
        table: of joint vectors, or of embeddings by the model of a modality.
        model: its name or folder; None: found by the table's provenance and among the available ones.

    Raises:
        UsageError: `model` is another one, or none is found.
    """
    tried = []
    for name in [model] if model is not None else candidates(table):
        try:
            found = MultimodalModel.load(name)
        except PhylocliError:
            if model is not None:
                raise
            continue
        if _modality_of(table, found) is not None:
            return found
        tried.append(str(name))
    raise UsageError(
        f"{table.name} was not embedded by {model if model is not None else 'a model of several modalities that is known'}",
        why=f"the fingerprints differ ({', '.join(tried)})" if tried else None,
        fix="name the model of a run with --modalities (--model run/model), and embed the table with it",
    )


def _modality_of(table: EmbeddingTable, model: MultimodalModel) -> str | None:
    """Return the modality of a table's rows; None if the table is not of this model."""
    if JOINT in table.metadata:
        return table.metadata.get(MODALITY) if table.metadata[JOINT] == model.fingerprint else None
    layer = table.metadata.get("phylocli.layer")
    for name in model.modalities:
        tower = model.tower(name)
        if tower.fingerprint == table.metadata.get(MODEL) and layer in (None, str(tower.depth)):
            return name
    return None


def joint_table(table: EmbeddingTable, model: MultimodalModel) -> EmbeddingTable:
    """Return a table's rows in the joint space, unit vectors (n, E)."""
    import numpy as np

    if JOINT in table.metadata:
        return table
    modality = _modality_of(table, model)
    assert modality is not None
    vectors = np.empty((len(table), model.dimension), dtype=np.float32)
    for start, block in table.blocks():
        vectors[start : start + len(block)] = model.joint(modality, block)
    return EmbeddingTable(table.name, table.ids, model.dimension, vectors=vectors, unit=True)


def search_across(
    queries: PathLike | Sequence[str],
    targets: PathLike | EmbeddingTable,
    config: SearchConfig | None = None,
    *,
    modality: str | None = None,
    model: PathLike | MultimodalModel | None = None,
    **options: Any,
) -> pl.DataFrame:
    """Search a table by queries of another modality.

    Args:
        queries: texts, or the path of a file that `read_values` reads.
        targets: embeddings by the model of a modality, or joint vectors (`phylocli embed --modality`).
        config: options; may also be given as keywords.
        modality: of the queries; None: `text`.
        model: of several modalities; None: found by the table.

    Returns:
        The columns of `tables.hits_schema()`, without E-values; `query` is the text or the id.

    Raises:
        UsageError: options of alignments, E-values, graphs or translation; or a model that has no such modality, or is not
            the table's.
        BadInputError: a file cannot be read, or a value is not of the modality.

    Examples:
        >>> from phylocli.models.multimodal import MultimodalModel, tower
        >>> model = MultimodalModel({name: tower(name) for name in ("sequence", "text")}, 16).eval()
        >>> table = phylocli.embed.Embedder(model.core).embed("examples/globins.fasta")
        >>> phylocli.cross_modal.retrieval.search_across(["oxygen transport"], table, model=model, number=2).height
        2
    """
    import polars as pl

    given = SearchConfig.of(config, options)
    used = ("number", "best", "min_cosine", "exclude_self", "device", "threads", "features", "id_column")
    given.refuse_unused(used, "cross-modal search")
    limit_threads(given.threads)
    name = MODALITIES.current(modality or "text")
    table = open_table(targets, given.column_options)
    loaded = model if isinstance(model, MultimodalModel) else multimodal_of(table, model)
    if _modality_of(table, loaded) is None:
        raise BadInputError(f"{table.name} was embedded by another model", fix="embed it with this model")
    loaded.to(choose_device(given.device))
    loaded.tower(name)
    texts = None if isinstance(queries, str) or not isinstance(queries, Sequence) else list(queries)
    ids, values = (texts, texts) if texts is not None else read_values(queries, name)  # type: ignore[arg-type]
    asked = embed_values(loaded, name, ids, values)
    logger.info(f"{counted(len(ids), 'query')} of {name} against {counted(len(table), 'row')}")
    own = None
    if given.exclude_self:
        import numpy as np

        at = {row: k for k, row in enumerate(table.ids)}
        own = np.array([at.get(query, -1) for query in ids], dtype=np.int64)
    found = nearest(asked.numpy(), joint_table(table, loaded), given.nearest, leave_out=own)
    rows = [
        (ids[query], table.ids[row], rank + 1, round(float(cosine), 6), None)
        for query in range(len(ids))
        for rank, (row, cosine) in enumerate(zip(found.rows[query].tolist(), found.cosines[query].tolist(), strict=True))
        if row >= 0 and (given.min_cosine is None or cosine >= given.min_cosine)
    ]
    empty = pl.from_arrow(hits_schema().empty_table())
    assert isinstance(empty, pl.DataFrame)
    return pl.DataFrame(rows, schema=empty.schema, orient="row")


def search_across_file(
    queries: PathLike | Sequence[str],
    targets: PathLike,
    output: PathLike | None = None,
    config: SearchConfig | None = None,
    *,
    modality: str | None = None,
    model: PathLike | None = None,
    format: HitsFormat | None = None,
) -> int:
    """Search a table by queries of another modality, write the hits, and return their number; see `search_across`."""
    if format == "m8":
        raise UsageError("hits across modalities are not aligned, so that there is no BLAST output", fix="use --format tsv")
    format = format or format_of(output)
    hits = search_across(queries, targets, config, modality=modality, model=model)
    with TableWriter(output, hits_schema(), format) as writer:
        writer.write(hits)
    asked = str(queries) if isinstance(queries, str) or not isinstance(queries, Sequence) else list(queries)
    of_search = {"queries": asked, "targets": str(targets), "model": str(model or ""), "modality": modality or "text"}
    write_sidecar(output, "search", {**SearchConfig.of(config, {}).to_parameters(), **of_search})
    if output is not None and str(output) != STDIO:
        logger.info(f"{counted(hits.height, 'hit')}: {output}")
    return hits.height
