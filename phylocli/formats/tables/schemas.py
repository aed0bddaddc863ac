"""Schemas of all tables that phylocli writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def pairs_schema() -> pa.Schema:
    """Homolog pairs: one row per pair; `distance` is patristic, expected substitutions per site.

    `relation` is `ortholog`, `paralog`, or `unknown` if the species of a sequence is unknown.
    """
    import pyarrow as pa

    name = pa.dictionary(pa.int32(), pa.string())
    text = pa.string()
    fields = [("family", name), ("clan", name), ("id_a", text), ("id_b", text), ("distance", pa.float64())]
    return pa.schema([*fields, ("relation", name), ("seq_a", text), ("seq_b", text)])


def negatives_schema() -> pa.Schema:
    """Hard negatives: one row per pair of a family and a negative, by `rank` from 1, the hardest.

    `by` is the kind of `score`: `profile` (bits), `model` (cosine), or `group` (0: both families are in one group).
    """
    import pyarrow as pa

    text = pa.string()
    fields = [("family", text), ("clan", text), ("negative", text), ("negative_clan", text), ("rank", pa.int32())]
    return pa.schema([*fields, ("score", pa.float64()), ("by", text)])


def split_schema() -> pa.Schema:
    """A split: one row per member of a family; `part` is `train`, `validation` or `test`."""
    import pyarrow as pa

    name = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([("family", name), ("clan", name), ("id", pa.string()), ("part", name)])


def embeddings_schema(dimension: int, *, half: bool = False, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Embeddings: one row per sequence; `length` is in residues."""
    import pyarrow as pa

    vector = pa.list_(pa.float16() if half else pa.float32(), dimension)
    return pa.schema([("id", pa.string()), ("length", pa.int32()), ("embedding", vector)], metadata=metadata)


