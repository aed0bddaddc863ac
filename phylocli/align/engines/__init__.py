"""Alignment engines, one per file: `align(family, settings)` returns the aligned family and a description in one line.

An engine keeps the members and their order. Match columns are upper case and `-`, insert columns lower case and `.`, and
`#=GC RF` marks the match columns with `x`.
"""

from __future__ import annotations

from phylocli.align.settings import Aligned, Settings

__all__ = ["Aligned", "Settings"]
