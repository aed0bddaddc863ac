"""Options of `phylocli generate`, `reconstruct` and `interpolate`: sequences from latent vectors."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config.base import Cli, Config
from phylocli.config.types import Count, Device, OnDuplicate, Seed, Threads


class DecodingConfig(Config):
    """How latent vectors become sequences."""

    temperature: Annotated[float, Field(ge=0, lt=math.inf), Cli(metavar="T")] = 0.0
    """0: the most probable residue at each step; 1: sampled from the decoder."""
    seed: Seed = 0
    device: Annotated[Device, Cli(decisive=False)] = "auto"
    threads: Threads = 0


class ReconstructConfig(DecodingConfig):
    """How `phylocli reconstruct` decodes sequences again."""

    table: ClassVar[str] = "reconstruct"

    on_duplicate: OnDuplicate = "error"


class InterpolateConfig(DecodingConfig):
    """What `phylocli interpolate` puts between two sequences."""

    table: ClassVar[str] = "interpolate"

    steps: Annotated[int, Field(ge=2), Cli(metavar="N")] = 8
    """Number of sequences, both ends included."""
    part: Annotated[Literal["all", "y", "w"], Cli()] = "all"
    """The part of the latent vector that moves from A to B: all of it; y, which was contrasted; or the rest, w."""


class GenerateConfig(DecodingConfig):
    """What `phylocli generate` samples."""

    table: ClassVar[str] = "generate"

    number: Annotated[Count, Cli("-n", "--number", metavar="N")] = 100
    """Number of sequences."""
    family: Annotated[str | None, Cli(metavar="ACC")] = None
    """Generate members of this family, one of those that the latent diffusion was trained on."""
    clan: Annotated[str | None, Cli(metavar="CL")] = None
    """Generate members of this clan."""
    steps: Annotated[int, Field(ge=1), Cli(metavar="N")] = 50
    """Steps of the diffusion sampler, 10 to 1,000."""
    eta: Annotated[float, Field(ge=0, le=1), Cli(metavar="E")] = 0.0
    """Noise added in each step: 0 is deterministic (DDIM), 1 is DDPM."""
    guidance: Annotated[float, Field(ge=0, lt=math.inf), Cli(metavar="G")] = 1.0
    """Classifier-free guidance: above 1, samples are more typical of the family or clan, and less diverse."""
    prefix: Annotated[str, Field(min_length=1, pattern=r"^[^\s>]+$"), Cli(metavar="TEXT")] = "generated_"
    """Ids are this and a number from 1."""
