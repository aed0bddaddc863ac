"""Measure information in nats: a benchmark of estimators, estimates between embeddings, and usable information."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import LabelsOption, Output
from phylocli.config.mi_benchmark import MiBenchmarkConfig
from phylocli.config.mi_estimate import MiEstimateConfig
from phylocli.config.mi_usable import MiUsableConfig
from phylocli.core.errors import UsageError

EXAMPLES = [
    "phylocli mi benchmark --figure staircase.svg > rows.tsv",
    "phylocli mi benchmark --estimators infonce --estimators smile:clip=1 --critics separable --levels 1,2,4 --format json",
    "phylocli mi estimate a.parquet b.parquet --format json",
    "phylocli mi estimate emb.parquet --labels labels.tsv --column family",
    "phylocli mi estimate a.parquet b.parquet --estimators nwj --estimators smile:clip=1 -l labels.tsv --group-by family",
    "phylocli mi estimate a.parquet b.parquet --estimators infonce --estimators leave-one-out",
    "phylocli mi usable emb.parquet --labels labels.tsv --column family --pointwise pointwise.tsv",
    "phylocli mi usable a.parquet --given b.parquet --labels labels.tsv --column family --observers linear",
    "phylocli mi benchmark --preset full -o rows.parquet --figure staircase.html --summary summary.tsv",
]

app = typer.Typer()

Format = Annotated[
    str | None,
    typer.Option("--format", metavar="json|tsv|csv|parquet|arrow", help="Default: by the suffix of the output, else TSV."),
]


@app.command("benchmark")
def benchmark(
    config: MiBenchmarkConfig,
    figure: Annotated[
        list[Path] | None,
        typer.Option("--figure", metavar="FILE", help="Draw the staircase: .svg, .png, .pdf or .html. May be repeated."),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE", help="Write bias, variance and mean squared error as a table."),
    ] = None,
    output: Output = None,
    format: Format = None,
) -> None:
    """Run estimators on correlated Gaussians whose mutual information is known and increases in steps.

    Writes one row per estimator and level as soon as it is computed: estimator, critic, batch_size, dimension, true_nats,
    estimate_nats, sd, transform. Poole et al. 2019; Song & Ermon 2020.
    """
    from phylocli.mi import plan_of, run_benchmark

    run_benchmark(plan_of(config), output, format=format, figures=figure or [], summary=summary)


@app.command("estimate")
def estimate(
    config: MiEstimateConfig,
    first: Annotated[str, typer.Argument(metavar="TABLE", help="Embeddings: Parquet, Arrow, TSV, CSV, NPZ, HDF5.")],
    second: Annotated[
        str | None,
        typer.Argument(metavar="[TABLE]", help="Embeddings with the same ids; leave it out with --column."),
    ] = None,
    labels: LabelsOption = None,
    output: Output = None,
    format: Format = None,
) -> None:
    """Estimate the mutual information in nats between two tables of embeddings, or between embeddings and a label.

    A label is a class or a quantity, as in 'phylocli probe'; a quantity is a vector of one feature.

    A critic is trained on some of the pairs, and the bound is computed on the others, with a 95 % bootstrap interval, its
    ceiling, and the same with shuffled partners.
    """
    from phylocli.mi import read_pairs, run_estimate

    run_estimate(read_pairs(first, second, config, labels=labels), output, config, format=format)


@app.command("usable")
def usable(
    config: MiUsableConfig,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Embeddings: Parquet, Arrow, TSV, CSV, NPZ, HDF5.")],
    labels: LabelsOption = None,
    given: Annotated[
        str | None,
        typer.Option("--given", metavar="TABLE", help="Other embeddings; measure what TABLE adds to these."),
    ] = None,
    pointwise: Annotated[
        Path | None,
        typer.Option("--pointwise", metavar="FILE", help="Write the information of each item as a table."),
    ] = None,
    output: Output = None,
    format: Format = None,
) -> None:
    """Measure the information about a label in nats that an observer can use: linear, perceptron, nearest neighbours.

    Usable information (Xu et al. 2020): the entropy of the class frequencies minus the cross entropy of a predictor on
    held-out items. Writes one row per observer.
    """
    from phylocli.mi import run_usable

    if labels is None:
        raise UsageError("usable information is about a label", fix="give the table of labels with --labels")
    run_usable(table, labels, output, config, given=given, pointwise=pointwise, format=format)
