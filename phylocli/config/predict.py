"""Options of `phylocli predict`: what is predicted for the residues of sequences."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config._translation import TranslationConfig
from phylocli.config.base import Cli
from phylocli.config.types import Device, OnDuplicate, Threads

HEAD_OF = {"3di": "3di", "ss": "ss3", "ss8": "ss8", "profile": "profile"}
"""The head of a model that predicts each."""


class PredictConfig(TranslationConfig):
    """What `phylocli predict` predicts and how it is written."""

    table: ClassVar[str] = "predict"

    what: Annotated[Literal["3di", "ss", "ss8", "profile"], Cli()] = "3di"
    """3Di letters of Foldseek; secondary structure in three or eight (ss8) states; or the profile of the family."""
    per_family: Annotated[bool, Cli()] = False
    """Predict for the first member of each aligned family, from all members."""
    format: Annotated[Literal["fasta", "hmm", "pssm"] | None, Cli()] = None
    """FASTA of states; for profiles HMMER3 (hmm) or PSI-BLAST's ASCII matrix (pssm); by default from the suffix, else
    FASTA, or hmm for profiles."""
    on_duplicate: OnDuplicate = "error"
    max_tokens: Annotated[int, Field(ge=0), Cli(metavar="N", decisive=False)] = 0
    """Maximum number of residues per batch, padding included (0: to suit the device); does not change the result."""
    device: Annotated[Device, Cli(decisive=False)] = "auto"
    threads: Threads = 0
