"""Two members of a family at a chosen distance in its tree.

Evolution itself is the augmentation: its substitutions have preserved the function. The distance between the two views is
their patristic distance, exact in the family's tree.
"""

from __future__ import annotations

import math

import numpy as np

from phylocli.config.pairs import SamplingConfig
from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.formats.species import SpeciesRule
from phylocli.pairs import EmptyBandError
from phylocli.pairs.bands import bands_of
from phylocli.pairs.sampling import related_sampler
from phylocli.pairs.schemes import band_pool
from phylocli.pairs.types import Pool
from phylocli.views.base.contracts import Pairs, Tokens, check_band, member_tokens

KIND = "source"
DISTANCE = "patristic, from min_dist to max_dist"
DRAWS_MEMBERS = True  # so its pairs can be replaced by rows of a pairs table


class _Prepared:
    def __init__(self, pool: Pool, tokens: list[Tokens]) -> None:
        self.pool, self.tokens = pool, tokens

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        drawn = self.pool.draw(n, rng)
        # Sampled pairs are unordered, i < j in tree order; choose here which one comes first.
        swap = rng.random(n) < 0.5
        first, second = np.where(swap, drawn.j, drawn.i).tolist(), np.where(swap, drawn.i, drawn.j).tolist()
        tokens = self.tokens
        return [tokens[k] for k in first], [tokens[k] for k in second], drawn.distance


class Phylogenetic:
    """Samples pairs of members, with replacement, from all pairs with patristic distance in [min_dist, max_dist].

    Args:
        min_dist, max_dist: the band, ends included, in `unit`.
        unit: `substitutions`, expected per site, or `relative`: 1 is the median of the family's pair distances.
        scheme: `uniform`: each pair is equally likely; `per-sequence`: each member with a partner is equally likely, then
            each of its partners; `log-distance`: distances are spread evenly on a logarithmic scale.
        relation: `any`, `orthologs` or `paralogs`, by species overlap (`pairs.relations`).
        species_pattern: regular expression for the species within an id; None reads UniProt entry names.
    """

    def __init__(
        self,
        min_dist: float = 0.0,
        max_dist: float = math.inf,
        unit: str = "substitutions",
        scheme: str = "uniform",
        relation: str = "any",
        species_pattern: str | None = None,
    ) -> None:
        low, high = check_band(min_dist, max_dist, "phylogenetic")
        if scheme == "per-family":
            raise UsageError(
                "the view phylogenetic samples from one family at a time", fix="use uniform, per-sequence or log-distance"
            )
        asked = {"min_dist": low, "max_dist": high, "unit": unit, "scheme": scheme, "number": 1, "replace": True}
        self.config = SamplingConfig.of(None, {**asked, "relation": relation, "species_pattern": species_pattern})
        self._species = SpeciesRule(pattern=species_pattern)

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family.

        Raises:
            EmptyBandError: no two members are in the band (training may skip such a family).
            BadInputError: no tree, no branch lengths, or only one member.
        """
        tokens = member_tokens(family)
        sampler, tips, _ = related_sampler(family, self.config.relation, self._species)
        (band,) = bands_of(self.config, sampler)
        pool = band_pool(sampler, band, self.config.scheme, replace=True)
        if pool.total == 0:
            raise EmptyBandError(f"{family.label}: no pairs {self.config.describe()}", why=sampler.describe())
        return _Prepared(pool, [tokens[name] for name in tips])


make = Phylogenetic
