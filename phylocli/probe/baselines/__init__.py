"""Baselines, one file each, from amino-acid composition to phmmer.

A baseline has a function `embed(name, ids, sequences) -> Embedding`; `phylocli.core.protocols.BaselinePlugin` is the
contract. `untrained`, the encoder with random weights, comes from the model and is not a file here.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from phylocli.core.plugins import BASELINES
from phylocli.probe.baselines._window import window_baseline
from phylocli.probe.inputs.embedding import Embedding

UNTRAINED, NONE = "untrained", "none"


def baseline(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return a baseline embedding of sequences by its name; a search has scores in place of vectors.

    Raises:
        UsageError: no such baseline, or one that cannot work on these sequences.
        MissingDependencyError: a search whose program is not installed.
    """
    return BASELINES.load(name).embed(name, ids, sequences)


def default_baselines() -> list[str]:
    """Return the baselines that are computed where sequences are given and no baseline is named."""
    return [name for name in BASELINES.names() if getattr(BASELINES.load(name), "BY_DEFAULT", False)]


__all__ = ["NONE", "UNTRAINED", "baseline", "default_baselines", "window_baseline"]
