"""Distance matrices: patristic, evolutionary, or between embeddings; written as square matrices or tables of pairs."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.config.distances import DistancesConfig
from phylocli.core.alphabet import encode_states
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats import read_families, stem
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings, unit
from phylocli.formats.family import Family, check_tips
from phylocli.formats.input_formats import NEWICK, sniff_file
from phylocli.formats.output_formats import format_by_suffix
from phylocli.formats.streams import STDIO, PathLike, open_text_output
from phylocli.formats.tables import TableWriter, distances_schema, parse_format
from phylocli.formats.tree import Tree
from phylocli.formats.tree_files import read_trees

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

SQUARE = ("tsv", "phylip")
"""Formats for a single square matrix; the others are tables of pairs, for any number of families."""
FORMATS = (*SQUARE, "csv", "parquet", "arrow")
_SUFFIXES = {
    ".tsv": "tsv", ".txt": "tsv", ".phy": "phylip", ".phylip": "phylip", ".dist": "phylip", ".csv": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip


@dataclass(frozen=True)
class DistanceMatrix:
    """Distances between the members of a family, or between embeddings.

    Attributes:
        name: the name of the family or table.
        ids: the ids of rows and columns, (n,).
        values: the distances (n, n), symmetric, 0 on the diagonal; NaN for pairs with too few common columns.
        metric: `patristic` or `evolutionary`, both in expected substitutions per site, or `cosine`: 1 − cosine, 0 to 2.

    Examples:
        >>> import numpy as np
        >>> phylocli.DistanceMatrix("PF1", ["a", "b"], np.array([[0, 0.5], [0.5, 0]]), "patristic").to_polars().rows()
        [('PF1', 'a', 'b', 0.5)]
    """

    name: str
    ids: list[str]
    values: npt.NDArray[np.float64]
    metric: str

    def to_polars(self) -> pl.DataFrame:
        """Return the pairs (i < j) as a frame of `tables.distances_schema`."""
        import polars as pl

        i, j = np.triu_indices(len(self.ids), 1)
        names = np.array(self.ids, dtype=object)
        columns = {"id_a": names[i].tolist(), "id_b": names[j].tolist(), "distance": self.values[i, j]}
        schema = {"id_a": pl.String, "id_b": pl.String, "distance": pl.Float64}
        return pl.DataFrame(columns, schema=schema).select(pl.lit(self.name).alias("family"), *schema)


def distances(
    source: PathLike | EmbeddingTable | Iterable[Family] | None, config: DistancesConfig | None = None, **options: Any
) -> Iterator[DistanceMatrix]:
    """Yield the distance matrix of each family or tree, or of a table of embeddings.

    Args:
        source: families, embeddings, or a file of either or of Newick trees; `-`/None is standard input, which must contain
            families.
        config: options; may also be given as keywords.
        **options: fields of `DistancesConfig`.

    Raises:
        UsageError: the metric does not apply to the input, or the model is unknown.
        BadInputError: a family is not aligned, or has no tree; a tree has no branch lengths.

    Examples:
        >>> family = phylocli.Family(["a", "b"], ["MKVLAGIVAGDE", "MKVLAGIVSGDE"])
        >>> matrix = next(phylocli.distances([family], model="p"))
        >>> matrix.ids, matrix.values.round(3).tolist()
        (['a', 'b'], [[0.0, 0.083], [0.083, 0.0]])
    """
    config = DistancesConfig.of(config, options)
    table: EmbeddingTable | None = source if isinstance(source, EmbeddingTable) else None
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        is_file = str(source) != STDIO
        form = sniff_file(source) if is_file else None  # type: ignore[arg-type]
        if form is NEWICK:
            yield from _of_trees(source, config)  # type: ignore[arg-type]
            return
        if form is not None and form.holds in ("table", "vectors"):
            table = read_embeddings(source, config.column_options)  # type: ignore[arg-type]
        else:
            source = read_families(source)  # type: ignore[arg-type]
    elif source is None:
        source = read_families(None)
    if table is not None:
        if config.metric not in ("auto", "cosine"):
            raise UsageError(f"embeddings have no {config.metric} distance", fix="omit --metric, or give families")
        yield DistanceMatrix(table.title, table.ids, _cosine_distances(table), "cosine")
        return
    for family in source:  # type: ignore[union-attr]
        yield _of_family(family, config)  # type: ignore[arg-type]


def _of_trees(source: PathLike, config: DistancesConfig) -> Iterator[DistanceMatrix]:
    if config.metric not in ("auto", "patristic"):
        raise UsageError(f"a tree has no {config.metric} distances", fix="omit --metric, or give an alignment or embeddings")
    for number, tree in enumerate(read_trees(source), 1):
        yield _patristic(f"{stem(source)}_{number}" if number > 1 else stem(source), tree, tree.tip_names())


def _patristic(name: str, tree: Tree, ids: list[str]) -> DistanceMatrix:
    from phylocli.tree.comparison.compare import tip_distances

    check_tips(tree.tip_names(), list(dict.fromkeys(ids)), name)
    if np.isnan(tree.length[1:]).all():
        raise BadInputError(
            f"the tree of {name} has no branch lengths", fix="give a tree with lengths, as 'phylocli tree' infers"
        )
    return DistanceMatrix(name, ids, tip_distances(tree, ids), "patristic")


def _cosine_distances(table: EmbeddingTable) -> npt.NDArray[np.float64]:
    vectors = unit(table.numpy()).astype(np.float64)
    found = np.clip(1 - vectors @ vectors.T, 0, 2)
    np.fill_diagonal(found, 0)
    return np.asarray((found + found.T) / 2)


def _of_family(family: Family, config: DistancesConfig) -> DistanceMatrix:
    metric = ("patristic" if family.has_tree else "evolutionary") if config.metric == "auto" else config.metric
    if metric == "cosine":
        raise UsageError("cosines need embeddings", fix="run 'phylocli embed', and give its table")
    if metric == "patristic":
        return _patristic(family.label, family.require_tree(), family.ids)
    from phylocli.tree import distance_matrix

    family = family.as_aligned()
    states = encode_states(family.rows)
    if config.columns == "match":
        states = states[:, family.match_columns()]
    found = distance_matrix(states, model=config.model, alpha=config.alpha, min_overlap=config.min_overlap)
    undefined = int(np.isnan(found).sum()) // 2
    if undefined:
        logger.warning(f"{family.label}: {counted(undefined, 'pair')} with fewer than {config.min_overlap} common columns")
    return DistanceMatrix(family.label, family.ids, found.astype(np.float64), metric)


def distances_format(target: PathLike | None, format: str | None) -> str:
    """Return the output format: `format` if given, else by the suffix; TSV for standard output.

    Raises:
        UsageError: the format is unknown.
    """
    if format is None:
        return format_by_suffix(target, _SUFFIXES, "tsv", what="distances", otherwise="--format")
    if format not in FORMATS:
        raise UsageError(f"unknown format of distances {format!r}", fix=f"known: {', '.join(FORMATS)}")
    return format


def write_distances(matrices: Iterable[DistanceMatrix], target: PathLike | None, format: str | None = None) -> int:
    """Write matrices; return their number.

    Args:
        matrices: the matrices, from `distances`.
        target: a path, or `-`/None for standard output.
        format: `tsv` (a square matrix with a header of ids), `phylip` (a square PHYLIP matrix), or a table of pairs: `csv`,
            `parquet`, `arrow`. None: by the suffix.

    Raises:
        UsageError: the format is unknown, or there are several families but the format is a square matrix.
        BadInputError: the format is PHYLIP, and a pair has no distance.
    """
    chosen = distances_format(target, format)
    if chosen not in SQUARE:
        count = 0
        with TableWriter(target, distances_schema(), parse_format(chosen)) as table:
            for count, matrix in enumerate(matrices, 1):  # noqa: B007
                table.write(matrix.to_polars())
        return count
    found = list(islice(matrices, 2))
    if len(found) > 1:
        raise UsageError(
            f"{chosen} stores one matrix, but there are several families",
            fix="write pairs (-o distances.csv), or give one family",
        )
    with open_text_output(target) as stream:
        for matrix in found:
            (_write_phylip if chosen == "phylip" else _write_tsv)(matrix, stream)
    return len(found)


def _write_tsv(matrix: DistanceMatrix, stream: IO[str]) -> None:
    stream.write("\t".join(["id", *matrix.ids]) + "\n")
    for name, row in zip(matrix.ids, matrix.values.tolist(), strict=True):
        stream.write("\t".join([name, *("NA" if math.isnan(value) else f"{value:.6g}" for value in row)]) + "\n")


def _write_phylip(matrix: DistanceMatrix, stream: IO[str]) -> None:
    if np.isnan(matrix.values).any():
        raise BadInputError(
            f"{matrix.name}: PHYLIP cannot represent pairs without a distance", fix="write TSV, or lower --min-overlap"
        )
    stream.write(f"{len(matrix.ids)}\n")
    width = max(10, *(len(name) for name in matrix.ids))
    for name, row in zip(matrix.ids, matrix.values.tolist(), strict=True):
        stream.write(f"{name:<{width}} {' '.join(f'{value:.6f}' for value in row)}\n")
