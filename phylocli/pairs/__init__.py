"""Homolog pairs at chosen patristic distances: exact sampling in a band, and splits without leaks."""

from __future__ import annotations

from phylocli.pairs.draw import WEIGHTINGS, draw_pairs
from phylocli.pairs.patristic import Patristic
from phylocli.pairs.sampler import EmptyBandError, PairSampler
from phylocli.pairs.splits import split_clades

__all__ = ["WEIGHTINGS", "EmptyBandError", "PairSampler", "Patristic", "draw_pairs", "split_clades"]
