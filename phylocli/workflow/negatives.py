"""Hard negatives (`pairs --hard-negatives`): the most similar non-homologous families, by profile, group or model."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli import models
from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import TableFormat, negatives_schema, write_table
from phylocli.pairs.negatives import (
    FamilySummary,
    allowed_pairs,
    group_scores,
    negatives_table,
    profile_scores,
    read_groups,
    summaries_of,
)

logger = logging.getLogger(__name__)


def write_negatives(
    families: Iterable[Family],
    target: PathLike | None,
    how: str,
    *,
    count: int = 5,
    seed: int = 0,
    table_format: TableFormat | None = None,
) -> int:
    """Write the hard negatives of each family as a table with `negatives_schema()`; return the number of rows.

    Args:
        families: aligned families; with a table of groups, they may be unaligned.
        target: a path, or `-`/None for standard output.
        how: the measure of similarity: `profile` (HMMER scores), the name or folder of a model (cosine of embeddings), or
            the path of a table with the columns family and group (same group). Families that are homologous by profile are
            not negatives, except with groups, which are used unchanged.
        count: number of negatives per family.
        seed: the seed for ties, and for the sample from groups with more than `count` other families.
        table_format: the output format; None: by the suffix.

    Raises:
        UsageError: `how` is none of these.
        BadInputError: there are fewer than two families, a family is not aligned, or no family has a negative.
    """
    path = Path(how)
    named = models.named()
    if how != "profile" and how not in named and not path.exists():
        raise UsageError(
            f"unknown kind of hard negatives {how!r}",
            fix="give profile, a table with the columns family and group, or a model (its name or folder)",
        )
    by = "profile" if how == "profile" else "model" if how in named or path.is_dir() else "group"
    groups = read_groups(path) if by == "group" else {}
    summaries = summaries_of(families, profile=by != "group")
    if by == "group":
        scores, allowed = group_scores(summaries, groups), allowed_pairs(summaries)
    else:
        scores, homologous = profile_scores(summaries)
        allowed = allowed_pairs(summaries, homologous)
        if by == "model":
            scores = _model_scores(summaries, how)
    table = negatives_table(summaries, scores, allowed, by=by, count=count, seed=seed)
    write_table(table, target, negatives_schema(), table_format)
    write_sidecar(target, "pairs", {"hard_negatives": how, "count": count}, seed)
    logger.info(f"found {table.height:,} hard negatives for {table['family'].n_unique():,} families by {by}")
    return table.height


def _model_scores(summaries: list[FamilySummary], name: str) -> npt.NDArray[np.float64]:
    """Return the cosine between the mean embeddings of families, (F, F)."""
    from phylocli.embed import embed_sequences
    from phylocli.formats import Sequence

    model = models.load(name)
    members = (Sequence(f"{i}:{k}", s) for i, summary in enumerate(summaries) for k, s in enumerate(summary.members))
    total = np.zeros((len(summaries), model.dimension))
    for ids, _, vectors in embed_sequences(members, model):
        norm = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        np.add.at(total, [int(name.partition(":")[0]) for name in ids], norm)
    unit = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T
