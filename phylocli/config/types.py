"""Types of options that several stages share."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from phylocli.config.base import Cli
from phylocli.core.errors import UsageError

Seed = Annotated[int, Field(ge=0, description="Random seed: same input and seed, same bytes."), Cli(metavar="S")]
Threads = Annotated[
    int,
    Field(ge=0, description="CPU threads within one computation; 0: all cores."),
    Cli("-t", "--threads", metavar="N", decisive=False),
]
Jobs = Annotated[
    int,
    Field(ge=0, description="Pieces (families, proteins) at once; 0: all cores."),
    Cli("-j", "--jobs", metavar="N", decisive=False),
]
Device = Annotated[
    str, Field(description="Where to compute."), Cli(metavar="auto|cpu|cuda|mps", also=("auto", "cpu", "cuda", "mps"))
]
OnDuplicate = Annotated[
    Literal["error", "keep-first", "rename"], Field(description="What to do with an id that occurs more than once.")
]
Alphabet = Literal["protein", "dna"]
Count = Annotated[int, Field(ge=1), Cli(metavar="N")]
"""A number from 1."""
Fraction = Annotated[float, Field(ge=0, le=1), Cli(metavar="P")]
"""A number from 0 to 1."""


def _compiled(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return value


Pattern = Annotated[str, AfterValidator(_compiled)]
"""A regular expression."""


def _range(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        low, high = value.split(":")
        return float(low or 0), float(high or math.inf)
    except ValueError:
        raise ValueError(f"{value!r} is not a range; write two numbers with a colon, as in 0.2:0.5") from None


def _seeds(value: Any) -> Any:
    if not isinstance(value, str):
        return (value,) if isinstance(value, int) else value
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"seeds {value!r} are not whole numbers from 0", fix="write them with commas, as in 0,1,2")
    return tuple(int(part) for part in parts)


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_seeds)]
"""Several random seeds, written `0,1,2` on the command line and as a list in TOML."""


def _ranges(value: Any) -> Any:
    return tuple(_range(part) for part in value.split(",")) if isinstance(value, str) else value


def _numbers(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise ValueError(f"{value!r} is not a list of numbers; write them with commas, as in 0.8,0.1,0.1") from None


Range = Annotated[tuple[float, float], BeforeValidator(_range)]
"""Two numbers, written `0.2:0.5` on the command line and `[0.2, 0.5]` in TOML; an end left out is 0 or infinite."""

Ranges = Annotated[tuple[Annotated[tuple[float, float], BeforeValidator(_range)], ...], BeforeValidator(_ranges)]
"""Several of them, `0:0.2,0.2:0.5`."""


def _bands(value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    for low, high in value:
        if not 0 <= low < high:
            raise UsageError(
                f"'{low:g}:{high:g}' is not a distance band", fix="write bands as 0:0.5,0.5:1, in substitutions per site"
            )
    return value


Bands = Annotated[Ranges, AfterValidator(_bands)]
"""Bands of distances."""


def _words(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
"""Words, written `sequence,text` on the command line and as a list in TOML."""

Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers)]
"""Numbers, written `0.8,0.1,0.1` on the command line and as a list in TOML."""
