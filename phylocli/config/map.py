"""Options of `phylocli map`: plotting of an embedding table in two dimensions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config._tables import LabelsConfig
from phylocli.config.base import Cli
from phylocli.config.types import Seed


class MapConfig(LabelsConfig):
    """What `phylocli map` plots."""

    table: ClassVar[str] = "map"

    column: Annotated[str | None, Cli("--column", "-c", metavar="NAME")] = None
    """Label column that colours the points; by default family, superfamily, clan or fold, else the first that fits."""
    projection: Annotated[Literal["auto", "umap", "tsne", "pca"], Cli(formerly=("method",))] = "auto"
    """How points are placed; auto is UMAP if it is installed, else t-SNE."""
    limit: Annotated[int, Field(ge=3), Cli(metavar="N")] = 200_000
    """Maximum number of points; of more embeddings a random subset is plotted."""
    title: Annotated[str | None, Cli(metavar="TEXT")] = None
    """Title of the page; by default the table's name."""
    seed: Seed = 0

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of labels that the user names."""
        return (self.column,) if self.column else ()
