"""What the page sends and gets; without the libraries that answer, which take seconds to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from phylocli.core.errors import BadInputError

MOST_HITS = 1000
"""Hits of a query."""

MOST_QUERIES, MOST_RESIDUES = 100, 200_000
"""Sequences, and residues of all of them, in one search."""


class NotFound(BadInputError):
    """A protein that is not in the table."""


class Request(BaseModel):
    """A search, as the page asks for it: of a protein of the table, or of pasted sequences."""

    model_config = ConfigDict(extra="forbid")

    protein: str | None = None
    sequences: str | None = None
    number: int = Field(20, ge=1, le=MOST_HITS)
    max_evalue: float | None = Field(None, ge=0)
    align: Literal["", "phmmer", "residues"] = ""
    translate: bool = False


class AlignmentRequest(BaseModel):
    """An alignment of a protein of the table, or a sequence, with a protein of the table."""

    model_config = ConfigDict(extra="forbid")

    protein: str | None = None
    sequence: str | None = Field(None, max_length=MOST_RESIDUES)
    target: str
    method: Literal["phmmer", "residues"] = "phmmer"


@dataclass(frozen=True)
class Download:
    """A file to save."""

    name: str
    content: bytes
