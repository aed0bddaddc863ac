"""Hard negatives: for each family, the unrelated families that are most similar to it.

Easy negatives teach an encoder little. A hard negative is a family that is similar without being homologous: by profile
(scores below significance), by a model's embeddings, or, with labels, another family of the same group, as in supervised
contrastive learning (Khosla et al. 2020). Two families of one clan are never negatives of each other, nor are two whose
profiles match each other, because many homologous families are not in a common clan.
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
"""Maximum E-value of one family's profile against members of another at which the two count as homologous."""

MEMBERS = 20
"""Number of members that represent a family, evenly spaced among its sorted sequences; its consensus is added."""


@dataclass
class FamilySummary:
    """The representation of a family for comparison with others.

    Attributes:
        label: accession or name.
        clan: accession, empty if there is none.
        members: up to `MEMBERS` sequences, without gaps.
        hmm: its profile, None if it is not aligned.
    """

    label: str
    clan: str
    members: list[str]
    hmm: Any = None

    @classmethod
    def of(cls, family: Family, *, profile: bool) -> FamilySummary:
        """Return the summary of a family.

        Raises:
            BadInputError: a profile is requested, but the family is not aligned or no profile can be built.
        """
        hmm = None
        if profile:
            if not family.aligned:
                raise BadInputError(f"{family.label} is not aligned, so it has no profile HMM", fix="use 'phylocli align'")
            hmm = build_hmm(family)
        sequences = sorted(sequence.residues for sequence in family.sequences())  # independent of the order of members
        chosen = np.unique(np.linspace(0, len(sequences) - 1, min(MEMBERS, len(sequences))).astype(int))
        return cls(family.label, family.clan, [sequences[k] for k in chosen.tolist()], hmm)


def profile_scores(summaries: list[FamilySummary], *, threads: int = 1) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the similarity of families by profile, and which pairs are homologous.

    Every profile is compared by HMMER with the consensus and the members of every family, without filters, so that scores
    far below significance are included. E-values are those of a search of the sequences of all families.

    Args:
        summaries: F families with profiles.
        threads: CPU threads; 0 uses all cores.

    Returns:
        The best bit score of either profile against the other's sequences, shape (F, F), symmetric, −inf if there is none;
        and whether its E-value is at most `HOMOLOGOUS`, shape (F, F).
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
    """Return 0 for two families of one group, −inf otherwise, (F, F).

    Raises:
        BadInputError: no family has a group.
    """
    group = np.array([groups.get(s.label, "") for s in summaries], dtype=object)
    if not (group != "").any():
        raise BadInputError(
            "none of the families has a group",
            why=f"the table names {', '.join(list(groups)[:3])}, …" if groups else "the table is empty",
            fix="give a table with the columns family and group, with the same family names",
        )
    return np.where((group[:, None] == group[None, :]) & (group != "")[:, None], 0.0, -np.inf)


def negatives_table(
    summaries: list[FamilySummary], scores: Floats, allowed: npt.NDArray[np.bool_], *, by: str, count: int, seed: int = 0
) -> pl.DataFrame:
    """Return the `count` most similar allowed families of each family, most similar first; ties in random order.

    Args:
        summaries: F families.
        scores: similarities, (F, F); −inf: none.
        allowed: which may be negatives of which, (F, F).
        by: name of the similarity, for the table.
        count: number of negatives per family.
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
            fix="give families of several clans" + (", and groups with more than one clan" if by == "group" else ""),
        )
    if without:
        shown = ", ".join(without[:3]) + (", …" if len(without) > 3 else "")
        logger.info(f"{len(without)} of {len(summaries)} families have no hard negative ({shown})")
    columns = ["family", "clan", "negative", "negative_clan", "rank", "score", "by"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def summaries_of(families: Iterable[Family], *, profile: bool) -> list[FamilySummary]:
    """Return the summaries of families, each read once.

    Raises:
        BadInputError: a family occurs twice, there are fewer than two, or one has no profile.
    """
    found: dict[str, FamilySummary] = {}
    for family in families:
        if family.label in found:
            raise BadInputError(f"family {family.label} occurs twice", fix="give each family once")
        found[family.label] = FamilySummary.of(family, profile=profile)
    if len(found) < 2:
        raise BadInputError("hard negatives need at least two families", fix="give several families")
    return list(found.values())
