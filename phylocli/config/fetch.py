"""Options of `phylocli fetch`: sources of families and proteins."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig


class FetchConfig(ParallelConfig):
    """Which alignments are fetched, and from where."""

    table: ClassVar[str] = "fetch"

    alignment: Annotated[Literal["seed", "full"], Cli()] = "seed"
    """Alignment of a family in Pfam."""
    profile: Annotated[bool, Cli()] = False
    """Store the HMM of each family, too."""
    release: Annotated[str | None, Cli(metavar="38.2|current")] = None
    """Read families from the files of this Pfam release; faster than InterPro for more than a few families."""
    offline: Annotated[bool, Cli(decisive=False)] = False
    """Use only the store, and report what is missing."""
    refresh: Annotated[bool, Cli(decisive=False)] = False
    """Download again what is already in the store."""
    base_url: Annotated[str | None, Cli(metavar="URL")] = None
    """Address of the service, for example of a mirror."""
