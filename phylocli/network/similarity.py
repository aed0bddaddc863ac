"""Edges of a similarity network: from cosines of embeddings, from their E-values, or from alignments."""

from __future__ import annotations

import logging
from collections.abc import Sequence as SequenceOf

import numpy as np
import numpy.typing as npt

from phylocli.config.network import NetworkConfig
from phylocli.config.search import SearchConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.networks import Network, ranks
from phylocli.search import PreparedTable
from phylocli.search.background import Background
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.evalues import Floats, cosine_cutoffs
from phylocli.search.exact import SCALE, nearest
from phylocli.search.rerank import Reranking

logger = logging.getLogger(__name__)

BLOCK = 2_048
"""Rows of a block of the matrix of cosines."""

MOST_EDGES = 20_000_000
"""Maximum number of edges: too loose a threshold is an error before the memory is full."""

QUERIES = 512
"""Nodes whose E-values are computed at once."""

_ROUNDING = 2.0 / SCALE


def edges_by_embedding(targets: PreparedTable, config: NetworkConfig) -> Network:
    """Join proteins by the cosines of their embeddings, and by E-values.

    An E-value depends on which protein is the query; that of an edge is the smaller of the two.

    Args:
        targets: the embeddings.
        config: `max_evalue`, `min_cosine` and `neighbours`.

    Raises:
        BadInputError: E-values are needed, but there are none, or there are more than `MOST_EDGES` edges.
    """
    table = targets.table
    vectors, count = table.numpy(), len(table)
    background = targets.background
    if background is None and config.max_evalue is not None:
        raise BadInputError(
            "there are no E-values to compare with --max-evalue",
            why=targets.why_no_evalues or None,
            fix="use --min-cosine or -k; or, if the table has not been smoothed, name the model that made it with --model",
        )
    if config.neighbours is not None:
        found = nearest(vectors, table, config.neighbours, leave_out=np.arange(count))
        a, place = np.nonzero(found.rows >= 0)
        b, cosines = found.rows[a, place], found.cosines[a, place].astype(np.float64)
    else:
        cutoffs = np.full(count, -1.0 if config.min_cosine is None else config.min_cosine)
        if config.max_evalue is not None and background is not None:
            log_p = -np.inf if config.max_evalue == 0 else float(np.log(config.max_evalue / count))
            cutoffs = np.maximum(cutoffs, cosine_cutoffs(vectors, log_p, background.vectors))
        a, b, cosines = pairs_above(vectors, cutoffs - _ROUNDING)
    attributes = {"cosine": cosines}
    if background is not None:
        attributes["evalue"] = _evalues(vectors, background, a, b, cosines)
    return Network.of(table.name, table.ids, a, b, attributes)


