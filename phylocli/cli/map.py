"""Plot embeddings as an interactive map: one HTML file to pan, zoom and search; or as a picture."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import LabelsOption
from phylocli.config.map import MapConfig
from phylocli.core.words import counted

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli map emb.parquet -o map.html",
    "phylocli map emb.parquet --labels labels.tsv --column family -o map.html",
    "phylocli map emb.parquet --labels labels.tsv -o map.pdf",
    "phylocli map emb.parquet --labels labels.tsv --projection pca --title 'Globins' -o map.html",
]
NO_ARGS_IS_HELP = True


def command(
    config: MapConfig,
    embeddings: Annotated[
        str, typer.Argument(metavar="TABLE", help="Table of embeddings, in any format that 'embed' writes.")
    ],
    *,
    labels: LabelsOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Page (.html) or picture (.svg, .png, .pdf) to write.")
    ],
) -> None:
    """Plot an embedding table as an interactive 2-D map, or as a picture.

    With -o map.html, a page that works offline: pan, zoom, hover for id and label, click in the legend, search for an id.
    UMAP needs the extra 'map' (umap-learn); without it t-SNE is used.
    """
    from phylocli.probe import draw_map

    page = draw_map(embeddings, output, config, labels=labels)
    logger.info(f"{counted(len(page.ids), 'point')}: {output}")
