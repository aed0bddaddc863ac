"""Options of stages that read tables of embeddings and labels."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import model_validator

from phylocli.config.base import Cli, Config
from phylocli.config.types import Pattern
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

    label_pattern: Annotated[Pattern | None, Cli(metavar="REGEX", panel=TABLES)] = None
    """Labels by a FASTA file's headers: a regular expression, whose named groups (?P<family>...) are columns."""

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of labels that the user names."""
        return ()

    @property
    def column_options(self) -> ColumnOptions:
        """The same, as readers of tables take it."""
        named = (self.classes, self.quantities, self.label_columns)
        return ColumnOptions(self.id_column, self.features, *named, self.label_pattern)

    @model_validator(mode="after")
    def _check_roles(self) -> Self:
        ColumnOptions.of(classes=self.classes, quantities=self.quantities)
        return self
