"""Options of `phylocli mi estimate`: the partners of embeddings, and the estimation of mutual information."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from phylocli.config._tables import TABLES, LabelsConfig
from phylocli.config.base import Cli
from phylocli.config.types import Fraction, Seed
from phylocli.core.errors import UsageError


class MiEstimateConfig(LabelsConfig):
    """How `phylocli mi estimate` estimates mutual information."""

    table: ClassVar[str] = "mi_estimate"

    column: Annotated[str | None, Cli(metavar="COLUMN", panel=TABLES, formerly=("label",))] = None
    """Estimate information between the embeddings and this label column."""
    group_by: Annotated[str | None, Cli(metavar="COLUMN", panel=TABLES)] = None
    """Column of groups: pairs of one group are not independent, and are split and resampled together."""
    estimators: Annotated[tuple[str, ...], Cli(metavar="NAME[:KEY=VALUE,…]", multiple=True, formerly=("estimator",))] = ()
    """An estimator; may be repeated. By default infonce, smile and jsd; for classes barber-agakov and infonce."""
    critics: Annotated[tuple[str, ...], Cli(metavar="NAME[:KEY=VALUE,…]", multiple=True, formerly=("critic",))] = (
        "separable",
    )
    """A critic; may be repeated."""
    batch_size: Annotated[int, Field(ge=2), Cli(metavar="N")] = 128
    """Pairs in a training batch."""
    steps: Annotated[int, Field(ge=1), Cli(metavar="N")] = 3000
    """Maximum number of optimiser steps."""
    learning_rate: Annotated[float, Field(gt=0), Cli(metavar="X")] = 5e-4
    """Learning rate of Adam."""
    stop: Annotated[Fraction, Cli()] = 0.15
    """Fraction of the pairs used for early stopping."""
    held_out: Annotated[Fraction, Cli()] = 0.3
    """Fraction of the pairs that the estimate is computed on."""
    replicates: Annotated[int, Field(ge=2), Cli(metavar="N")] = 200
    """Bootstrap replicates."""
    control: Annotated[bool, Cli()] = True
    """Also estimate with shuffled partners, which should give 0."""
    seed: Seed = 0

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of labels that the user names."""
        return tuple(c for c in (self.column, self.group_by) if c)

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if min(self.stop, self.held_out) <= 0 or self.stop + self.held_out >= 1:
            raise UsageError(
                f"stop ({self.stop:g}) and held_out ({self.held_out:g}) leave no pairs to train on, or are 0",
                fix="give fractions above 0 whose sum is below 1",
            )
        return self
