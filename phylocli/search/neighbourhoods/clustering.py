"""Clustering of embeddings, by a cosine threshold or into a given number of clusters, with representatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.config.cluster import ClusterConfig
from phylocli.core.errors import UsageError
from phylocli.core.threads import limit_threads
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings, unit
from phylocli.formats.streams import PathLike

if TYPE_CHECKING:
    import polars as pl

MIN_COSINE = 0.8
_BLOCK = 4_096
"""Rows per block of the cosine matrix."""

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def cluster_embeddings(
    embeddings: PathLike | EmbeddingTable | None, config: ClusterConfig | None = None, **options: Any
) -> pl.DataFrame:
    """Cluster embeddings; return one row per embedding: `id`, `cluster`, `representative`, `cosine`.

    By threshold, the clustering is a greedy set cover, as in MMseqs2 with `--cluster-mode 0` (Steinegger & Söding 2018,
    doi:10.1038/s41467-018-04964-5): repeatedly, the unassigned embedding with the most neighbours within the threshold
    becomes a representative and covers them; then each embedding is assigned to its most similar representative. By number,
    it is k-means on unit vectors; the representative is the member nearest to the mean. The result does not depend on the
    order of the rows; ties between representatives are broken by id.

    Args:
        embeddings: an `EmbeddingTable`, or anything that `read_embeddings` reads.
        config: options; may also be given as keywords.
        **options: fields of `ClusterConfig`.

    Returns:
        A frame of `tables.clusters_schema`, in the order of the table; cluster 1 is the largest.

    Raises:
        UsageError: `number` is larger than the number of embeddings.
        BadInputError: the input is not a table of embeddings.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> clusters = phylocli.cluster_embeddings(table, min_cosine=0.5)
        >>> bool((clusters["cosine"] >= 0.4999).all()), clusters["cluster"].n_unique() < len(clusters)
        (True, True)
    """
    import polars as pl

    config = ClusterConfig.of(config, options)
    limit_threads(config.threads)
    table = embeddings if isinstance(embeddings, EmbeddingTable) else read_embeddings(embeddings, config.column_options)
    vectors = unit(table.numpy())
    ids = np.array(table.ids)
    if config.number is not None:
        if config.number > len(ids):
            raise UsageError(f"{config.number} clusters of {len(ids)} embeddings", fix="ask for fewer with -k")
        representatives, assigned = _by_number(vectors, ids, config.number, config.seed)
    else:
        threshold = MIN_COSINE if config.min_cosine is None else config.min_cosine
        representatives = _by_threshold(vectors, ids, threshold)
        assigned = _nearest(vectors, representatives)
    sizes = np.bincount(assigned, minlength=len(representatives))
    order = np.lexsort((ids[representatives], -sizes))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(1, len(order) + 1)
    chosen = representatives[assigned]
    cosine = np.einsum("nd,nd->n", vectors, vectors[chosen]).clip(-1, 1)
    cosine[representatives] = 1  # exactly, whatever the rounding
    return pl.DataFrame(
        {"id": ids.tolist(), "cluster": number[assigned], "representative": ids[chosen].tolist(), "cosine": cosine}
    )


def _by_threshold(vectors: FloatArray, ids: npt.NDArray[np.str_], threshold: float) -> IntArray:
    """Return the rows of the representatives of a greedy set cover."""
    degree = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        degree[start : start + _BLOCK] = (vectors[start : start + _BLOCK] @ vectors.T >= threshold).sum(axis=1)
    free = np.ones(len(vectors), dtype=bool)
    found = []
    for row in np.lexsort((ids, -degree)).tolist():
        if free[row]:
            found.append(row)
            rest = np.flatnonzero(free)
            free[rest[vectors[rest] @ vectors[row] >= threshold]] = False
            free[row] = False
    return np.array(found, dtype=np.int64)


def _nearest(vectors: FloatArray, representatives: IntArray) -> IntArray:
    """Return the index of the most similar representative of each row; a representative is assigned to itself."""
    found = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        found[start : start + _BLOCK] = (vectors[start : start + _BLOCK] @ vectors[representatives].T).argmax(axis=1)
    found[representatives] = np.arange(len(representatives))
    return found


def _by_number(vectors: FloatArray, ids: npt.NDArray[np.str_], number: int, seed: int) -> tuple[IntArray, IntArray]:
    """Return the members nearest to the centroids of k-means, and the cluster of each row."""
    from sklearn.cluster import KMeans

    order = np.argsort(ids)  # the result must not depend on the order of the rows
    model = KMeans(number, n_init=4, random_state=seed).fit(vectors[order])
    _, labels = np.unique(model.labels_, return_inverse=True)  # with equal embeddings, clusters may be empty
    assigned = np.empty(len(ids), dtype=np.int64)
    assigned[order] = labels
    representatives = []
    for label in range(int(labels.max()) + 1):
        members = order[labels == label]
        representatives.append(members[np.argmax(vectors[members] @ vectors[members].mean(axis=0))])
    return np.array(representatives, dtype=np.int64), assigned
