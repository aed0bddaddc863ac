"""Options of stages that read tables of embeddings and labels."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import model_validator

from phylocli.config.base import Cli, Config
from phylocli.formats.tables.columns import ColumnOptions

TABLES = "Columns"


class TableConfig(Config):
    """How tables of embeddings are read."""

    features: Annotated[tuple[str, ...], Cli(metavar="COLUMN", multiple=True, panel=TABLES)] = ()
    """Feature column in tables of embeddings, or a pattern such as 'd*'; may be repeated."""
    id_column: Annotated[tuple[str, ...], Cli(metavar="COLUMN", multiple=True, panel=TABLES)] = ()
    """Column of ids, in every table that has it; may be repeated."""

    @property
    def column_options(self) -> ColumnOptions:
        """The same, as readers of tables take it."""
        return ColumnOptions(self.id_column, self.features)


class LabelsConfig(TableConfig):
    """How tables of embeddings and of labels are read."""

    classes: Annotated[tuple[str, ...], Cli(metavar="COLUMN", multiple=True, panel=TABLES)] = ()
    """Label column whose values are class names, even if they are numbers; may be repeated."""
    quantities: Annotated[tuple[str, ...], Cli(metavar="COLUMN", multiple=True, panel=TABLES)] = ()
    """Label column whose values are numbers; other values are unknown; may be repeated."""

    @property
    def column_options(self) -> ColumnOptions:
        """The same, as readers of tables take it."""
        return ColumnOptions(self.id_column, self.features, self.classes, self.quantities)

    @model_validator(mode="after")
    def _check_roles(self) -> Self:
        ColumnOptions.of(classes=self.classes, quantities=self.quantities)
        return self
