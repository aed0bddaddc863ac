"""Options of `phylocli generate`."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from phylocli.config._decoding import DecodingConfig
from phylocli.config.base import Cli
from phylocli.config.types import Count

MIN_BITS = 25.0
"""Threshold of families without a gathering threshold."""


def _several(value: Any) -> Any:
    return () if value is None else (value,) if isinstance(value, str) else value


class GenerateConfig(DecodingConfig):
    """What `phylocli generate` samples."""

    table: ClassVar[str] = "generate"

    number: Annotated[Count, Cli("-n", "--number", metavar="N")] = 100
    """Number of sequences."""
    family: Annotated[tuple[str, ...], BeforeValidator(_several), Cli(metavar="ACC", multiple=True)] = ()
    """Generate N members of this family, one of those that the latent diffusion model was trained on; may be repeated."""
    clan: Annotated[str | None, Cli(metavar="CL")] = None
    """Generate members of this clan."""
    steps: Annotated[int, Field(ge=1), Cli(metavar="N")] = 50
    """Steps of the diffusion sampler, at most the times of its schedule (1,000 unless trained with others); 50 is usual."""
    eta: Annotated[float, Field(ge=0, le=1), Cli(metavar="E")] = 0.0
    """Noise added in each step: 0 is deterministic (DDIM), 1 is DDPM."""
    guidance: Annotated[float, Field(ge=0, lt=math.inf), Cli(metavar="G")] = 1.0
    """Classifier-free guidance: above 1, samples are more typical of the family or clan, and less diverse."""
    prefix: Annotated[str, Field(min_length=1, pattern=r"^[^\s>]+$"), Cli(metavar="TEXT")] = "generated_"
    """Ids are this and a number from 1, after the name of the family if there are several."""
    score: Annotated[str | None, Cli(metavar="STOCKHOLM", file=True)] = None
    """Score each sequence as a member of its family: aligned families of the training members. Headers get bits, threshold,
    above_threshold, nearest, nearest_identity and copied."""
    profiles: Annotated[str | None, Cli(metavar="HMM", file=True)] = None
    """HMMER3 profiles of the families with gathering thresholds, for --score; by default they are built."""
    min_bits: Annotated[float, Field(gt=0, lt=math.inf), Cli(metavar="BITS")] = MIN_BITS
    """Threshold of families without a gathering threshold, for --score."""
