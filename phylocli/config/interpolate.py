"""Options of `phylocli interpolate`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config._decoding import DecodingConfig
from phylocli.config.base import Cli


class InterpolateConfig(DecodingConfig):
    """What `phylocli interpolate` puts between two sequences."""

    table: ClassVar[str] = "interpolate"

    steps: Annotated[int, Field(ge=2), Cli(metavar="N")] = 8
    """Number of sequences, both ends included."""
    part: Annotated[Literal["all", "y", "w"], Cli()] = "all"
    """The part of the latent vector that moves from A to B: all of it; y, which was contrasted; or the rest, w."""
