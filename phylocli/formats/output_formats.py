"""Output formats by suffix; unknown suffixes are reported before any work is done."""

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
    """Return the format for the suffix of an output; `default` for pipes, devices, and names without a suffix.

    Args:
        path: path of the output; `-` or None is standard output.
        known: format of each known suffix.
        default: format if there is no suffix.
        what: name of the data for the message, such as `families`.
        otherwise: alternative to suffixes for the fix, such as `--format`.

    Raises:
        UsageError: unknown suffix; the message lists the known ones.
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
    """Return the format in which families are written: `stockholm`, or `fasta` with a FASTA suffix.

    Raises:
        UsageError: the suffix is that of another format.
    """
    return format_by_suffix(target, STOCKHOLM | FASTA, "stockholm", what="families")
