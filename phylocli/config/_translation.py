"""Options of stages that read coding DNA as proteins."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from phylocli.config.base import Cli, Config


class TranslationConfig(Config):
    """How nucleotides are read where proteins are wanted."""

    translate: Annotated[bool, Cli()] = False
    """Translate the input: coding sequences (DNA or RNA), each in frame from its first codon."""
    genetic_code: Annotated[int, Field(ge=1, le=33), Cli(metavar="N")] = 1
    """NCBI's number of the genetic code for --translate; 1 is the standard code, 11 that of bacteria."""

    @property
    def code(self) -> int | None:
        """The genetic code to translate by; None: nothing is translated."""
        return self.genetic_code if self.translate else None