def pairs_above(vectors: FloatArray, cutoffs: Floats) -> tuple[IntArray, IntArray, Floats]:
    """Return all pairs of rows i < j whose cosine is at least the smaller of their cutoffs: i, j and the cosines, (m,) each.

    Time is O(n² · D), memory O(n · D + m).

    Args:
        vectors: unit vectors (n, D).
        cutoffs: smallest cosine of each row, (n,).

    Raises:
        BadInputError: there are more than `MOST_EDGES` pairs.
    """
    limits = cutoffs.astype(np.float32)
    found: list[tuple[IntArray, IntArray, FloatArray]] = []
    total = 0
    with console.progress_task("comparing", len(vectors) * (len(vectors) + 1) // 2, unit="comparisons") as bar:
        for start in range(0, len(vectors), BLOCK):
            rows = vectors[start : start + BLOCK]
            for other in range(start, len(vectors), BLOCK):
                columns = vectors[other : other + BLOCK]
                cosines = np.round(np.clip(rows @ columns.T, -1, 1) * SCALE) / np.float32(SCALE)
                least = np.minimum(limits[start : start + BLOCK, None], limits[None, other : other + BLOCK])
                keep = cosines >= least
                if other == start:
                    keep = np.triu(keep, 1)
                i, j = np.nonzero(keep)
                found.append((i + start, j + other, cosines[i, j]))
                total += len(i)
                if total > MOST_EDGES:
                    raise BadInputError(
                        f"there are more than {MOST_EDGES:,} edges",
                        fix="use a stricter threshold, or join each protein with its K nearest only (-k)",
                    )
                bar.advance(len(rows) * len(columns) if other > start else len(rows) * (len(rows) + 1) // 2)
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    i, j, cosines = (np.concatenate(part) for part in zip(*found, strict=True))
    return i, j, cosines.astype(np.float64)


def _evalues(vectors: FloatArray, background: Background, a: IntArray, b: IntArray, cosines: Floats) -> Floats:
    """Return the smaller E-value of each pair, (m,): of a as the query, or of b."""
    query, pair = np.r_[a, b], np.tile(np.arange(len(a)), 2)
    order = np.argsort(query, kind="stable")
    query, pair = query[order], pair[order]
    found = np.full(len(a), np.inf)
    starts = np.searchsorted(query, np.arange(len(vectors) + 1))
    for first in range(0, len(vectors), QUERIES):
        nodes = np.arange(first, min(first + QUERIES, len(vectors)))
        degree = np.diff(starts[first : nodes[-1] + 2])
        if not degree.any():
            continue
        padded = np.full((len(nodes), degree.max()), -np.inf)
        known = np.arange(degree.max()) < degree[:, None]
        part = pair[starts[first] : starts[nodes[-1] + 1]]
        padded[known] = cosines[part]
        log_p = background.log_p_values(vectors[nodes], padded.astype(np.float32))[known]
        np.minimum.at(found, part, len(vectors) * np.exp(log_p))
    return found


def edges_by_alignment(targets: PreparedTable, letters: SequenceOf[str], config: NetworkConfig) -> Network:
    """Join proteins by alignments of each with the `config.nearest` proteins nearest to it by embedding.

    Each pair is aligned once; the query is the protein that comes first in the table. Attributes of an edge are those of the
    best alignment: `bits` and `identity`, the fraction of identical columns; `evalue` is the one by which `search` ranks.

    Args:
        targets: the embeddings.
        letters: the unaligned sequences in the order of the table.
        config: see `NetworkConfig`.

    Returns:
        All pairs with an alignment; with the additional attribute `identical`, the number of identical columns divided by
        the length of the shorter sequence.
    """
    table = targets.table
    vectors = table.numpy()
    found = nearest(vectors, table, config.nearest, leave_out=np.arange(len(table)))
    query, place = np.nonzero(found.rows >= 0)
    network = Network.of(
        table.name, table.ids, query, found.rows[query, place], {"cosine": found.cosines[query, place].astype(np.float64)}
    )
    given = SearchConfig(align=config.align, rerank=config.rerank, number=config.nearest)
    residues = dict(zip(table.ids, letters, strict=True))
    reranking = Reranking(given, targets.residue_alignment if config.rerank else None, residues, len(table))
    values = {name: np.full(len(network.ends), np.nan) for name in ("evalue", "bits", "identity", "identical")}
    starts = np.searchsorted(network.ends[:, 0], np.arange(len(table) + 1))
    with console.progress_task("aligning", len(network.ends), unit="pairs") as bar:
        for node in range(len(table)):
            edges = np.arange(starts[node], starts[node + 1])
            if len(edges):
                others = [table.ids[other] for other in network.ends[edges, 1]]
                ranked = reranking(letters[node], vectors[node], others)
                for rank, index in enumerate(ranked.order.tolist()):
                    if ranked.alignments[rank]:
                        best = ranked.alignments[rank][0]
                        edge, shorter = edges[index], min(len(letters[node]), len(residues[others[index]]))
                        values["evalue"][edge] = ranked.scores[reranking.evalue][rank]
                        values["bits"][edge] = best.bits
                        values["identity"][edge] = best.identity
                        values["identical"][edge] = best.identical / shorter
            bar.advance(len(edges))
    aligned = np.isfinite(values["identity"])
    attributes = {**network.attributes, **values}
    return Network(network.name, network.ids, network.ends, attributes).where(aligned)


def within(network: Network, config: NetworkConfig, number: int | None = None) -> Network:
    """Return the edges of a network that are within the thresholds, and of these the best `number` of each node.

    An edge is kept if it is among the best of one of its nodes, see `formats.networks.ranks`.

    Args:
        network: the network.
        config: the thresholds.
        number: None: all edges within them.

    Raises:
        UsageError: a threshold is given for an attribute that the edges lack.
    """
    limits: tuple[tuple[str, float | None, bool], ...] = (
        ("evalue", config.max_evalue, True),
        ("cosine", config.min_cosine, False),
        ("bits", config.min_bits, False),
        ("identity", config.min_identity, False),
    )
    keep: npt.NDArray[np.bool_] = np.ones(len(network.ends), dtype=np.bool_)
    for name, limit, at_most in limits:
        if limit is None:
            continue
        values = network.attributes.get(name)
        if values is None or (len(values) and not np.isfinite(values).any()):
            option = f"--{'max' if at_most else 'min'}-{name}"
            fix = "align the sequences with --align, or leave the option out" if name in ("bits", "identity") else None
            has = ", ".join(network.attributes) or "none"
            raise UsageError(
                f"{option} needs edges with {name}", why=f"their attributes: {has}", fix=fix or "use another threshold"
            )
        keep &= values <= limit if at_most else values >= limit - (_ROUNDING if name == "cosine" else 0)
    found = network.where(keep)
    return found if number is None or not len(found.ends) else found.where(_best(found, number))


def _best(network: Network, number: int) -> npt.NDArray[np.bool_]:
    """Return which edges are among the best `number` of one of their nodes, (m,)."""
    node = network.ends.ravel()
    order = np.lexsort([np.repeat(ranks(network.attributes, len(network.ends)), 2), node])
    first = np.searchsorted(node[order], node[order])
    keep: npt.NDArray[np.bool_] = np.zeros(len(network.ends), dtype=np.bool_)
    keep[order[np.arange(len(order)) - first < number] // 2] = True
    return keep
