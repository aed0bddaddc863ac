"""Options of `phylocli compare`: how two trees are compared."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from phylocli.config.base import Cli, Config
from phylocli.config.types import Seed


class CompareConfig(Config):
    """How `phylocli compare trees` compares."""

    table: ClassVar[str] = "compare"

    quartets: Annotated[int, Field(ge=1), Cli(metavar="N")] = 20_000
    """Compare all quartets if there are at most N, else N random ones."""
    tips: Annotated[int, Field(ge=3), Cli(metavar="N")] = 2_000
    """Correlate the patristic distances of at most N tips; of more, a random subset."""
    seed: Seed = 0
