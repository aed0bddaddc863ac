"""Variants of the green fluorescent protein of Aequorea victoria (Sarkisyan et al. 2016, doi:10.1038/nature17995)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import open_input
from phylocli.probe.benchmarks._files import PUBLISHED, find, read

if TYPE_CHECKING:
    import polars as pl


def read_avgfp(folder: Path) -> tuple[str, pl.DataFrame]:
    """Read `avgfp.tsv` (`variant`, such as `A108D,N144D`; `score`) and `avgfp_wildtype.json`.

    Returns:
        The sequence of the wild type, and one row per variant without stop codons: `variant`, `score`, `sequence`.
    """
    import polars as pl

    path, wild_path = find(folder, "avgfp.tsv*"), find(folder, "avgfp_wildtype.json*")
    frame = read(path, "variant", "score").select("variant", pl.col("score").cast(pl.Float64))
    with open_input(wild_path) as stream:
        try:
            wild = json.loads(stream.read())["avgfp"]
            letters, offset = str(wild["wt"]), int(wild["offset"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f"{wild_path.name} contains no wild type",
                why="it must have avgfp.wt and avgfp.offset",
                fix=PUBLISHED,
            ) from error
    frame = frame.filter(~pl.col("variant").str.contains(r"\*")).unique("variant", keep="first", maintain_order=True)
    frame = frame.filter(pl.col("variant").str.contains(r"[A-Z]\d+[A-Z]"))
    sequences = [mutate(letters, variant, offset, path.name) for variant in frame["variant"].to_list()]
    return letters, frame.with_columns(pl.Series("sequence", sequences))


def mutate(sequence: str, variant: str, offset: int, name: str) -> str:
    """Apply the mutations of a variant, such as `A108D,N144D`, to a sequence.

    Args:
        sequence: the wild type.
        variant: mutations, separated by commas.
        offset: number of the first residue of the sequence.
        name: name of the file, for messages.

    Raises:
        BadInputError: the wild type has a different residue at a position.
    """
    letters = list(sequence)
    for word in variant.split(","):
        at = int(word[1:-1]) - offset
        if not 0 <= at < len(letters) or letters[at] != word[0]:
            raise BadInputError(
                f"{name}: {word} does not match the wild type", why="it has another residue at this position", fix=PUBLISHED
            )
        letters[at] = word[-1]
    return "".join(letters)
