"""Formats of outputs, by the suffix of the name. A suffix that names none is refused before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from phylocli.core.errors import UsageError
from phylocli.formats import input_formats
from phylocli.formats.streams import STDIO, PathLike, suffix_of

Format = TypeVar("Format", bound=str)
Records = Literal["stockholm", "fasta", "newick"]

STOCKHOLM: dict[str, Records] = dict.fromkeys(input_formats.STOCKHOLM.suffixes, "stockholm")
FASTA: dict[str, Records] = dict.fromkeys((*input_formats.FASTA.suffixes, ".fna"), "fasta")
NEWICK: dict[str, Records] = dict.fromkeys((".nwk", ".newick", ".tree", ".tre"), "newick")
PICTURES: dict[str, Literal["svg", "png", "pdf"]] = {".svg": "svg", ".png": "png", ".pdf": "pdf"}


def format_by_suffix(
    path: PathLike | None, known: Mapping[str, Format], default: Format, *, what: str, otherwise: str = ""
) -> Format:
    """Return the format that the suffix of an output names; `default` for pipes, devices, and names without a suffix.

    Args:
        path: the output; `-`/None is standard output.
        known: the format of each suffix.
        default: the format if there is no suffix.
        what: the data to write, for the message: `families`.
        otherwise: an alternative to suffixes in the fix: `--format`.

    Raises:
        UsageError: a suffix that is not known; the message lists those that are.
    """
    if path is None or str(path) == STDIO or str(path).startswith("/dev/"):
        return default
    suffix = suffix_of(path)
    if not suffix:
        return default
    if suffix not in known:
        more = f", or {otherwise}" if otherwise else ""
        raise UsageError(f"{path}: {what} cannot be written as {suffix}", fix=f"use a suffix of {', '.join(known)}{more}")
    return known[suffix]


def families_format(target: PathLike | None) -> Records:
    """Return how families are written to this output: `stockholm`, or `fasta` for one family by its suffix.

    Raises:
        UsageError: a suffix of another format.
    """
    return format_by_suffix(target, STOCKHOLM | FASTA, "stockholm", what="families")
