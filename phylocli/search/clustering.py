"""Clusters of embeddings, by a threshold of cosine or by number, each with a representative."""

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
"""Rows whose cosines with all others are computed at once."""

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def cluster_embeddings(
    embeddings: PathLike | EmbeddingTable | None, config: ClusterConfig | None = None, **options: Any
) -> pl.DataFrame:
    """Group embeddings; return one row per embedding: `id`, `cluster`, `representative`, `cosine`.

    By threshold (greedy set cover, as in MMseqs2's `--cluster-mode 0`, Steinegger & Söding 2018,
    doi:10.1038/s41467-018-04964-5): the embedding with the most others within the threshold becomes a representative and
    takes them, and so on with those that are left; then each goes to its most similar representative. By number: k-means on
    vectors of length 1; the representative is the member nearest to the mean. The order of the rows does not matter to the
    threshold's clusters, except that of equally good representatives the one with the smaller id is taken.

    Args:
        embeddings: a table (see `read_embeddings`), or such an object.
        config: options; or give them as keywords.
        **options: fields of `ClusterConfig`.

    Returns:
        A frame of `tables.clusters_schema`, in the order of the table; cluster 1 is the largest.

    Raises:
        UsageError: more clusters than embeddings.
        BadInputError: not a table of embeddings.

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
    """Return the most similar representative of each row, by its place among them; of itself that is itself."""
    found = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        found[start : start + _BLOCK] = (vectors[start : start + _BLOCK] @ vectors[representatives].T).argmax(axis=1)
    found[representatives] = np.arange(len(representatives))
    return found


def _by_number(vectors: FloatArray, ids: npt.NDArray[np.str_], number: int, seed: int) -> tuple[IntArray, IntArray]:
    """Return the members nearest to the means of k-means, and the cluster of each row."""
    from sklearn.cluster import KMeans

    order = np.argsort(ids)  # so that the order of the rows does not matter
    model = KMeans(number, n_init=4, random_state=seed).fit(vectors[order])
    _, labels = np.unique(model.labels_, return_inverse=True)  # embeddings that are equal may leave clusters empty
    assigned = np.empty(len(ids), dtype=np.int64)
    assigned[order] = labels
    representatives = []
    for label in range(int(labels.max()) + 1):
        members = order[labels == label]
        representatives.append(members[np.argmax(vectors[members] @ vectors[members].mean(axis=0))])
    return np.array(representatives, dtype=np.int64), assigned
