"""Homolog pairs at chosen patristic distances: exact sampling within a band, and splits without leakage."""

from __future__ import annotations

from phylocli.pairs.patristic import Patristic
from phylocli.pairs.sampler import EmptyBandError, PairSampler
from phylocli.pairs.sampling import StreamSampler, iter_pairs, sample_pairs
from phylocli.pairs.splits import HOLDOUTS, PARTS, Split, split_clades, split_family
from phylocli.pairs.stats import Distribution, distributions
from phylocli.pairs.write import write_distributions, write_pairs, write_split

__all__ = [
    "HOLDOUTS",
    "PARTS",
    "Distribution",
    "EmptyBandError",
    "PairSampler",
    "Patristic",
    "Split",
    "StreamSampler",
    "distributions",
    "iter_pairs",
    "sample_pairs",
    "split_clades",
    "split_family",
    "write_distributions",
    "write_pairs",
    "write_split",
]
