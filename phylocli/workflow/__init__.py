"""Workflows of several stages: `phylocli run`, families from the store, and commands across packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phylocli.workflow.run import plan_run as plan_run
    from phylocli.workflow.run import run_chain as run_chain

__all__ = ["plan_run", "run_chain"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # loaded when they are used: commands on families need no PyTorch, which takes seconds
        from phylocli.workflow import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
