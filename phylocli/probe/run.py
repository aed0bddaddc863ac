"""The evaluation: inputs joined by id, every probe on every embedding, intervals, differences, the report's folder."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.core.plugins import PROBES
from phylocli.core.protocols import ProbePlugin
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.provenance import provenance
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.probe.baselines import baseline, window_baseline
from phylocli.probe.evaluation_spec import benchmark_question, chosen_baselines, read_question
from phylocli.probe.inputs.dataset import Dataset, make_dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.leakage import Leak, find_leak, identity_clusters
from phylocli.probe.inputs.model_embeddings import embed_items, load_model, with_untrained
from phylocli.probe.inputs.tables import common_items, labelled, read_tables, split_name
from phylocli.probe.report.projection import check_projection, project
from phylocli.probe.report.report_io import check_target, gather, write_report
from phylocli.probe.scoring import CHANCE, Scorer, concerns

if TYPE_CHECKING:
    import polars as pl

# Retrieval first: it is what most come for. Tasks that are not named here come after, by name.
ORDER = (
    "retrieval",
    "homology",
    "classification",
    "mlp",
    "multilabel",
    "regression",
    "residues",
    "mutation",
    "patristic",
    "topology",
    "clustering",
    "geometry",
)


def task_names() -> list[str]:
    """Return the probes there are, in the order of the report."""
    known = PROBES.names()
    return sorted(known, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _named(embeddings: list[Embedding]) -> None:
    """Give every embedding a name of its own; `chance` is taken."""
    taken = {CHANCE}
    for embedding in embeddings:
        base, number = embedding.name, 2
        while embedding.name in taken:
            embedding.name, number = f"{base}.{number}", number + 1
        taken.add(embedding.name)


def _chosen_tasks(
    tasks: SequenceOf[str] | None, data: Dataset, first: Embedding
) -> dict[str, tuple[ProbePlugin, list[str]]]:
    """Return the probes to run with their levels: those named, or all that the labels allow.

    Raises:
        UsageError: a probe that is named and does not exist or does not apply; or none applies.
    """
    chosen: dict[str, tuple[ProbePlugin, list[str]]] = {}
    for name in tasks or task_names():
        module = PROBES.load(name)
        if not tasks and getattr(module, "ON_REQUEST", False):
            continue
        levels = module.levels(data) if concerns(module, first) else []
        if levels:
            chosen[name] = (module, levels)
        elif tasks:
            raise UsageError(
                f"the probe {name!r} does not apply to these labels",
                why=f"classes: {', '.join(data.classes) or 'none'}; terms: {', '.join(data.terms) or 'none'}; "
                f"quantities: {', '.join(data.values) or 'none'}; "
                f"labels of residues: {', '.join(data.residue_labels) or 'none'}; {len(data.trees)} trees"
                + ("" if concerns(module, first) else f"; {first.name} has no embeddings of residues"),
                fix="see docs/probe.md for what each probe needs",
            )
    if not chosen:
        raise UsageError(
            "no probe applies to these labels",
            why="there is no column whose classes have several members, no quantity, and no tree",
            fix="check the labels table, or name a column with --label",
        )
    return chosen


def _leak(data: Dataset, letters: dict[str, str] | None, seed: int) -> Leak | None:
    """Return how near the scored part is to the training part, and warn where it holds near copies; None without either."""
    if letters is None or data.evaluate is None or not len(data.rows_of("train")):
        return None
    scored, training = data.evaluated_rows(), data.rows_of("train")
    asked, known = ([letters[data.ids[r]] for r in rows if data.ids[r] in letters] for rows in (scored, training))
    leak = find_leak(asked, known, seed)
    if leak.twins:
        console.warning(
            f"{leak.twins:,} of {leak.looked_at:,} scored sequences are near copies of training sequences "
            "(identity of 0.9 or more)\nfix: split by clades, families or identity clusters, so that what is scored is new"
        )
    return leak


def run_probes(
    embeddings: SequenceOf[PathLike | Embedding | EmbeddingTable],
    labels: PathLike | None,
    output: PathLike,
    *,
    models: SequenceOf[PathLike] = (),
    layers: bool = False,
    benchmark: str | None = None,
    data: PathLike | None = None,
    part: str | None = None,
    tasks: SequenceOf[str] | None = None,
    columns: SequenceOf[str] | None = None,
    classes: str | SequenceOf[str] | None = None,
    quantities: str | SequenceOf[str] | None = None,
    features: str | SequenceOf[str] | None = None,
    id_column: str | SequenceOf[str] | None = None,
    split_column: str = "split",
    split_by: str | None = None,
    resample_by: str | None = None,
    sequences: PathLike | None = None,
    trees: PathLike | None = None,
    baselines: SequenceOf[str] | None = None,
    replicates: int = 2000,
    projection: str = "auto",
    title: str | None = None,
    device: str = "auto",
    seed: int = 0,
) -> pl.DataFrame:
    """Evaluate embeddings and write the report's folder: `report.html`, `report.md`, `report.json`, `metrics.parquet`.

    Args:
        embeddings: tables (see `read_embeddings`), `NAME=PATH`, or such objects; the first is the one that is asked about,
            the others are what it is compared with.
        labels: table with a column of ids and columns of labels, maybe a split, maybe sequences; None with a benchmark, or
            where `trees` are all that is asked of.
        output: folder of the report; an older report is replaced.
        models: folders of phylocli models, `NAME=FOLDER` or not, which embed the sequences here; they come first.
        layers: ask the headline of each probe of every layer of the first model too.
        benchmark: name of a benchmark (see `phylocli.probe.benchmarks`) in place of labels, sequences and trees.
        data: folder of the benchmark's files.
        part: what the benchmark scores; None takes its default.
        tasks: probes to run; None runs all that the labels allow.
        columns: label columns to use; None takes all that fit.
        classes: label columns whose values are names of classes, whatever they look like.
        quantities: label columns whose values are numbers; what is not a number is unknown.
        features: columns of the embeddings' tables that hold features, or patterns with `*`.
        id_column: columns of ids, where the tables call them something unusual.
        split_column: column that says train, valid or test.
        split_by: without a split: column whose classes are kept whole in cross-validation, or `identity=0.5`: clusters of
            sequences of at least that estimated identity.
        resample_by: column whose classes the bootstrap draws whole, or `identity=0.5`.
        sequences: FASTA or Stockholm, for models and baselines; None takes a column `sequence` of the labels.
        trees: Stockholm records with trees, for the distances along them.
        baselines: of `BASELINES` and `untrained` (of the first model); None takes composition and 2-mers where there are
            sequences, and the untrained encoder where there is a model.
        replicates: bootstrap replicates.
        projection: of the map: `auto` (UMAP where it is installed, else t-SNE), `umap`, `tsne`, `pca` or `none`.
        title: of the report.
        device: of the models.
        seed: of folds, clusterings, subsamples, untrained weights and the bootstrap.

    Returns:
        The metrics, one row a figure, columns of `tables.metrics_schema()`.

    Raises:
        UsageError: options that do not fit the labels or each other.
        BadInputError: inputs that cannot be read or have no id in common.
    """
    if not embeddings and not models and not baselines:
        raise UsageError("no embeddings are given", fix="name a table, or a model with --model, or baselines alone")
    if layers and not models:
        raise UsageError("layers are those of a model, and none is named", fix="name one with --model")
    if labels is not None and benchmark is not None:
        raise UsageError("labels and a benchmark cannot be given together", fix="give --labels TABLE, or --benchmark NAME")
    if labels is None and benchmark is None and trees is None:
        raise UsageError(
            "there is nothing to ask", fix="give --labels TABLE, --trees FILE, or --benchmark NAME with --data DIR"
        )
    options = ColumnOptions.of(id_column, features, classes, quantities)
    if benchmark is not None and (data is None or sequences is not None or trees is not None):
        raise UsageError(
            "a benchmark is read from one folder and brings its own sequences and trees", fix="give --data DIR and no more"
        )
    if replicates < 100:
        raise UsageError(f"{replicates} bootstrap replicates are too few for an interval", fix="use at least 100")
    check_target(output)
    check_projection(projection)
    for name in tasks or ():
        PROBES.load(name)  # a wrong name is said before anything is read
    read = read_tables(embeddings, options)
    tables = read.embeddings
    if benchmark is not None:
        assert data is not None
        question = benchmark_question(benchmark, data, part)
    else:
        question = read_question(labels, sequences, trees, options)
    options.check_ids([*([question.ids] if question.ids else []), *(t for account in read.taken.values() for t in account)])
    letters = question.sequences
    wanted = chosen_baselines(baselines, sequences=letters is not None, model=bool(models))
    if not wanted and letters is None and len(tables) == 1:
        console.warning(
            "no baseline: a number that stands alone says little\nfix: give --sequences FASTA, or a second table"
        )
    if models and letters is None:
        raise UsageError("models need the sequences", fix="give --sequences FASTA, or a column 'sequence' in the labels")
    items = make_dataset(
        common_items(question.frame, tables, letters if wanted or models else None),
        question.source,
        columns=columns or question.columns,
        split_column=split_column,
        split_by=None if identity_threshold(split_by) else split_by,
        resample_by=None if identity_threshold(resample_by) else resample_by or question.resample_by,
        options=options,
    )
    if labels is not None:
        console.info(f"{question.source}: {labelled(items)}")
    items.sequences, items.trees = letters or {}, question.trees
    _group_by_identity(items, split_by, resample_by)
    tables = [*_computed(models, items, wanted, device, seed), *(table.aligned_to(items.ids) for table in tables)]
    tables += _baselines(wanted, items, tables[0] if tables else None)
    if not tables:
        raise UsageError("no embeddings are given, and no baseline", fix="name at least one")
    _named(tables)
    chosen = _chosen_tasks(tasks or question.tasks, items, tables[0])
    leak = _leak(items, letters, seed)

    scorer = Scorer(items, tables, replicates, seed)
    steps = sum(len(levels) for _, levels in chosen.values()) * len(tables)
    with console.progress_task("probing", steps) as bar:
        for name, (module, levels) in chosen.items():
            for level in levels:
                scorer.score(name, module, level, bar.advance)
    if layers:
        model = load_model(split_name(str(models[0]))[1], device)
        for layer in range(model.depth + 1):
            vectors = embed_items(model, f"layer {layer}", items.ids, items.sequences, layer=layer)
            scorer.score_layer(layer, vectors, chosen)
    parameters = {
        "benchmark": benchmark,
        "part": part,
        "tasks": list(chosen),
        "columns": list(columns) if columns else None,
        **{name: list(given) for name, given in asdict(options).items() if given},
        "split_by": split_by,
        "resample_by": resample_by,
        "baselines": wanted,
        "replicates": replicates,
        "projection": projection,
    }
    record = provenance("probe", parameters, seed)
    maps = project(items, tables, projection, seed)
    report = gather(title or question.title, items, tables, chosen, scorer, record, published=question.published)
    report |= {"leak": asdict(leak) if leak is not None else None, "maps": maps}
    return write_report(report, record, output)


def identity_threshold(name: str | None) -> float | None:
    """Return 0.5 for `identity=0.5`; None for anything else.

    Raises:
        UsageError: a threshold that is no identity, or too low to estimate.
    """
    if name is None or not name.startswith("identity="):
        return None
    try:
        value = float(name.removeprefix("identity="))
    except ValueError:
        value = float("nan")
    if not 0.4 <= value <= 1:
        raise UsageError(
            f"{name!r} is no threshold of identity",
            why="identity is estimated from shared 5-mers, which says little below 0.4",
            fix="give a number from 0.4 to 1, as in identity=0.5",
        )
    return value


def _group_by_identity(items: Dataset, split_by: str | None, resample_by: str | None) -> None:
    """Cluster the items where folds or the bootstrap are to keep near relatives together."""
    for name in {split_by, resample_by}:
        threshold = identity_threshold(name)
        if name is None or threshold is None:
            continue
        missing = next((item for item in items.ids if item not in items.sequences), None)
        if missing is not None:
            raise UsageError(
                f"{name} needs the sequence of every item, and {shorten(missing)!r} has none", fix="give --sequences"
            )
        codes = identity_clusters([items.sequences[item] for item in items.ids], threshold)
        console.info(f"{name}: {len(items):,} items in {codes.max() + 1:,} clusters")
        items.groupings[name] = codes
    items.split_by = split_by if split_by in items.groupings else items.split_by
    items.resample_by = resample_by if resample_by in items.groupings else items.resample_by


def _computed(
    models: SequenceOf[PathLike], items: Dataset, wanted: SequenceOf[str], device: str, seed: int
) -> list[Embedding]:
    """Return the embeddings of the items by each model, and by the first one with random weights where that is wanted."""
    found = []
    for place, item in enumerate(models):
        shown, path = split_name(str(item))
        model = load_model(path, device)
        folder = Path(path).resolve()
        # `run/model` is what training writes: the run's name says more.
        name = shown or (folder.parent.name if folder.name == "model" else folder.name)
        found.append(embed_items(model, name, items.ids, items.sequences))
        if place == 0 and "untrained" in wanted:
            random = with_untrained(model, seed)
            found.append(embed_items(random, "untrained", items.ids, items.sequences, baseline=True))
    # All models first, then what they are compared with.
    return sorted(found, key=lambda embedding: embedding.baseline)


def _baselines(wanted: SequenceOf[str], items: Dataset, first: Embedding | None) -> list[Embedding]:
    """Return the baselines that are computed from the sequences."""
    names = [name for name in wanted if name != "untrained"]
    if not names:
        return []
    letters = [items.sequences[name] for name in items.ids]
    found = [baseline(name, items.ids, letters) for name in names]
    if items.residue_labels and (first is None or first.residues is not None):
        found.append(window_baseline(items.ids, letters))
    return found
