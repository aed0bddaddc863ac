"""Draw an interactive map of embeddings: one HTML file to pan, zoom and search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from phylocli.cli._options import (
    ClassesOption,
    FeaturesOption,
    IdColumnOption,
    LabelsOption,
    QuantitiesOption,
    Seed,
    TitleOption,
)

EXAMPLES = [
    "phylocli map emb.parquet -o map.html",
    "phylocli map emb.parquet --labels labels.tsv --column family -o map.html",
    "phylocli map emb.parquet --labels labels.tsv --method pca --title 'Globins' -o map.html",
]
NO_ARGS_IS_HELP = True


def command(
    embeddings: Annotated[
        str, typer.Argument(metavar="TABLE", help="Table of embeddings (Parquet, Arrow, TSV, CSV, NPZ, HDF5).")
    ],
    *,
    labels: LabelsOption = None,
    column: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--column", "-c", metavar="NAME", help="Column of the labels that colours the points."),
    ] = None,
    classes: ClassesOption = None,
    quantities: QuantitiesOption = None,
    features: FeaturesOption = None,
    id_column: IdColumnOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="HTML", help="The file to write.")],
    method: Annotated[
        str,
        typer.Option(metavar="auto|umap|tsne|pca", help="How points are placed; auto is UMAP where it is installed."),
    ] = "auto",
    limit: Annotated[int, typer.Option(metavar="N", help="Points at most; beyond, so many at random.")] = 200_000,
    title: TitleOption = None,
    seed: Seed = 0,
) -> None:
    """Plot an embedding table as an interactive 2-D map.

    The page works offline: pan, zoom, hover for id and label, click in the legend, search for an id. UMAP needs the extra
    'map' (umap-learn); without it t-SNE is drawn.
    """
    from phylocli.core import console
    from phylocli.probe import draw_map

    page = draw_map(
        embeddings,
        output,
        labels=labels,
        column=column,
        classes=classes,
        quantities=quantities,
        features=features,
        id_column=id_column,
        method=method,
        limit=limit,
        title=title,
        seed=seed,
    )
    console.info(f"{len(page['ids']):,} points: {output}")
