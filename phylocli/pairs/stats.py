"""The distribution of a family's pair distances, for choosing a band."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from phylocli.config.pairs import SamplingConfig
from phylocli.formats.family import Family
from phylocli.formats.tables.species import species_rule
from phylocli.pairs.bands import bands_of
from phylocli.pairs.sampling import related_sampler

logger = logging.getLogger(__name__)

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BINS = 16


@dataclass
class Distribution:
    """Pair distances of one family.

    Attributes:
        family, clan: its accessions.
        members, pairs: numbers of members and pairs; with a relation, of the pairs that have it.
        in_band: number of pairs in the band (the sum over bins if there are several).
        mean_partners: mean number of partners in the band, over members that have any.
        top_ancestors: fraction of the band's pairs that meet at the ten nodes of the tree with most pairs; 0 if there are
            none.
        members_in_band: number of members with a partner in the band.
        unit: `substitutions` per site or `relative` to the median, for the values below.
        quantiles: distances by the fraction of pairs below them; exact up to 512 members, else from 100,000 uniform pairs.
        edges, counts: an exact histogram: `counts[k]` pairs have distances from `edges[k]` up to, but not including,
        `edges[k + 1]`.
    """

    family: str
    clan: str
    members: int
    pairs: int
    in_band: int
    members_in_band: int
    mean_partners: float
    top_ancestors: float
    unit: str
    quantiles: dict[str, float]
    edges: list[float]
    counts: list[int]

    def as_json(self) -> dict[str, object]:
        """Return the distribution as plain values."""
        return asdict(self)

    def lines(self, width: int = 40) -> list[str]:
        """Return the distribution as text: a header, a bar for each bin of the histogram, the quantiles, the ancestors."""
        unit = "substitutions per site" if self.unit == "substitutions" else "1 = the median distance"
        most = max(1, *self.counts)
        digits = max(len(f"{count:,}") for count in self.counts)
        head = f"{self.family}: {self.members:,} members, {self.pairs:,} pairs, {self.in_band:,} in the band ({unit})"
        rows = [head]
        for k, count in enumerate(self.counts):
            bar = "█" * round(width * count / most) or ("▏" if count else "")
            rows.append(f"  {self.edges[k]:7.3f} – {self.edges[k + 1]:<7.3f} {count:>{digits},} {bar}")
        shown = ", ".join(f"{float(q):.0%} {value:.3g}" for q, value in self.quantiles.items())
        rows.append(f"  quantiles: {shown}")
        if self.in_band:
            rows.append(f"  {self.top_ancestors:.0%} of the band meets at ten ancestors (--max-per-ancestor evens this out)")
        return rows


def distributions(families: Iterable[Family], config: SamplingConfig) -> Iterator[Distribution]:
    """Yield the distribution of each family's pair distances, and the number of pairs in the band.

    Raises:
        BadInputError: a family without a tree, or whose tree does not fit its members.
    """
    species = species_rule(config.species, config.species_pattern)
    for family in families:
        if len(family) < 2:
            logger.info(f"{family.label} has one member and so no distances")
            continue
        sampler, _, _ = related_sampler(family, config.relation, species)
        top = sampler.tree.diameter()
        quantiles = sampler.quantiles(list(QUANTILES))
        quantiles[-1] = top
        scale = float(quantiles[3]) if config.unit == "relative" and quantiles[3] > 0 else 1.0
        edges = np.linspace(0, top, BINS + 1)
        below = [sampler.count(-1.0, float(np.nextafter(edge, -1.0))) for edge in edges[:-1]]
        partners = np.zeros(sampler.n_tips, dtype=np.int64)
        meet = np.zeros(sampler.tree.n_nodes, dtype=np.int64)
        for lo, hi in bands_of(config, sampler):
            partners += sampler.partners(lo, hi)
            meet += sampler.ancestor_counts(lo, hi)
        have = int((partners > 0).sum())
        yield Distribution(
            family=family.label,
            clan=family.clan,
            members=len(family),
            pairs=sampler.n_pairs,
            in_band=int(partners.sum()) // 2,
            members_in_band=have,
            mean_partners=float(partners.sum()) / max(1, have),
            top_ancestors=float(np.sort(meet)[-10:].sum()) / max(1, int(meet.sum())),
            unit=config.unit,
            quantiles={f"{q:g}": float(value) / scale for q, value in zip(QUANTILES, quantiles, strict=True)},
            edges=(edges / scale).tolist(),
            counts=np.diff([*below, sampler.n_pairs]).tolist(),
        )
