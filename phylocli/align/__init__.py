"""Alignments: one method a file, and what they share."""

from __future__ import annotations

from phylocli.align.align import align_families
from phylocli.align.engines.profile import align_to
from phylocli.align.trim import coverage, trim_columns

__all__ = ["align_families", "align_to", "coverage", "trim_columns"]
