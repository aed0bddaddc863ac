"""Alignment methods, one a file: `align(family, settings)` gives the family aligned, and one line saying how.

A method keeps the members and their order. Match columns are upper case and `-`, insert columns lower case and `.`, and
`#=GC RF` marks the match columns with `x`.
"""

from __future__ import annotations

from phylocli.align.settings import Aligned, Settings

__all__ = ["Aligned", "Settings"]
