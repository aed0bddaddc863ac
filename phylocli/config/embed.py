"""Options of `phylocli embed`: how sequences become vectors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from phylocli.config._translation import TranslationConfig
from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import OnDuplicate, Threads
from phylocli.core.errors import UsageError
from phylocli.core.plugins import POOLINGS

PARTS = "Folders of parts"


@dataclass(frozen=True)
class Shard:
    """Which parts of a folder a process computes: those whose number is `index` modulo `count`."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"there is no shard {self}", fix="write k/n with k from 1 to n, such as 2/8")

    def __contains__(self, part: int) -> bool:
        return part % self.count == self.index

    def split(self, ways: int) -> list[Shard]:
        """Return shards that divide this one's parts among them."""
        return [Shard(self.index + i * self.count, self.count * ways) for i in range(ways)]

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


def _shard(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+)/(\d+)", value)
    if match is None:
        raise UsageError(f"{value!r} is not a shard", fix="write k/n with k from 1 to n, such as 2/8")
    return Shard(int(match[1]) - 1, int(match[2]))


class EmbedConfig(ParallelConfig, TranslationConfig):
    """How `phylocli embed` computes and what it writes."""

    table: ClassVar[str] = "embed"

    pooling: Annotated[str | None, Cli(metavar="NAME", values=POOLINGS.names, formerly=("pool",))] = None
    """Pool residues this way instead of the model's own, such as mean, max or first."""
    per_residue: Annotated[bool, Cli()] = False
    """Write one row per residue instead of one per sequence."""
    per_family: Annotated[bool, Cli()] = False
    """Write one row per family (a record of a Stockholm file, or a file), the mean of its members; with --per-residue, one
    per residue of its first member."""
    layer: Annotated[int | None, Field(ge=0), Cli(metavar="K")] = None
    """Take residues after this layer; by default the last."""
    half: Annotated[bool, Cli()] = False
    """Write half precision (float16)."""
    untrained: Annotated[int | None, Field(ge=0), Cli(metavar="SEED")] = None
    """Use the same architecture with random weights: a baseline for probe."""
    on_duplicate: OnDuplicate = "error"
    max_tokens: Annotated[int, Field(ge=0), Cli(metavar="N", formerly=("batch_tokens",), decisive=False)] = 0
    """Maximum number of residues per batch, padding included (0: to suit the device); does not change the result."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of matrix products: bf16 is faster on recent GPUs and CPUs, with 8 significant bits."""
    compile: Annotated[bool, Cli(decisive=False)] = False
    """Compile the encoder with torch.compile: a minute at the start, then faster on GPUs."""
    device: Annotated[str, Cli(metavar="auto|cpu|cuda|mps", also=("auto", "cpu", "cuda", "mps"))] = "auto"
    """Where to compute; several devices, separated by commas, share the parts of a folder."""
    threads: Threads = 0
    shard: Annotated[
        Shard | None,
        BeforeValidator(_shard),
        PlainSerializer(lambda value: None if value is None else str(value)),
        Cli(metavar="K/N", panel=PARTS),
    ] = None
    """Compute every N-th part of the folder, from the K-th on."""
    shard_size: Annotated[int, Field(ge=0), Cli(metavar="N", panel=PARTS)] = 0
    """Sequences per part (0: 50,000, or 1,000 with --per-residue)."""
