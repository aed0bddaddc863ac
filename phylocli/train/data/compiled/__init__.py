"""Compiled data sets: families as memory-mapped arrays, shared by runs, sweeps and processes."""

from __future__ import annotations

from phylocli.train.data.compiled.cache import Cache, contents, open_compiled
from phylocli.train.data.compiled.family import CompiledFamily
from phylocli.train.data.compiled.reader import Compiled, PairsOf

__all__ = ["Cache", "Compiled", "CompiledFamily", "PairsOf", "contents", "open_compiled"]
