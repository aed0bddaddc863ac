"""Evaluate embeddings: probes, baselines, confidence intervals, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from phylocli.cli._options import (
    ClassesOption,
    Device,
    FeaturesOption,
    IdColumnOption,
    LabelsOption,
    QuantitiesOption,
    Seed,
    TitleOption,
)

EXAMPLES = [
    "phylocli probe emb.parquet --labels labels.tsv --sequences seqs.fasta -o report",
    "phylocli probe trained=emb.parquet untrained=random.parquet --labels labels.tsv --trees trees.sto -o report",
    "phylocli probe esm2.npz --labels scope.tsv --task retrieval --resample-by superfamily -o report",
    "phylocli probe emb.parquet --labels scope.tsv --task classification --label fold --split-by superfamily -o report",
    "phylocli probe emb.csv --labels labels.tsv --classes taxid --features 'd*' --explain",
    "phylocli probe --model run/model --benchmark scope --data benchmarks/ --baseline phmmer -o report",
    "phylocli probe --model run/model --layers all --labels labels.tsv -o report",
]
NO_ARGS_IS_HELP = True


def command(
    embeddings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[NAME=]TABLE...",
            help="Tables of embeddings (Parquet, Arrow, TSV, CSV, NPZ, HDF5). The first is compared with the others.",
        ),
    ] = None,
    *,
    labels: LabelsOption = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the report."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Only print what each column is taken for and why, and how many ids match."),
    ] = False,
    model: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--model",
            "-m",
            metavar="[NAME=]MODEL",
            help="Embed the sequences with this model (name or folder); may be repeated. Comes first.",
        ),
    ] = None,
    layers: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--layers", metavar="all", help="Ask each probe's headline of every layer of the first model too."),
    ] = None,
    benchmark: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--benchmark", metavar="NAME", help="An evaluation by name, in place of labels (see docs/probe.md)."),
    ] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--data", metavar="DIR", help="Folder of the benchmark's files."),
    ] = None,
    part: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--part", metavar="NAME", help="What the benchmark scores (default: a validation part if it has one)."),
    ] = None,
    task: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--task", metavar="NAME", help="Run only this probe; may be repeated. Default: all that the labels allow."
        ),
    ] = None,
    label: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--label", metavar="COLUMN", help="Use only this column of labels; may be repeated."),
    ] = None,
    classes: ClassesOption = None,
    quantities: QuantitiesOption = None,
    features: FeaturesOption = None,
    id_column: IdColumnOption = None,
    sequences: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--sequences", metavar="FASTA", help="The sequences, for baselines (or a column 'sequence' of the labels)."
        ),
    ] = None,
    trees: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--trees", metavar="STOCKHOLM", help="Family records with trees, for distances along them."),
    ] = None,
    baseline: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--baseline",
            metavar="NAME",
            help="untrained, composition, 2-mers, 3-mers, one-hot, phmmer, mmseqs2, diamond, or none; may be repeated.",
        ),
    ] = None,
    split_column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of the labels that says train, valid or test.")
    ] = "split",
    split_by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="Without a split: no class of this column (or identity=0.5) is in two folds."),
    ] = None,
    resample_by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="The bootstrap draws whole classes of this column (or identity=0.5)."),
    ] = None,
    replicates: Annotated[int, typer.Option(metavar="N", help="Bootstrap replicates.")] = 2000,
    projection: Annotated[
        str,
        typer.Option(
            "--map", metavar="auto|umap|tsne|pca|none", help="How the map is drawn; auto is UMAP where it is installed."
        ),
    ] = "auto",
    title: TitleOption = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Evaluate embeddings on what is known of their sequences.

    Writes a folder with report.html (one file, works offline), report.json and metrics.parquet. Every figure has a 95 %
    interval; the first table (or model) is compared with each other one and with baselines on the same items.
    """
    from phylocli.core import console
    from phylocli.core.errors import UsageError
    from phylocli.probe import explain_inputs, run_probes

    if explain:
        from phylocli.formats.tables import inputs_schema, write_table

        found = explain_inputs(
            embeddings or [],
            labels,
            columns=label,
            split_column=split_column,
            split_by=split_by,
            resample_by=resample_by,
            id_column=id_column,
            features=features,
            classes=classes,
            quantities=quantities,
        )
        write_table(found, None, inputs_schema())
        return
    if output is None:
        raise UsageError("the report needs a folder", fix="name one with -o, or say --explain")
    if layers not in (None, "all"):
        raise UsageError(f"there is no choice of layers named {layers!r}", fix="say --layers all")
    run_probes(
        embeddings or [],
        labels,
        output,
        models=model or [],
        layers=layers == "all",
        benchmark=benchmark,
        data=data,
        part=part,
        tasks=task,
        columns=label,
        classes=classes,
        quantities=quantities,
        features=features,
        id_column=id_column,
        split_column=split_column,
        split_by=split_by,
        resample_by=resample_by,
        sequences=sequences,
        trees=trees,
        baselines=baseline,
        replicates=replicates,
        projection=projection,
        title=title,
        device=device,
        seed=seed,
    )
    console.info(f"report: {output / 'report.html'}")
