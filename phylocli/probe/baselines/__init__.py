"""Baselines, one per module, from amino-acid composition to phmmer.

A baseline has a function `embed(name, ids, sequences) -> Embedding`, see `phylocli.core.protocols.BaselinePlugin`. The
baseline `untrained`, the encoder with random weights, is made from the model and has no module here.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from phylocli.core.plugins import BASELINES
from phylocli.probe.baselines._window import window_baseline
from phylocli.probe.inputs.embedding import Embedding

UNTRAINED, NONE = "untrained", "none"


def baseline(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return a baseline embedding of sequences by name; search programs have scores instead of vectors.

    Raises:
        UsageError: unknown baseline, or one that is unsuitable for these sequences.
        MissingDependencyError: the search program is not installed.
    """
    return BASELINES.load(name).embed(name, ids, sequences)


def default_baselines() -> list[str]:
    """Return the names of the baselines that are computed by default if sequences are given."""
    return [name for name in BASELINES.names() if getattr(BASELINES.load(name), "BY_DEFAULT", False)]


__all__ = ["NONE", "UNTRAINED", "baseline", "default_baselines", "window_baseline"]