def residues_schema(dimension: int, *, half: bool = False, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Embeddings per residue: one row per residue; `position` counts from 1."""
    import pyarrow as pa

    vector = pa.list_(pa.float16() if half else pa.float32(), dimension)
    fields = [("id", pa.string()), ("position", pa.int32()), ("residue", pa.string()), ("embedding", vector)]
    return pa.schema(fields, metadata=metadata)


def hits_schema(*, residues: bool = False, aligned: bool = False, smoothed: bool = False) -> pa.Schema:
    """Hits of a search: one row per query and hit, by `rank` from 1, the best; `evalue` is the E-value of the cosine.

    With `smoothed`: `smoothed`, the cosine of the smoothed embeddings. With `residues`: `residues` and `residues_evalue`,
    score and E-value of the alignment of residue embeddings. With `aligned`: `align_evalue` and `align_bits`, E-value and
    score of phmmer (null: no alignment). With both: `both_evalue`. With either, there is one row per local alignment, with
    the same rank for all alignments of a hit: `bits`, start and end in query and target (from 1, inclusive), the number of
    columns (`alignment_length`), the fraction of identical columns (`identity`), `mismatches` and `gap_openings`.
    """
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int32()
    fields = [("query", text), ("target", text), ("rank", count), ("cosine", number), ("evalue", number)]
    if smoothed:
        fields += [("smoothed", number)]
    if residues:
        fields += [("residues", number), ("residues_evalue", number)]
    if aligned:
        fields += [("align_evalue", number), ("align_bits", number)]
    if residues and aligned:
        fields += [("both_evalue", number)]
    if residues or aligned:
        fields += [("bits", number), ("query_start", count), ("query_end", count), ("target_start", count)]
        fields += [("target_end", count), ("alignment_length", count), ("identity", number)]
        fields += [("mismatches", count), ("gap_openings", count)]
    return pa.schema(fields)


def classes_schema() -> pa.Schema:
    """Classes of sequences: one row per sequence and class, by `rank` from 1; `label` may be `none of these`."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    fields = [("id", text), ("rank", pa.int32()), ("label", text), ("probability", number), ("cosine", number)]
    return pa.schema(fields)


def graph_classes_schema() -> pa.Schema:
    """Classes of graphs: one row per graph; `label` is the given class (null: none), `predicted` the most probable one.

    `probability` is that of `predicted` by the classifier, not calibrated.
    """
    import pyarrow as pa

    text = pa.string()
    return pa.schema([("id", text), ("label", text), ("predicted", text), ("probability", pa.float64())])


def members_schema() -> pa.Schema:
    """Members of families: one row per member; `from` and `to` are residues (from 1, inclusive), `score` is in bits.

    `name` is the name of the sequence in the family. `family` and `name` are null for a sequence without a family, `score`
    and `evalue` for members that were not found by a search. `group` is the representative of a member's group of close
    homologs, null if the engine makes no groups.
    """
    import pyarrow as pa

    place = [("id", pa.string()), ("from", pa.int32()), ("to", pa.int32())]
    found = [("family", pa.string()), ("score", pa.float64()), ("evalue", pa.float64()), ("name", pa.string())]
    return pa.schema([*place, *found, ("group", pa.string())])


def metrics_schema() -> pa.Schema:
    """Evaluation: one row per metric; `low` and `high` are its 95 % confidence interval, `n` the number of items."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    fields = [
        ("embedding", text),
        ("task", text),
        ("level", text),
        ("metric", text),
        ("value", number),
        ("low", number),
    ]
    return pa.schema([*fields, ("high", number), ("n", pa.int64())])


def inputs_schema() -> pa.Schema:
    """Interpretation of inputs: one row per column or group of similar columns, and one per matching of ids."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema([("table", text), ("column", text), ("taken_as", text), ("why", text)])


def benchmark_schema() -> pa.Schema:
    """Benchmark of estimators of mutual information: one row per estimator, critic and true value.

    `estimate_nats` and `sd` are mean and standard deviation over new batches of `batch_size` pairs.
    """
    import pyarrow as pa

    text, count, number = pa.string(), pa.int64(), pa.float64()
    fields = [("estimator", text), ("critic", text), ("batch_size", count), ("dimension", count)]
    return pa.schema([*fields, ("true_nats", number), ("estimate_nats", number), ("sd", number), ("transform", text)])


def summary_schema() -> pa.Schema:
    """Summary of the benchmark of estimators: bias in nats, variance and mean squared error in nats²."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    fields = [("transform", text), ("estimator", text), ("critic", text), ("true_nats", number)]
    return pa.schema([*fields, ("bias", number), ("variance", number), ("mean_squared_error", number)])


def information_schema() -> pa.Schema:
    """Estimates of mutual information: one row per estimator and critic.

    `low` and `high` are the 95 % confidence interval, `ceiling_nats` is the upper bound of the estimator (null: none),
    `control_nats` the estimate for shuffled partners, `n` the number of held-out pairs, `groups` the number of groups for
    the bootstrap, `side` whether the estimate is a `lower` or an `upper` bound or `neither`.
    """
    import pyarrow as pa

    text, count, number = pa.string(), pa.int64(), pa.float64()
    fields = [("estimator", text), ("critic", text), ("estimate_nats", number), ("low", number), ("high", number)]
    fields += [("ceiling_nats", number), ("control_nats", number), ("control_low", number), ("control_high", number)]
    return pa.schema(
        [*fields, ("n", count), ("groups", count), ("n_train", count), ("at_ceiling", pa.bool_()), ("side", text)]
    )


def usable_schema() -> pa.Schema:
    """Usable information about a class: one row per observer.

    `low` and `high` are the 95 % confidence interval, `given` the table that the information is conditional on (null: none),
    `entropy_nats` the entropy of the class frequencies, `n` the number of items, `groups` the number of groups for the
    bootstrap.
    """
    import pyarrow as pa

    text, count, number = pa.string(), pa.int64(), pa.float64()
    fields = [("observer", text), ("given", text), ("usable_nats", number), ("low", number), ("high", number)]
    return pa.schema([*fields, ("entropy_nats", number), ("n", count), ("groups", count)])


def pointwise_schema() -> pa.Schema:
    """Pointwise usable information: one row per item and observer."""
    import pyarrow as pa

    return pa.schema([("id", pa.string()), ("observer", pa.string()), ("nats", pa.float64())])


def labels_schema() -> pa.Schema:
    """Labels of proteins, written by `fetch --annotations`; multiple values in a cell are separated by `;`.

    `ec_class` is the first level of the EC number, if it is the same for all EC numbers of the protein.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    fields = [("id", text), ("accession", text), ("length", number), ("organism", text), ("taxon", number)]
    return pa.schema([*fields, ("ec", text), ("ec_class", text), ("go", text), ("pfam", text)])


def sites_schema() -> pa.Schema:
    """True site rates of a simulated family: one row per alignment column, counted from 1.

    `rate` is relative to the mean over the sites of the root, `motif` is 0 for none; `ancestral` is false for inserted
    columns.
    """
    import pyarrow as pa

    place = [("family", pa.dictionary(pa.int32(), pa.string())), ("column", pa.int32()), ("rate", pa.float64())]
    return pa.schema([*place, ("motif", pa.int32()), ("ancestral", pa.bool_())])


def trees_schema() -> pa.Schema:
    """Comparisons of trees with the same tips: one row per pair of trees; see `phylocli.compare_trees`."""
    import pyarrow as pa

    count, number = pa.int64(), pa.float64()
    fields = [("tree", pa.string()), ("tips", count), ("tips_a", count), ("tips_b", count), ("rf", count), ("max_rf", count)]
    return pa.schema([*fields, *((name, number) for name in ("normalised_rf", "quartet_distance", "pearson", "spearman"))])


def edges_schema(attributes: Sequence[str] = ()) -> pa.Schema:
    """Edges of a similarity network: one row per pair of nodes; `weight` is that of communities and layout.

    Args:
        attributes: those of the network: `cosine`; `evalue`, the smaller of the two of a pair; `bits` and `identity` (a
            fraction of columns) of alignments.
    """
    import pyarrow as pa

    ends = [("source", pa.string()), ("target", pa.string())]
    return pa.schema([*ends, *((name, pa.float64()) for name in ("weight", *attributes))])


def nodes_schema() -> pa.Schema:
    """Nodes of a similarity network: one row per protein; components and communities are numbered by decreasing size.

    `representative` is the node that stands for the protein: itself, unless nodes are merged. `degree` is the number of its
    edges.
    """
    import pyarrow as pa

    text, count = pa.string(), pa.int64()
    ends = [("id", text), ("representative", text)]
    return pa.schema([*ends, ("component", count), ("community", count), ("degree", count)])


def clusters_schema() -> pa.Schema:
    """Clusters of embeddings: one row per member; clusters are numbered from 1 by decreasing size.

    `cosine` is the cosine similarity to the representative, which is a member of the cluster.
    """
    import pyarrow as pa

    text = pa.string()
    return pa.schema([("id", text), ("cluster", pa.int64()), ("representative", text), ("cosine", pa.float32())])


def predictions_schema() -> pa.Schema:
    """Predicted states of residues: one row per residue, with the most probable state; positions are counted from 1."""
    import pyarrow as pa

    text = pa.string()
    fields = [("id", text), ("position", pa.int64()), ("residue", text), ("state", text), ("probability", pa.float32())]
    return pa.schema(fields)


def distances_schema() -> pa.Schema:
    """Distances within families, or between embeddings: one row per pair."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema([("family", text), ("id_a", text), ("id_b", text), ("distance", pa.float64())])


def stats_schema() -> pa.Schema:
    """Statistics of files: one row per file; values that do not apply are null. See `phylocli.file_stats`."""
    import pyarrow as pa

    text, count, number = pa.string(), pa.int64(), pa.float64()
    names = [("file", text), ("format", text), ("type", text)]
    counts = [(name, count) for name in ("families", "sequences", "residues", "min_length")]
    more = [("mean_length", number), ("max_length", count), ("columns", number), ("identity", number)]
    last = [
        ("trees", count),
        ("pairs", count),
        ("rows", count),
        ("dimension", count),
        ("parameters", count),
        ("model", text),
    ]
    return pa.schema([*names, *counts, *more, *last])
