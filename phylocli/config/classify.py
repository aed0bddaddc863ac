"""Options of `phylocli classify`: how many classes of a sequence are printed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from phylocli.config.base import Cli, Config
from phylocli.config.types import Device, Threads


class ClassifyConfig(Config):
    """What `phylocli classify` prints."""

    table: ClassVar[str] = "classify"

    number: Annotated[int, Field(ge=1), Cli("-k", "-n", "--number", metavar="K")] = 1
    """The K most probable classes of each sequence; 'none of these' counts as one."""
    device: Annotated[Device, Cli(decisive=False)] = "auto"
    threads: Threads = 0
