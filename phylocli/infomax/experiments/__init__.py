"""One experiment per module. A module has

- `TITLE`, the heading of its figure, and `ABOUT`, a sentence for the page;
- `BY`: columns that identify a point of the figure; `VALUES`: the measured columns, with their least and greatest values;
- `OPTIONS`: fields of `InfomaxConfig` that its runs depend on, besides their cells;
- `VERSION`: raised by any change of the module's code or constants that changes its rows, so that earlier runs are repeated;
- `DATA`: `pairs` of views (`inputs`), `homologs` with their distances (`homologs`), or `none`;
- `cells(config)`: the settings of the runs, as JSON objects; each is run with every seed;
- `run(cell, seed, config, data)`: the rows of one run, each with the columns of `BY` and `VALUES`; under `seeded`, so
  that they do not depend on the state of PyTorch's generator;
- `draw(table, summary, config)`: the figure. `table` has the rows of all runs with their seeds, `summary` their means.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Literal, Protocol, cast

import polars as pl
import torch

from phylocli.config.infomax import InfomaxConfig

Cell = dict[str, str | int | float]
Row = dict[str, str | int | float | None]
Run = Callable[[Cell, int, InfomaxConfig, Any], list[Row]]


class Experiment(Protocol):
    """What a module of this package provides."""

    TITLE: str
    ABOUT: str
    BY: tuple[str, ...]
    VALUES: dict[str, tuple[float, float]]
    OPTIONS: tuple[str, ...]
    VERSION: int
    DATA: Literal["none", "pairs", "homologs"]

    def cells(self, config: InfomaxConfig) -> list[Cell]:
        """Return the settings of the runs."""

    def run(self, cell: Cell, seed: int, config: InfomaxConfig, data: Any) -> list[Row]:
        """Return the rows of one run."""

    def draw(self, table: pl.DataFrame, summary: pl.DataFrame, config: InfomaxConfig) -> Any:
        """Return the figure, of matplotlib."""


def seeded(run: Run) -> Run:
    """Make the random weights of a run depend on its seed alone, and leave PyTorch's generator as it was."""

    @functools.wraps(run)
    def found(cell: Cell, seed: int, config: InfomaxConfig, data: Any) -> list[Row]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return run(cell, seed, config, data)

    return found


def load(name: str) -> Experiment:
    """Import an experiment by name."""
    return cast(Experiment, importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))


__all__ = ["Cell", "Experiment", "Row", "load", "seeded"]
