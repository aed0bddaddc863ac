"""Options of the stages that turn latent vectors into sequences."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from phylocli.config.base import Cli, Config
from phylocli.config.types import Device, Seed, Threads


class DecodingConfig(Config):
    """How latent vectors become sequences."""

    temperature: Annotated[float, Field(ge=0, lt=math.inf), Cli(metavar="T")] = 0.0
    """0: the most probable residue at each step; 1: sampled from the decoder."""
    seed: Seed = 0
    device: Annotated[Device, Cli(decisive=False)] = "auto"
    threads: Threads = 0
