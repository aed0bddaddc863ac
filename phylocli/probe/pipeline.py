"""Evaluation from files: reads embeddings, labels, sequences and trees, joins them by id, and computes baselines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phylocli.config.probe import ProbeConfig
from phylocli.core.errors import UsageError
from phylocli.core.plugins import BASELINES, PROBES
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import PathLike
from phylocli.models.model import Model
from phylocli.probe.baselines import NONE, UNTRAINED, baseline, default_baselines, window_baseline
from phylocli.probe.evaluate import evaluate
from phylocli.probe.evaluation_spec import EvaluationSpec, benchmark_spec, read_spec
from phylocli.probe.generation import NaturalFamilies, SequenceSet, baselines, read_set
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.model_embeddings import embed_items, load_model, with_untrained
from phylocli.probe.inputs.tables import NamedSource, Source, common_items, labelled, many, read_tables
from phylocli.probe.map.coordinates import check_projection
from phylocli.probe.metrics import Metrics, check_target

if TYPE_CHECKING:
    import polars as pl

GENERATION = "generation"
"""The task whose subjects are sequences, not embeddings."""

logger = logging.getLogger(__name__)

ModelSource = PathLike | Model | NamedSource


def probe(
    embeddings: Source | SequenceOf[Source] = (),
    labels: PathLike | pl.DataFrame | None = None,
    config: ProbeConfig | None = None,
    *,
    models: ModelSource | SequenceOf[ModelSource] = (),
    sequences: PathLike | None = None,
    trees: PathLike | None = None,
    data: PathLike | None = None,
    **options: Any,
) -> Metrics:
    """Evaluate embeddings on the labels of their sequences, with baselines and confidence intervals.

    Args:
        embeddings: an `EmbeddingTable`, a path (see `read_embeddings`), an `Embedding` or a `NamedSource`, or several of
            them; the first is compared with the others. For the task `generation`: files of generated sequences.
        labels: a table or polars frame with a column of ids, columns of labels, and optionally a split and sequences; None
            with a benchmark, or to evaluate on `trees` only. For the task `generation`: the split of the run.
        config: the configuration; None uses the defaults.
        models: phylocli models with which the sequences are embedded.
        sequences: FASTA or Stockholm file, for models and baselines; None uses the column `sequence` of the labels. For the
            task `generation`: aligned family records.
        trees: Stockholm records with trees, for patristic distances.
        data: folder of the benchmark's files.
        **options: fields of `ProbeConfig` that override the configuration.

    Raises:
        UsageError: options are incompatible with the labels or with each other.
        BadInputError: an input cannot be read, or the inputs have no id in common.

    Examples:
        >>> import polars as pl
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> labels = pl.DataFrame({"id": table.ids, "kind": [name[:3] for name in table.ids]})
        >>> metrics = phylocli.probe(table, labels, tasks=["retrieval"], replicates=100, projection="none")
        >>> metrics.to_polars()["metric"][0]
        'sensitivity to first FP'
    """
    config = ProbeConfig.of(config, options)
    _check_effect(config, trees, data)
    if GENERATION in config.tasks:
        return _probe_generated(many(embeddings), labels, config, many(models), sequences)
    given, named_models = many(embeddings), many(models)
    if not given and not named_models and not config.baselines:
        raise UsageError("no embeddings to evaluate", fix="give a table, a model with --model, or only baselines")
    if config.layers and not named_models:
        raise UsageError("--layers needs a model", fix="give one with --model")
    for name in config.tasks:
        PROBES.load(name)  # report an unknown name before reading anything
    for name in config.baselines or ():
        if name not in (UNTRAINED, NONE):
            BASELINES.load(name)
    check_projection(config.projection)
    options_of_columns = config.column_options
    read = read_tables(given, options_of_columns)
    spec = _read_spec(config, labels, sequences, trees, data)
    options_of_columns.check_ids(
        [*([spec.ids] if spec.ids else []), *(taken for account in read.taken.values() for taken in account)]
    )
    wanted = _chosen_baselines(config, sequences=spec.sequences is not None, model=bool(named_models))
    if not wanted and spec.sequences is None and len(read.embeddings) == 1:
        logger.warning("no baseline to compare the results with\nfix: give --sequences FASTA, or a second table")
    if named_models and spec.sequences is None:
        raise UsageError("models need the sequences", fix="give --sequences FASTA, or a column 'sequence' in the labels")
    items = Dataset.from_labels(
        common_items(spec.frame, read.embeddings, spec.sequences if wanted or named_models else None),
        spec.source,
        columns=config.columns or spec.columns,
        split_column=config.split_column,
        split_by=config.split_by,
        resample_by=config.resample_by or spec.resample_by,
        options=options_of_columns,
        sequences=spec.sequences,
        trees=spec.trees,
    )
    if labels is not None:
        logger.info(f"{spec.source}: {labelled(items)}")
    computed = [*_model_embeddings(named_models, items, wanted, config)]
    tables = [*computed, *(table.aligned_to(items.ids) for table in read.embeddings)]
    tables += _baselines(wanted, items, tables[0] if tables else None)
    metrics = evaluate(
        items,
        tables,
        tasks=config.tasks or spec.tasks,
        layers=_layers(named_models[0], items, config) if config.layers else (),
        replicates=config.replicates,
        projection=config.projection,
        title=config.title or spec.title,
        published=spec.published,
        seed=config.seed,
        jobs=config.jobs,
        cluster=config.cluster,
    )
    parameters = {**config.to_parameters(), "tasks": [task.name for task in metrics.tasks], "baselines": wanted}
    metrics.provenance = dict(provenance("probe", parameters, config.seed))
    return metrics


_OF_EMBEDDINGS = (
    "columns", "layers", "split_column", "split_by", "resample_by", "features", "id_column", "classes", "quantities",
    "label_pattern", "jobs", "cluster",
)  # fmt: skip
"""Options that the task generation does not read."""
_OF_GENERATED = ("profiles", "min_bits")
"""Options that no other task reads."""


def _check_effect(config: ProbeConfig, trees: PathLike | None, data: PathLike | None) -> None:
    """Check that each option has an effect on the tasks.

    Raises:
        UsageError: one has none.
    """
    generated = GENERATION in config.tasks
    fields = type(config).model_fields
    given = [
        name for name in (_OF_EMBEDDINGS if generated else _OF_GENERATED) if getattr(config, name) != fields[name].default
    ]
    if generated:
        given += [name for name, value in (("trees", trees), ("data", data)) if value is not None]
        given += ["baselines"] * (config.baselines not in (None, (NONE,)))
        given += ["projection"] * (config.projection not in ("auto", "none"))
    if given:
        option = given[0].replace("_", "-")
        raise UsageError(
            f"--{option} has no effect " + ("with" if generated else "without") + " --tasks generation",
            why="it is for the evaluation of embeddings" if generated else "it is about generated sequences",
            fix=f"leave --{option} out" + ("" if generated else ", or give --tasks generation"),
        )


def _probe_generated(
    sources: SequenceOf[Source],
    labels: PathLike | pl.DataFrame | None,
    config: ProbeConfig,
    models: SequenceOf[ModelSource],
    families: PathLike | None,
) -> Metrics:
    """Evaluate files of generated sequences, with the baselines of the task.

    Raises:
        UsageError: other tasks are requested too, or families or their split are missing.
        BadInputError: an input cannot be read, or a sequence is of no known family.
    """
    if config.tasks != (GENERATION,) or config.benchmark is not None:
        raise UsageError(
            "the task generation runs on its own", why="it reads generated sequences, not embeddings", fix="run it alone"
        )
    if labels is None or families is None:
        raise UsageError(
            "generated sequences are compared with the natural ones of their families",
            fix="give the families with --sequences FAMILIES.sto, and with --labels the split of the run (split.parquet)",
        )
    loaded = dict(_load(source, config.device) for source in models or (NamedSource("default", None),))
    natural = NaturalFamilies.read(families, labels, loaded, hmms=config.profiles, min_bits=config.min_bits)
    sets = []
    for source in sources:
        name, place = source if isinstance(source, NamedSource) else (None, source)
        if isinstance(place, Embedding | EmbeddingTable):
            raise UsageError("the task generation reads sequences, not embeddings", fix="give FASTA files")
        made = read_set(place, natural.held_out.profiles, natural.left_out)
        sets.append(_as_embedding(name or Path(str(place)).name.split(".")[0], made, str(place), baseline=False))
    wanted = () if config.baselines == (NONE,) else baselines(natural, config.seed).items()
    sets += [_as_embedding(name, made, "computed from the families", baseline=True) for name, made in wanted]
    metrics = evaluate(
        Dataset(list(map(str, range(len(natural.held_out)))), natural=natural),
        sets,
        tasks=[GENERATION],
        replicates=config.replicates,
        title=config.title or "Evaluation of generated sequences",
        seed=config.seed,
    )
    fingerprints = {name: model.fingerprint for name, model in loaded.items()}
    metrics.provenance = dict(provenance("probe", {**config.to_parameters(), "models": fingerprints}, config.seed))
    return metrics


def _as_embedding(name: str, made: SequenceSet, source: str, *, baseline: bool) -> Embedding:
    """Return a set of sequences as a subject of evaluation."""
    return Embedding(name, [], np.zeros((0, 0), dtype=np.float32), source, baseline=baseline, generated=made)


def run_probes(
    embeddings: Source | SequenceOf[Source],
    labels: PathLike | pl.DataFrame | None,
    output: PathLike,
    config: ProbeConfig | None = None,
    *,
    models: ModelSource | SequenceOf[ModelSource] = (),
    sequences: PathLike | None = None,
    trees: PathLike | None = None,
    data: PathLike | None = None,
    **options: Any,
) -> Metrics:
    """Evaluate embeddings and write the report's folder: `report.html`, `report.md`, `report.json`, `metrics.parquet`.

    Arguments and errors are those of `probe`.

    Args:
        output: folder of the report; an earlier report is replaced.

    Raises:
        UsageError: something is there that is not an earlier report.

    Examples:
        >>> import polars as pl
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> labels = pl.DataFrame({"id": table.ids, "kind": [name[:3] for name in table.ids]})
        >>> metrics = phylocli.run_probes(table, labels, "report", tasks=["retrieval"], replicates=100, projection="none")
    """
    check_target(output)
    metrics = probe(embeddings, labels, config, models=models, sequences=sequences, trees=trees, data=data, **options)
    metrics.write_report(output)
    return metrics


def _read_spec(
    config: ProbeConfig,
    labels: PathLike | pl.DataFrame | None,
    sequences: PathLike | None,
    trees: PathLike | None,
    data: PathLike | None,
) -> EvaluationSpec:
    """Return the data to evaluate on: labels, or a benchmark.

    Raises:
        UsageError: both or neither of them.
        BadInputError: files that cannot be read.
    """
    if config.benchmark is None:
        if labels is None and trees is None:
            raise UsageError(
                "nothing to evaluate on", fix="give --labels TABLE, --trees FILE, or --benchmark NAME with --data DIR"
            )
        return read_spec(labels, sequences, trees, config.column_options)
    if labels is not None:
        raise UsageError("labels and a benchmark exclude each other", fix="give --labels TABLE, or --benchmark NAME")
    if data is None or sequences is not None or trees is not None:
        raise UsageError(
            "a benchmark is read from one folder that contains its own sequences and trees",
            fix="give --data DIR, without --sequences or --trees",
        )
    return benchmark_spec(config.benchmark, data, config.part)


def _chosen_baselines(config: ProbeConfig, *, sequences: bool, model: bool) -> list[str]:
    """Return the baselines to compute: the requested ones, or the default ones and the untrained encoder of a model.

    Raises:
        UsageError: a requested baseline needs sequences or a model, and there are none.
    """
    if config.baselines is None:
        return [*[UNTRAINED] * model, *default_baselines()] if sequences else []
    wanted = [] if config.baselines == (NONE,) else list(config.baselines)
    if wanted and not sequences:
        raise UsageError("baselines need the sequences", fix="give --sequences FASTA, or a column 'sequence' in the labels")
    if UNTRAINED in wanted and not model:
        raise UsageError("the untrained baseline needs a model", fix="give one with --model")
    return wanted


def _load(source: ModelSource, device: str) -> tuple[str, Model]:
    """Return the name of a model in the report, and the model."""
    name, place = source if isinstance(source, NamedSource) else (None, source)
    if isinstance(place, Model):
        return name or "model", place
    folder = Path(str(place)).resolve()
    # Training writes `run/model`, so the parent folder has the informative name.
    return name or (folder.parent.name if folder.name == "model" else folder.name), load_model(place, device)


def _model_embeddings(
    models: SequenceOf[ModelSource], items: Dataset, wanted: SequenceOf[str], config: ProbeConfig
) -> list[Embedding]:
    """Return the embeddings of the items by each model and, if requested, by the first model with random weights."""
    found, untrained = [], []
    for place, source in enumerate(models):
        name, model = _load(source, config.device)
        found.append(embed_items(model, name, items.ids, items.sequences))
        if place == 0 and UNTRAINED in wanted:
            random = with_untrained(model, config.seed)
            untrained.append(embed_items(random, UNTRAINED, items.ids, items.sequences, baseline=True))
    return [*found, *untrained]


def _layers(source: ModelSource, items: Dataset, config: ProbeConfig) -> Iterator[tuple[int, Embedding]]:
    """Yield number and embedding of each layer of a model, from the input embedding (0) to the last layer."""
    _, model = _load(source, config.device)
    for layer in range(model.depth + 1):
        yield layer, embed_items(model, f"layer {layer}", items.ids, items.sequences, layer=layer)


def _baselines(wanted: SequenceOf[str], items: Dataset, first: Embedding | None) -> list[Embedding]:
    """Compute the requested baselines from the sequences."""
    names = [name for name in wanted if name != UNTRAINED]
    if not names:
        return []
    letters = [items.sequences[name] for name in items.ids]
    found = [baseline(name, items.ids, letters) for name in names]
    if items.residue_labels and (first is None or first.residues is not None):
        found.append(window_baseline(items.ids, letters))
    return found
