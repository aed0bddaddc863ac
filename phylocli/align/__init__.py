"""Alignments: one engine per file, and shared code."""

from __future__ import annotations

from phylocli.align.align import align_families
from phylocli.align.trim import coverage, trim_columns

__all__ = ["align_families", "coverage", "trim_columns"]
