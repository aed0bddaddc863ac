"""Rooms that are named like their function: `phylocli.probe(table, labels)` works also once `phylocli.probe` is imported."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Let a call of an imported module be a call of one of its functions, whose documentation it shows.

    Args:
        name: of the module.
        function: of the same name as the module, which importing the module hides in the package above it.
    """
    module = sys.modules[name]
    module.__class__ = type("CallableModule", (ModuleType,), {"__call__": staticmethod(function)})
    module.__doc__ = function.__doc__
    module.__dict__["__signature__"] = inspect.signature(function)
