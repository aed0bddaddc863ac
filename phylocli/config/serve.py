"""Options of `phylocli serve`: a local page to search a table of embeddings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from phylocli.config.base import Cli
from phylocli.config.map import MapConfig
from phylocli.config.types import Device, Threads


class ServeConfig(MapConfig):
    """What `phylocli serve` shows; its map has the options of `phylocli map`."""

    table: ClassVar[str] = "serve"

    port: Annotated[int, Field(ge=0, le=65_535), Cli("-p", "--port", metavar="PORT")] = 0
    """Port on 127.0.0.1; 0 takes a free one."""
    open: Annotated[bool | None, Cli()] = None
    """Open the page in a browser; by default if the command runs on a desktop."""
    device: Device = "auto"
    threads: Threads = 0
