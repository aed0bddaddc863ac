"""Options of `phylocli mi usable`: the classes, and the observers that use the embeddings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config._tables import TABLES, LabelsConfig
from phylocli.config.base import Cli
from phylocli.config.types import Seed


class MiUsableConfig(LabelsConfig):
    """How `phylocli mi usable` measures usable information."""

    table: ClassVar[str] = "mi_usable"

    column: Annotated[str | None, Cli(metavar="COLUMN", panel=TABLES)] = None
    """Label column of the classes."""
    group_by: Annotated[str | None, Cli(metavar="COLUMN", panel=TABLES)] = None
    """Column of groups: items of one group are in the same fold, and are resampled together."""
    observers: Annotated[tuple[Literal["linear", "mlp", "knn"], ...], Cli(multiple=True)] = ("linear", "mlp", "knn")
    """Family of predictors: logistic regression, a perceptron, or nearest neighbours; may be repeated."""
    replicates: Annotated[int, Field(ge=2), Cli(metavar="N")] = 2000
    """Bootstrap replicates."""
    seed: Seed = 0

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of labels that the user names."""
        return tuple(c for c in (self.column, self.group_by) if c)
