"""Hard negatives: for each family, the unrelated families that are most similar to it.

Contrast with a family that looks like nothing else teaches little. What is hard is a family that is near without being
homologous: by profile (scores that fall short of significance), by a model's embeddings, or, where labels are supplied,
another family of the same group, as in supervised contrast (Khosla et al. 2020). Two families of one clan are never
negatives of each other, nor are two whose profiles find each other: what is homologous but in no clan yet is common.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import read_table, require_columns
from phylocli.hmmer import SearchOptions, build_hmm, hmmsearch

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

HOMOLOGOUS = 1e-3
"""E-value of one family's profile against another's members up to which the two count as homologous."""

MEMBERS = 20
"""Members that represent a family, evenly spaced among its sorted sequences; its consensus comes on top."""


@dataclass
class FamilySummary:
    """What represents a family when it is compared with others.

    Attributes:
        label: accession or name.
        clan: accession, empty where there is none.
        members: up to `MEMBERS` sequences, without gaps.
        hmm: its profile, None where it is not aligned.
    """

    label: str
    clan: str
    members: list[str]
    hmm: Any = None

    @classmethod
    def of(cls, family: Family, *, profile: bool) -> FamilySummary:
        """Return the summary of a family.

        Raises:
            BadInputError: a profile is asked for, and the family is not aligned or gives none.
        """
        hmm = None
        if profile:
            if not family.aligned:
                raise BadInputError(f"{family.label} is not aligned, so it has no profile HMM", fix="use 'phylocli align'")
            hmm = build_hmm(family)
        sequences = sorted(sequence.residues for sequence in family.sequences())  # the order of members does not matter
        chosen = np.unique(np.linspace(0, len(sequences) - 1, min(MEMBERS, len(sequences))).astype(int))
        return cls(family.label, family.clan, [sequences[k] for k in chosen.tolist()], hmm)


def profile_scores(summaries: list[FamilySummary], *, threads: int = 1) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return how near families are by profile, and which pairs are homologous.

    Every profile is compared with every family's consensus and members by HMMER, without filters, so that scores far below
    significance are there too. E-values are as if the sequences of all families were searched.

    Args:
        summaries: F families with profiles.
        threads: CPU threads; 0 takes all.

    Returns:
        The best bit score of either profile against the other's sequences, shape (F, F), symmetric, −inf where there is
        none; and whether its E-value is at most `HOMOLOGOUS`, shape (F, F).
    """
    targets = [(k, text) for k, s in enumerate(summaries) for text in (s.hmm.consensus.upper(), *s.members)]
    family = np.array([k for k, _ in targets])
    score = np.full((len(summaries), len(summaries)), -np.inf)
    homologous = np.zeros(score.shape, dtype=bool)
    options = SearchOptions(evalue=1e12, filters=False, threads=threads)
    for query, hits in enumerate(hmmsearch((s.hmm for s in summaries), (text for _, text in targets), options)):
        np.maximum.at(score[query], family[hits.target], hits.score)
        homologous[query, family[hits.target[hits.evalue <= HOMOLOGOUS]]] = True
    return np.maximum(score, score.T), homologous | homologous.T


def allowed_pairs(summaries: list[FamilySummary], homologous: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
    """Return which families may be negatives of which, (F, F): not itself, not of its clan, not homologous by profile."""
    clan = np.array([s.clan for s in summaries], dtype=object)
    same = (clan[:, None] == clan[None, :]) & (clan != "")[:, None]
    allowed = ~(same | np.eye(len(summaries), dtype=bool))
    if homologous is not None:
        found = np.argwhere(np.triu(allowed & homologous, 1))
        for i, j in found[:5].tolist():
            logger.info(f"{summaries[i].label} and {summaries[j].label} look homologous: not negatives of each other")
        if len(found) > 5:
            logger.info(f"… and {len(found) - 5} more pairs of families")
        allowed &= ~homologous
    return allowed


def read_groups(source: PathLike) -> dict[str, str]:
    """Return the group of each family of a table with the columns `family` and `group`.

    Raises:
        BadInputError: no such columns, or a family in two groups.
    """
    table, name = read_table(source), display_name(source)
    require_columns(table, ["family", "group"], name, "a table of groups")
    groups: dict[str, str] = {}
    for family, group in table.select("family", "group").iter_rows():
        if family is None or group is None:
            continue
        if groups.setdefault(str(family), str(group)) != str(group):
            raise BadInputError(
                f"{name}: family {family} is in two groups, {groups[str(family)]} and {group}",
                fix="keep one row for each family",
            )
    return groups


def group_scores(summaries: list[FamilySummary], groups: dict[str, str]) -> Floats:
    """Return 0 where two families are of one group, −inf elsewhere, (F, F).

    Raises:
        BadInputError: no family has a group.
    """
    group = np.array([groups.get(s.label, "") for s in summaries], dtype=object)
    if not (group != "").any():
        raise BadInputError(
            "none of the families has a group",
            why=f"the table names {', '.join(list(groups)[:3])}, …" if groups else "the table is empty",
            fix="give a table with the columns family and group, with families named as here",
        )
    return np.where((group[:, None] == group[None, :]) & (group != "")[:, None], 0.0, -np.inf)


def negatives_table(
    summaries: list[FamilySummary], scores: Floats, allowed: npt.NDArray[np.bool_], *, by: str, count: int, seed: int = 0
) -> pl.DataFrame:
    """Return the `count` nearest allowed families of each family, nearest first; ties at random.

    Args:
        summaries: F families.
        scores: how near they are, (F, F); −inf: not at all.
        allowed: which may be negatives of which, (F, F).
        by: what the scores are, for the table.
        count: negatives of a family.
        seed: for ties.

    Returns:
        A table of `formats.tables.negatives_schema()`.

    Raises:
        UsageError: `count` is below 1.
        BadInputError: no family has a negative.
    """
    import polars as pl

    if count < 1:
        raise UsageError(f"the number of negatives must be at least 1, not {count}")
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, str, str, int, float, str]] = []
    without: list[str] = []
    for i, summary in enumerate(summaries):
        near = np.where(allowed[i], scores[i], -np.inf)
        order = np.lexsort((rng.random(len(near)), -near))[:count]
        order = order[near[order] > -np.inf]
        if not len(order):
            without.append(summary.label)
        for rank, j in enumerate(order.tolist(), 1):
            other = summaries[j]
            rows.append((summary.label, summary.clan, other.label, other.clan, rank, float(near[j]), by))
    if not rows:
        raise BadInputError(
            "no family has a hard negative",
            why="families of one clan, and families that are homologous by profile, are never negatives of each other",
            fix="give families of several clans" + (", and groups that hold more than one clan" if by == "group" else ""),
        )
    if without:
        shown = ", ".join(without[:3]) + (", …" if len(without) > 3 else "")
        logger.info(f"{len(without)} of {len(summaries)} families have no hard negative ({shown})")
    columns = ["family", "clan", "negative", "negative_clan", "rank", "score", "by"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def summaries_of(families: Iterable[Family], *, profile: bool) -> list[FamilySummary]:
    """Return the summaries of families, each read once.

    Raises:
        BadInputError: a family comes twice, there are fewer than two, or one gives no profile.
    """
    found: dict[str, FamilySummary] = {}
    for family in families:
        if family.label in found:
            raise BadInputError(f"family {family.label} occurs twice", fix="give each family once")
        found[family.label] = FamilySummary.of(family, profile=profile)
    if len(found) < 2:
        raise BadInputError("hard negatives need at least two families", fix="give several families")
    return list(found.values())
