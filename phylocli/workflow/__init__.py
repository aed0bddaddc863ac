"""Workflows of several stages: `phylocli run`, families from the store, and commands across packages."""

from __future__ import annotations

from phylocli.workflow.run import plan_run, run_chain

__all__ = ["plan_run", "run_chain"]
