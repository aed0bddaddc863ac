"""Measure mutual information in nats: a benchmark of the estimators, and estimates between embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from phylocli.cli._options import ClassesOption, FeaturesOption, IdColumnOption, Output, QuantitiesOption, Seed

EXAMPLES = [
    "phylocli mi benchmark --figure staircase.svg > rows.tsv",
    "phylocli mi benchmark --estimator infonce --estimator smile:clip=1 --critic separable --levels 1,2,4 --format json",
    "phylocli mi estimate a.parquet b.parquet --format json",
    "phylocli mi estimate emb.parquet --labels labels.tsv --label family",
    "phylocli mi estimate a.parquet b.parquet --estimator nwj --estimator smile:clip=1 -l labels.tsv --group-by family",
    "phylocli mi benchmark --preset full -o rows.parquet --figure staircase.html --summary summary.tsv",
]

app = typer.Typer()

Names = Optional[list[str]]  # noqa: UP045  typer reads it
Format = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--format", metavar="json|tsv|csv|parquet|arrow", help="Default: by the suffix of the output, else TSV."),
]


@app.command("benchmark")
def benchmark(
    preset: Annotated[
        str, typer.Option(metavar="quick|full", help="Minutes on one core, or what the papers did, which takes hours.")
    ] = "quick",
    estimator: Annotated[
        Names, typer.Option("--estimator", metavar="NAME[:KEY=VALUE,…]", help="Only this estimator; may be repeated.")
    ] = None,
    critic: Annotated[
        Names,
        typer.Option(
            "--critic",
            metavar="NAME[:KEY=VALUE,…]",
            help="Only this critic; 'optimal' is the true density ratio. Repeatable.",
        ),
    ] = None,
    transform: Annotated[Names, typer.Option("--transform", metavar="none|cubic", help="Of y; may be repeated.")] = None,
    levels: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NATS,…", help="True information of each step. Default: 2,4,6,8,10."),
    ] = None,
    dimension: Annotated[Optional[int], typer.Option(min=1, help="Components of x and of y. Default: 20.")] = None,  # noqa: UP045
    batch_size: Annotated[Optional[int], typer.Option(min=2, help="Pairs in a batch. Default: 64.")] = None,  # noqa: UP045
    steps: Annotated[Optional[int], typer.Option(min=1, help="Optimiser steps on each level.")] = None,  # noqa: UP045
    evaluations: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, help="Fresh batches that a figure is the mean of."),
    ] = None,
    repeats: Annotated[Optional[int], typer.Option(min=1, help="Times with other weights and pairs. Default: 1.")] = None,  # noqa: UP045
    figure: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--figure", metavar="FILE", help="Draw the staircase: .svg, .png, .pdf or .html. May be repeated."),
    ] = None,
    summary: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--summary", metavar="FILE", help="Write bias, variance and mean squared error as a table."),
    ] = None,
    output: Output = None,
    format: Format = None,
    seed: Seed = 0,
) -> None:
    """Run estimators against correlated Gaussians whose mutual information is known and rises in steps.

    Rows of estimator, critic, batch_size, dimension, true_nats, estimate_nats, sd and transform, each as soon as it is
    there. Poole et al. 2019; Song & Ermon 2020.
    """
    from phylocli.mi import parse_levels, plan_of, run_benchmark

    plan = plan_of(
        preset,
        estimators=estimator,
        critics=critic,
        transforms=transform,
        levels=parse_levels(levels),
        dimension=dimension,
        batch_size=batch_size,
        steps=steps,
        evaluations=evaluations,
        repeats=repeats,
        seed=seed,
    )
    run_benchmark(plan, output, format=format, figures=figure or [], summary=summary)


@app.command("estimate")
def estimate(
    first: Annotated[str, typer.Argument(metavar="TABLE", help="Embeddings: Parquet, Arrow, TSV, CSV, NPZ, HDF5.")],
    second: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="[TABLE]", help="Embeddings with the same ids; none where --label says what to pair with."),
    ] = None,
    labels: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--labels", "-l", metavar="TABLE", help="Table with a column of ids and columns of labels."),
    ] = None,
    label: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--label", metavar="COLUMN", help="Information between the embeddings and this column."),
    ] = None,
    classes: ClassesOption = None,
    quantities: QuantitiesOption = None,
    features: FeaturesOption = None,
    id_column: IdColumnOption = None,
    group_by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--group-by", metavar="COLUMN", help="Pairs with one value here are not independent: split and resampled whole."
        ),
    ] = None,
    estimator: Annotated[
        Names, typer.Option("--estimator", metavar="NAME[:KEY=VALUE,…]", help="An estimator; may be repeated.")
    ] = None,
    critic: Annotated[
        Names, typer.Option("--critic", metavar="NAME[:KEY=VALUE,…]", help="A critic; may be repeated.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs in a training batch.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps at most.")] = 3000,
    held_out: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Share of the pairs that the estimate is made on.")
    ] = 0.3,
    replicates: Annotated[int, typer.Option(min=2, metavar="N", help="Bootstrap replicates.")] = 200,
    control: Annotated[bool, typer.Option(help="Also with partners shuffled, which should give 0.")] = True,
    output: Output = None,
    format: Format = None,
    seed: Seed = 0,
) -> None:
    """Estimate the mutual information in nats between two tables of embeddings, or between embeddings and a label.

    A label is a class or a quantity, as in 'phylocli probe'; a quantity is a vector of one feature.

    A critic learns from some pairs and the bound is that of others, with a 95 % bootstrap interval, its ceiling, and the
    same with partners shuffled.
    """
    from phylocli.mi import Settings, read_pairs, run_estimate

    settings = Settings(
        estimators=tuple(estimator or ()),
        critics=tuple(critic or Settings.critics),
        batch_size=batch_size,
        steps=steps,
        held_out=held_out,
        replicates=replicates,
        control=control,
        seed=seed,
    )
    data = read_pairs(
        first,
        second,
        labels=labels,
        label=label,
        group_by=group_by,
        classes=classes,
        quantities=quantities,
        features=features,
        id_column=id_column,
    )
    run_estimate(data, output, settings=settings, format=format)
